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
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from headscope.findings.citations import bibliography
from headscope.findings.methods import methods
from headscope.findings.page import page_of
from headscope.findings.reading import READING
from headscope.findings.words import model_name
from headscope.report.contents import page_data
from headscope.report.summary import summary
from headscope.store.atomic import sweep, write_atomically
from headscope.store.run import Run, open_run
from headscope.store.snapshot import Stored
from interp.theme import css_variables

FILE = "report.html"
SHARED = ("dom", "theme", "scores", "mosaic", "card", "tokens", "attention_map")
SCRIPTS = ("page", "mosaic", "attention", "table", "figures", "kit", "main")


def render(folder: str | Path | Run) -> Path:
    """Write `report.html` into a run directory from what is stored, and return its path.

    Raises StoreError where the folder is no run directory or can't be written to.
    """
    run = folder if isinstance(folder, Run) else open_run(folder)
    path = run.folder / FILE
    sweep(run.folder)
    write_atomically(path, report(run).encode("utf-8", "replace"))
    return path


def report(run: Run) -> str:
    """The whole file as text."""
    data = page_data(Stored(run))
    name = model_name(run.identity)
    return page(
        "report",
        scripts=[plotly_script(), shared_script(), *(static(f"{name}.js") for name in SCRIPTS)],
        title=f"Attention heads of {name}",
        model=name,
        data=safe_json(data),
        page=data,
        found={section.name: section for section in page_of(run)},
        reading=READING,
        kit={"methods": methods(run), "bibtex": bibliography(run)},
        **summary(run.manifest, data["scores"]),
    )


def page(name: str, *, scripts: Sequence[str], **values: Any) -> str:
    """A page from its template and style: `NAME.html.jinja` and `NAME.css`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("headscope.report", "static"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(f"{name}.html.jinja")
    return template.render(policy=policy(scripts), style=style(static(f"{name}.css")), scripts=scripts, **values)


def style(own: str) -> str:
    """The palette and the look of every page, and what one page adds."""
    return css_variables() + static("shared/page.css") + own


@cache
def shared_script() -> str:
    """What report and inspector draw with: theme, mosaic, card, tokens, attention map."""
    return "\n".join(static(f"shared/{name}.js") for name in SHARED)


def plots_scripts() -> list[str]:
    """What a page of plain figures runs: plotly, light and dark, and the drawing of what Python made."""
    shared = "\n".join(static(f"shared/{name}.js") for name in ("dom", "theme"))
    return [plotly_script(), shared, static("plots.js")]


def policy(scripts: Sequence[str]) -> str:
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


@cache
def plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def static(name: str) -> str:
    return files("headscope.report").joinpath("static", name).read_text(encoding="utf-8")
