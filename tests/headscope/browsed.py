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


OVERLAPS = """(chosen) => {
    const kinds = ".xtick text, .ytick text, .xtitle, .ytitle, .gtitle, .legendtext";
    const turned = (text) => /rotate/.test(text.getAttribute("transform") || "");
    const found = [];
    for (const plot of document.querySelectorAll(chosen)) {
        const texts = [...plot.querySelectorAll(kinds)].filter((text) => text.getBoundingClientRect().width);
        texts.forEach((a, place) => texts.slice(place + 1).forEach((b) => {
            if (turned(a) && turned(b)) return;  // slanted labels side by side: their boxes overlap, they do not
            const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
            const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
            const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
            if (wide > 2 && high > 3) found.push([a.textContent, b.textContent]);
        }));
    }
    return found;
}"""


def overlaps(page: Any, chosen: str) -> list[Any]:
    """Pairs of texts in one plot whose boxes cover each other by more than a pixel or two."""
    found: list[Any] = page.evaluate(OVERLAPS, chosen)
    return found
