"""Execute the notebooks of examples/ and keep what they show, small: `make notebooks`, or this with the name of one.

1. Run every cell as it stands, figures as pictures (plotly's renderer `png`, which needs Chromium).
2. Of what a cell shows, keep text, tables and pictures; pages with scripts in them, such as CircuitsVis, stay out.
3. Write down what the code was, so that a notebook whose code has changed since is told from one that has not.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
KEPT = ("text/plain", "text/html", "image/png")
LONG = 20_000  # characters: no table has as many, every page with a script of its own has


def main(*names: str) -> None:
    os.environ["PLOTLY_RENDERER"] = "png"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    for path in [EXAMPLES / f"{name}.ipynb" for name in names] or sorted(EXAMPLES.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
        nbformat.write(kept(notebook), path)
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB")


def kept(notebook: Any) -> Any:
    """The same notebook with the outputs that are kept; changed in place."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [small(output) for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "code_sha256": code_hash(notebook),
    }
    return notebook


def small(output: Any) -> Any:
    if "data" in output:
        output.data = {
            kind: text
            for kind, text in output.data.items()
            if kind in KEPT and (kind == "image/png" or len(text) < LONG)
        }
        output.metadata = {}
    return output


def code_hash(notebook: Any) -> str:
    """Of the code of all cells, in their order."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\n\n".join(cells).encode()).hexdigest()


if __name__ == "__main__":
    main(*sys.argv[1:])
