"""The notebooks of examples/ are executed from the first cell to the last, on SmolLM2, with less of everything.

They are kept as `make notebooks` (docs/notebooks.py) left them: with small outputs of the very code that they hold. The
cell tagged `parameters` is followed by one that makes its values smaller, as papermill does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.scripts import script

PROGRAM = script("notebooks.py")
LARGEST = 400_000  # bytes
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PLOTLY = "application/vnd.plotly.v1+json"
SMALL = {
    "tour": {"SEQUENCES": 2, "DOCUMENTS": 3},
    "reproduction": {
        "TASKS": ["probe_labels", "probe_plurals"],
        "DOCUMENTS": 3,
        "KNOCKED": 1,
        "SEQUENCES": 2,
        "CONTROLS": 1,
    },
}


def executed(path: Path, folder: Path, parameters: dict[str, Any]) -> Any:
    """The notebook with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    (place,) = (at for at, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()


def shown(notebook: Any) -> list[dict[str, Any]]:
    """What the cells display, by mime type."""
    return [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_small_outputs_of_its_code(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.metadata["code_sha256"] == PROGRAM.code_hash(notebook), "its code has changed: make notebooks"
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html", "image/png"} and len(outputs) >= len(cells) // 2
    assert path.stat().st_size < LARGEST
    assert all(output.output_type in ("stream", "display_data", "execute_result") for output in outputs)
    assert not re.search(r"<script|/tmp/|/home/|/work/", json.dumps(outputs))
    (given,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assert set(SMALL[path.stem]) <= set(re.findall(r"^([A-Z]+) =", given, flags=re.MULTILINE))


def test_of_what_a_cell_shows_scripts_and_warnings_stay_out() -> None:
    page, table = "<script>" + "x" * PROGRAM.LONG, "<table></table>"
    cell = nbformat.v4.new_code_cell("1")
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output("display_data", {"text/html": page, "text/plain": "drawn", PLOTLY: {}}),
        nbformat.v4.new_output("display_data", {"text/html": table, "image/png": "a" * len(page)}),
    ]
    (kept,) = PROGRAM.kept(nbformat.v4.new_notebook(cells=[cell])).cells
    assert [output.data for output in kept.outputs] == [
        {"text/plain": "drawn"},
        {"text/html": table, "image/png": "a" * len(page)},
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == "tour" else [pytest.mark.longest]) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_shows_without_a_network(path: Path, tmp_path: Path) -> None:
    """nbclient raises at the first cell that fails."""
    displays = shown(executed(path, tmp_path, SMALL[path.stem]))
    figures = [display[PLOTLY] for display in displays if PLOTLY in display]
    pages = [display["text/html"] for display in displays if PLOTLY not in display and "text/html" in display]
    drawings = [page for page in pages if "CircuitsVis.render(" in page]
    assert len(figures) >= 3 and len(pages) >= 4
    assert len(drawings) == (2 if path.stem == "tour" else 0)
    for page in pages:
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//|unpkg\.com""", page)
    for figure in figures:
        assert "http" not in json.dumps(figure)
