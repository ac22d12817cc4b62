"""The published page: Markdown with its figures as files beside it, from the tables of every run that stands there.

`publish(run, folder)` copies the run's manifest and tables into a folder of their own below `folder`, draws its figures
there, and writes `folder/README.md`: the study in which the model learns the most tasks, in full, and of every other
one the answer, with a link to its own page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headscope.figures import draw
from headscope.findings.page import page_of
from headscope.findings.reading import READING
from headscope.findings.section import Section
from headscope.findings.words import model_name
from headscope.report.pictures import write_pictures
from headscope.store.atomic import make_writable, sweep, write_atomically
from headscope.store.manifest import FILE
from headscope.store.run import TABLE_FILES, Run, open_run
from headscope.store.sealed import copy_sealed

PAGE = "README.md"
WIDTH = 440  # pixels: as wide as a telephone shows without making the letters small


def publish(run: Run, folder: str | Path) -> Path:
    """The run's manifest, tables and figures into `folder/NAME`, and the page of all runs there; returns the page.

    NAME is the group of tasks where it is one (`probes`, `icl14`), else the run folder's name. Raises HeadscopeError
    where figures can't be drawn: the page then stands without them.
    """
    home = Path(folder)
    published = home / name_of(run)
    make_writable(published)
    for part in (home, published):
        sweep(part)
    copy_sealed(run.folder, published, TABLE_FILES)
    try:
        draw_figures(open_run(published))
    finally:
        for page, lines in pages(home).items():
            write_atomically(page, "\n".join(lines).encode())
    return home / PAGE


def draw_figures(run: Run) -> None:
    """The figures that the run's page names, anew."""
    for old in run.folder.glob("*.svg"):
        old.unlink()
    names = [name for section in page_of(run) for name in section.figures]
    if names:
        write_pictures({run.folder / f"{name}.svg": draw(run, name) for name in names}, width=WIDTH, scale=1.0)


def name_of(run: Run) -> str:
    from ablation.tasks.names import GROUPS

    tasks = {name for stage in run.stages if stage.command == "study" for name in stage.tasks}
    return next((group for group, names in GROUPS.items() if tasks == set(names)), run.folder.name)


def pages(home: Path) -> dict[Path, list[str]]:
    """The page of all runs, and a page of its own for every run that is not told in full there."""
    first, *others = [open_run(path.parent) for path in sorted(home.glob(f"*/{FILE}"), key=_most_tasks_learnt)]
    whole = {home / PAGE: [*_page(first, f"{first.folder.name}/", others)]}
    return whole | {run.folder / PAGE: [*_page(run)] for run in others}


def _page(run: Run, prefix: str = "", others: Sequence[Run] = ()) -> Iterator[str]:
    """A study in full; prefix: where its figures lie, seen from the page."""
    yield f"# {model_name(run.identity)}: which heads learn from the context?"
    yield ""
    yield "Written by `headscope study --publish` from the tables beside this page; no number is typed by hand."
    yield from ("", f"## {run.folder.name}")
    for section in page_of(run):
        yield from _lines(section, run.folder, prefix)
    for other in others:
        answer = next(iter(page_of(other)))
        yield from ("", f"## {other.folder.name}", "", *(f"- {line}" for line in answer.sentences), "")
        yield f"[All of this study]({other.folder.name}/{PAGE})"
    yield from ("", "## How to read it", "", *(f"- {line}" for line in READING), "")


def _lines(section: Section, folder: Path, prefix: str) -> Iterator[str]:
    """A section in Markdown, without figures that could not be drawn."""
    if section.name != "answer":
        yield from ("", f"### {section.title}")
    if section.sentences:
        yield from ("", *(f"- {line}" for line in section.sentences))
    if section.table is not None:
        yield from ("", *section.table.markdown())
    drawn = [name for name in section.figures if (folder / f"{name}.svg").is_file()]
    if drawn:
        yield from ("", *(f"![{section.title}: {name.replace('_', ' ')}]({prefix}{name}.svg)" for name in drawn))
    if section.note and (drawn or section.table is not None):
        yield from ("", section.note)


def _most_tasks_learnt(manifest: Path) -> tuple[int, str]:
    """What the model learns comes first."""
    run = open_run(manifest.parent)
    learnt = [len(stage.record.get("learnt", ())) for stage in run.stages if stage.command == "screen"]
    return -max(learnt, default=0), manifest.parent.name
