"""What the browser tests of the report and of the inspector do alike."""

from __future__ import annotations

from typing import Any

READY = "html[data-ready=yes]"


def place_of(page: Any, plot: str, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a cell of a heat map lies; `plot` selects what plotly draws in."""
    found = page.locator(plot).evaluate(
        """(plot, [x, y]) => {
            plot.scrollIntoView({ block: "center" });
            const area = plot.querySelector(".nsewdrag").getBoundingClientRect();
            const { xaxis, yaxis } = plot._fullLayout;
            return [area.x + xaxis.d2p(x), area.y + yaxis.d2p(y)];
        }""",
        [x, y],
    )
    return found[0], found[1]


def click_cell(page: Any, plot: str, x: float, y: float) -> None:
    """A click on a cell; plotly takes two within 300 ms for a double one."""
    place = place_of(page, plot, x, y)
    page.wait_for_timeout(320)
    page.mouse.move(*place)
    page.mouse.click(*place)


def intrude(page: Any) -> None:
    """What a hostile text would try: a script, a handler, a request elsewhere. Nothing of it may have run."""
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.intruder = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src='data:,' onerror='window.intruder = 2'>");
            fetch("https://example.org/").catch(() => 0);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.intruder") is None
