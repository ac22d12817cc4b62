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


A4 = 688  # pixels between the margins of a printed page
CUT = """(width) => [...document.querySelectorAll("main *, header *")].filter((one) => {
    const box = one.getBoundingClientRect();
    const seen = box.width && one.checkVisibility({ visibilityProperty: true });
    if (!seen || one.closest("svg, .unseen, #strip, .range")) return false;
    const hides = getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1;
    return box.right > width + 1 || hides;
}).map((one) => `${one.tagName}#${one.id}.${one.className}`)"""


def cut_on_paper(page: Any, width: int = A4) -> list[str]:
    """What is wider than the paper, or scrolls there; and the controls that would be printed."""
    page.emulate_media(media="print")
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(400)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    controls = page.locator("#theme, #theme-button, .filters input, .saves, textarea, .modebar, input[type=checkbox]")
    seen = [controls.nth(at).evaluate("(one) => one.outerHTML") for at in range(controls.count())]
    shown = [html[:80] for at, html in enumerate(seen) if controls.nth(at).is_visible()]
    return [*page.evaluate(CUT, width), *shown]


PAPER = """() => addEventListener("beforeprint", () => {
    const all = [...document.querySelectorAll(".js-plotly-plot")];
    const plots = all.filter((plot) => plot.data?.length && plot.clientWidth);
    window.printed = plots.map(({ layout }) => [layout.paper_bgcolor, layout.font.color, layout.width]);
})"""


def printed(page: Any) -> list[list[Any]]:
    """Paper, ink and width of every plot as it was printed; the printed pages are those of a PDF."""
    page.evaluate(PAPER)
    page.emulate_media(media="print")
    pages = page.pdf(format="A4", prefer_css_page_size=True)
    assert pages.startswith(b"%PDF") and pages.count(b"/Type /Page\n") >= 2
    page.emulate_media(media="screen")
    found: list[list[Any]] = page.evaluate("window.printed")
    return found
