"""Take the pictures of the inspector and the pages in the documentation: `make screenshots`, after `make report`.

1. Beside the run directory stands one of the same model without its five strongest induction heads (made if missing).
2. Open the run with its model in the inspector, alone and with the other beside it, its report, and the pages that
   `headscope compare-models` and `headscope patch` write, in Chromium.
3. At a desk's and at a phone's size, in light and in dark: choose a view, do what it asks for, wait until it is drawn,
   take what is seen.
4. Write it with a palette of its 256 most frequent colours, each other colour as the nearest of them.
Names behind the run narrow it down to these views.
"""

from __future__ import annotations

import base64
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "images" / "screenshots"
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--font-render-hinting=none"]
SIZES = {"desk": (1440, 900, 1), "phone": (390, 844, 2)}  # width, height, device pixels for one of the page's
READY = "html[data-ready=yes]"
WAIT = 120_000  # milliseconds, on a busy machine


@dataclass(frozen=True)
class View:
    """A picture: the page's address behind #, what must be there, and what stands at the top of the window.

    does: what a person does there first: clicks, or fills a field where a text is given.
    """

    name: str
    page: str
    address: str = ""
    drawn: tuple[str, ...] = ()
    top: str = ""
    sizes: tuple[str, ...] = ("desk", "phone")
    does: tuple[tuple[str, str], ...] = ()


HEAD = "head=18.6&a=prefix_matching///0&b=copying/signed//0"
STRONGEST = ((17, 3), (17, 4), (17, 5), (18, 6), (18, 7))
FIVE = ",".join(f"{layer}.{head}" for layer, head in STRONGEST)
DURSLEY = f"{HEAD}&prompt=text:{quote('Mr Dursley was thin and blond. Harry said that Mr Dursley was thin and')}"
CLEAN, CORRUPT = "The capital of France is", "The capital of Italy is"
LINES = (
    "Mr Dursley was thin and blond. Harry said that Mr Dursley was thin and blond.\n"
    "The quick brown fox saw a lazy dog, and the quick brown fox saw a lazy cat.\n"
    "Paris is in France. Rome is in Italy. Paris is in France, and Rome is in Italy."
)
DESK = ("desk",)
VIEWS = (
    View("inspector", "inspector", HEAD, ("#attention .heatmaplayer image", "#copies tbody tr", "#card-scores .score")),
    View("inspector-attention", "inspector", HEAD, ("#attention .heatmaplayer image",), "#attention-panel", ("phone",)),
    View(
        "inspector-removal",
        "inspector",
        f"{HEAD}&heads={FIVE}&vis=head:0",
        ("#next table:nth-child(2)", "#learning div:nth-child(2)", "#loss .trace:nth-child(2)"),
        "#removal-panel",
    ),
    View(
        "inspector-circuitsvis", "inspector", f"{HEAD}&vis=layer:0", ("#frame:not([hidden])",), "#vis-panel", ("desk",)
    ),
    View(
        "inspector-line",
        "inspector",
        f"{DURSLEY}&heads={FIVE}",
        ("#removal-line:not([hidden])", "#brief-next table", "#attention .heatmaplayer image"),
        sizes=DESK,
    ),
    View(
        "inspector-writers",
        "inspector",
        DURSLEY,
        ("#mosaic-written .heatmaplayer image", "#parts .trace", "#lens .trace"),
        "#writers-panel",
        DESK,
        (("#ask-writers", ""),),
    ),
    View(
        "inspector-patch",
        "inspector",
        f"{HEAD}&prompt=text:{quote(CLEAN)}",
        ("#mosaic-patch .heatmaplayer image",),
        "#patch-corrupt",
        DESK,
        (("#writers-answer", " Paris"), ("#writers-other", " Rome"), ("#patch-corrupt", CORRUPT), ("#ask-patch", "")),
    ),
    View("inspector-heads", "inspector", HEAD, ("[data-picture]",), "#grid-panel", DESK, (("[data-grid=on]", ""),)),
    View(
        "inspector-average",
        "inspector",
        HEAD,
        ("#average table",),
        "#average-panel",
        DESK,
        (("#average-lines", LINES), ("#ask-average", "")),
    ),
    View(
        "inspector-beside",
        "beside",
        HEAD,
        ("#mosaic-beside .heatmaplayer image", "#mosaic-change .heatmaplayer image"),
        "#beside-panel",
        DESK,
    ),
    View("report", "report", "head=18.6"),
    View("report-heads", "report", "head=18.6", ("#mosaic .heatmaplayer image", "#card-scores .score"), "#heads"),
    View("models", "models", drawn=(".js-plotly-plot .main-svg",), sizes=DESK),
    View("models-pair", "models", drawn=("#pair .heatmaplayer image",), top="#pair", sizes=DESK),
    View("patch", "patch", drawn=(".js-plotly-plot .heatmaplayer image",), top="#effects", sizes=DESK),
)


def main() -> None:
    import os
    import shutil

    from playwright.sync_api import sync_playwright

    run, names = Path(sys.argv[1]).resolve(), set(sys.argv[2:])
    views = [view for view in VIEWS if not names or view.name in names]
    browser_path = os.environ.get("HEADSCOPE_CHROMIUM") or shutil.which("chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with opened(run) as pages, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=CHROMIUM_ARGUMENTS)
        decoder = browser.new_page()
        for size in SIZES:
            for scheme in ("light", "dark"):
                for view in views:
                    if size in view.sizes:
                        path = FOLDER / f"{view.name}-{size}-{scheme}.png"
                        path.write_bytes(
                            with_palette(pixels(decoder, taken(browser, pages[view.page], view, size, scheme)))
                        )
                        print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB", flush=True)
        browser.close()


@contextmanager
def opened(run: Path) -> Iterator[dict[str, str]]:
    """The addresses of all pages; the inspectors are served in this process, on one model."""
    from headscope.cli.inspect import make_bench, run_beside

    bench = make_bench(str(run), None, "hub", {}, with_model=True)
    if bench.model is None:
        raise SystemExit(f"the pictures need the model: {bench.why}")
    other = without_strongest(run, bench.model)
    two = type(bench)(bench.name, run=bench.run, model=bench.model)
    two.beside = run_beside(two, other)
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        models, patch = folder / "models.html", folder / "patch.html"
        headscope("compare-models", run, other, "-o", models)
        asked = ("--clean", CLEAN, "--corrupt", CORRUPT, "--answer", " Paris", "--other", " Rome", "--at", "all")
        headscope("patch", *asked, "--method", "attribution", "-o", patch)
        yield {
            "inspector": held.enter_context(served(bench)),
            "beside": held.enter_context(served(two)),
            "report": (run / "report.html").as_uri(),
            "models": models.as_uri(),
            "patch": patch.as_uri(),
        }


def without_strongest(run: Path, model: Any) -> Path:
    """A run of the same model without its five strongest induction heads, by the same protocol."""
    from ablation.export import export
    from interp.masks import HeadMask

    folder = run.with_name(f"{run.name}-without-five")
    if not (folder / "report.html").exists():
        mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(STRONGEST)
        with tempfile.TemporaryDirectory() as place:
            headscope("induction", export(model, mask, None, Path(place) / folder.name), "-o", folder)
    return folder


def headscope(*arguments: object) -> None:
    command = [sys.executable, "-m", "headscope", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


@contextmanager
def served(bench: Any) -> Iterator[str]:
    """An inspector's address."""
    from headscope.inspector.server import make_server

    server = make_server(bench, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def taken(browser: Any, address: str, view: View, size: str, scheme: str) -> bytes:
    """What a person sees, as PNG."""
    width, height, scale = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        color_scheme=scheme,
        is_mobile=size == "phone",
        has_touch=size == "phone",
    )
    page = context.new_page()
    page.goto(f"{address}#{view.address}")
    page.wait_for_selector(READY, state="attached", timeout=WAIT)
    do(page, view)
    for chosen in view.drawn:
        page.locator(chosen).first.wait_for(state="attached", timeout=WAIT)
    settled(page, view)
    png = standing(page)
    context.close()
    return png


def do(page: Any, view: View) -> None:
    """What a person does, once the prompt has been read."""
    if view.does:
        page.locator("#strip [role=option]").first.wait_for(state="attached", timeout=WAIT)
        page.locator("#busy:empty").wait_for(state="attached", timeout=WAIT)
    for chosen, text in view.does:
        part = page.locator(chosen).first
        part.fill(text) if text else part.click()


def standing(page: Any) -> bytes:
    """The page once it has ceased to change: what is drawn in frames ends when it will."""
    before, now = b"", bytes(page.screenshot())
    for _ in range(40):
        if now == before:
            return now
        page.wait_for_timeout(700)
        before, now = now, bytes(page.screenshot())
    raise SystemExit(f"{page.url} does not come to rest")


def settled(page: Any, view: View) -> None:
    """Nothing is being worked on, figures have found their places, the view stands where it should."""
    page.wait_for_timeout(800)
    if view.page in ("inspector", "beside"):
        page.locator("#busy:empty").wait_for(state="attached", timeout=WAIT)
    if view.top:
        page.locator(view.top).evaluate(
            """(part) => {
                const line = document.querySelector("#removal-line:not([hidden])")?.offsetHeight ?? 0;
                scrollTo(0, part.getBoundingClientRect().top + scrollY - 12 - line);
            }"""
        )
    page.wait_for_timeout(1200)


def pixels(page: Any, png: bytes) -> UInt8[np.ndarray, "row column rgb"]:
    """The picture's colours, decoded by the browser."""
    width, height, raw = page.evaluate(
        """async (text) => {
            const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${text}`)).blob());
            const { width, height } = image;
            const canvas = Object.assign(document.createElement("canvas"), { width, height });
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, width, height);
            const parts = [];
            for (let at = 0; at < data.length; at += 32768) {
                parts.push(String.fromCharCode(...data.subarray(at, at + 32768)));
            }
            return [width, height, btoa(parts.join(""))];
        }""",
        base64.b64encode(png).decode(),
    )
    return np.frombuffer(base64.b64decode(raw), np.uint8).reshape(height, width, 4)[:, :, :3]


def palette(colours: UInt8[np.ndarray, "colour rgb"], counts: np.ndarray) -> UInt8[np.ndarray, "kept rgb"]:
    """The most frequent colour of each of the 256 most frequent neighbourhoods."""
    neighbourhood = (colours >> 3).astype(np.int64) @ [1024, 32, 1]
    names, place = np.unique(neighbourhood, return_inverse=True)
    order = np.argsort(-np.bincount(place, counts, len(names)), kind="stable")[:256]
    best = np.argsort(counts, kind="stable")
    most = np.zeros(len(names), int)
    most[place[best]] = best  # the last one written is the most frequent
    return colours[most[order]]


def with_palette(picture: UInt8[np.ndarray, "row column rgb"]) -> bytes:
    """PNG of at most 256 colours."""
    height, width, _ = picture.shape
    colours, place, counts = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = palette(colours, counts)
    part = [
        ((chunk[:, None].astype(np.int32) - kept[None].astype(np.int32)) ** 2).sum(-1).argmin(1)
        for chunk in np.array_split(colours, max(1, len(colours) // 2000))
    ]
    indices = np.concatenate(part).astype(np.uint8)[place.reshape(height, width)]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # each row says: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", kept.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


if __name__ == "__main__":
    main()
