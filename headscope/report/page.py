"""The page: template, styles, scripts and data in one file, with a policy that lets nothing else run or load.

1. Every script stands in the file; the Content-Security-Policy names its SHA-256, and allows no other.
2. Data stands in a JSON block in which <, > and & are escaped; scripts put it on the page as text, never as HTML.
3. Names in the template are escaped by Jinja.
Styles are allowed inline (plotly sets them on its elements); requests of any kind are not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from headscope.figures.style import PALETTE, SANS, SERIF
from headscope.report.contents import page_data
from headscope.report.summary import summary
from headscope.store.atomic import write_atomically
from headscope.store.run import Run, open_run
from headscope.store.snapshot import Stored

FILE = "report.html"
SCRIPTS = ("page", "theme", "mosaic", "card", "attention", "table", "figures", "main")


def render(folder: str | Path | Run) -> Path:
    """Write `report.html` into a run directory from what is stored, and return its path.

    Raises StoreError where the folder is no run directory or can't be written to.
    """
    run = folder if isinstance(folder, Run) else open_run(folder)
    path = run.folder / FILE
    write_atomically(path, page(run).encode("utf-8", "replace"))
    return path


def page(run: Run) -> str:
    """The whole file as text."""
    from jinja2 import Environment, StrictUndefined

    data = page_data(Stored(run))
    scripts = [plotly_script(), *(_static(f"{name}.js") for name in SCRIPTS)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_static("report.html.jinja")).render(
        policy=policy(scripts),
        style=variables() + _static("report.css"),
        scripts=scripts,
        data=safe_json(data),
        page=data,
        **summary(run.manifest, data),
    )


def policy(scripts: list[str]) -> str:
    """The Content-Security-Policy under which only these scripts run and nothing is requested."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    allowed = {
        "default-src": "'none'",
        "script-src": hashes,
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def safe_json(value: Mapping[str, Any]) -> str:
    """JSON that can't end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def variables() -> str:
    """The palette as CSS variables, so that page and figures have one source."""
    themes = [
        "".join(f"--{name.replace('_', '-')}:{pair[place]};" for name, pair in PALETTE.items()) for place in (0, 1)
    ]
    return (
        f":root{{--serif:{SERIF};--sans:{SANS};color-scheme:light;{themes[0]}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{themes[1]}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{themes[1]}}}}}\n"
        f"@media print{{:root:root:root{{color-scheme:light;{themes[0]}}}}}\n"
    )


@cache
def plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _static(name: str) -> str:
    return files("headscope.report").joinpath("static", name).read_text(encoding="utf-8")
