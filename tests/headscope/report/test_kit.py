"""The files that a paper takes along: which they are, and what is refused before any is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headscope.findings.citations import bibliography
from headscope.findings.methods import methods
from headscope.report import kit
from headscope.store.run import Run, open_run
from interp.errors import UsageError
from tests.headscope.commands import command, done, refused
from tests.headscope.synthetic import Shape, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("kit") / "run", shape=Shape(4, 3, 1), study=True, tasks=["copa"]))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[Path, Any]:
    """What would be drawn, without a browser."""
    found: dict[Path, Any] = {}
    monkeypatch.setattr(kit, "write_pictures", lambda figures, **look: found.update(figures))
    return found


def test_every_figure_and_both_texts(run: Run, drawn: dict[Path, Any], tmp_path: Path) -> None:
    out = tmp_path / "paper"
    written = kit.write_kit(run, out, kind="svg")
    assert set(written) == {*drawn, out / "methods.txt", out / "references.bib"}
    names = {path.name for path in drawn}
    assert {"mosaic-copying-signed.svg", "mosaic-prefix_matching.svg", "dots-1.svg", "layer_profile-1.svg"} <= names
    assert "mosaic-prefix_matching-olsson.svg" not in names and len(names) == len(drawn)
    assert drawn[out / "mosaic-copying-signed.svg"].data[0].colorbar.title.text == "Copying (signed)"
    assert (out / "methods.txt").read_text(encoding="utf-8") == f"{methods(run)}\n"
    assert (out / "references.bib").read_text(encoding="utf-8") == bibliography(run)


def test_the_command_says_what_it_wrote(run: Run, drawn: dict[Path, Any], tmp_path: Path) -> None:
    printed = done("report", run.folder, "--kit", tmp_path / "paper").out.splitlines()
    assert printed[0] == str(run.folder / "report.html")
    assert printed[1:] == [
        *map(str, drawn),
        *(str(tmp_path / "paper" / name) for name in ("methods.txt", "references.bib")),
    ]
    assert {path.suffix for path in drawn} == {".pdf"}
    refused(command("report", run.folder, "--kit", tmp_path / "x", "--format", "gif"), "pdf, svg")


def test_without_kaleido_nothing_is_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"need kaleido: pip install 'headscope\[images\]'.*saves each figure as SVG"):
        kit.write_kit(run, tmp_path / "paper")
    assert not (tmp_path / "paper").exists()


def test_too_many_figures_are_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "MOST", 3)
    with pytest.raises(UsageError, match=r"has \d+ figures, and one command writes at most 3"):
        kit.write_kit(run, tmp_path / "paper")
    assert not (tmp_path / "paper").exists()


@pytest.mark.browser
@pytest.mark.slow
def test_a_pdf_is_a_pdf(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = list(kit.figures_of(run))[:2]
    monkeypatch.setattr(kit, "figures_of", lambda run: iter(figures))
    pictures = [path for path in kit.write_kit(run, tmp_path / "paper") if path.suffix == ".pdf"]
    assert len(pictures) == 2 and all(path.read_bytes()[:5] == b"%PDF-" for path in pictures)
