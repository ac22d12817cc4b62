"""Make faults on purpose, count how each ended, and write the table of docs/reliability.md.

    python docs/reliability.py [--fast] [--without-study]

The attacks are those of the slow tests (tests/headscope/faults.py, tests/test_fuzz.py), made more often, and the bad
inputs of tests/refusals. A study on a tiny random model stands for the commands: it runs all of their stages.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by docs/reliability.py -->", "<!-- end -->"
WITHOUT = "The row of a whole study on a tiny model was left out this time (`--without-study`)."
HEADINGS = ("fault", "made", "refused with a sentence", "mended by the same command", "no effect", "lost", "wrong")
KILLS = "killed at a step of a write, the command given again"
OFTEN = "killed every few writes, and given again"


def attacks(home: Path, *, fast: bool, study: bool) -> Iterator[Any]:
    """Every kind of fault."""
    from tests.headscope import faults
    from tests.headscope.killed_writer import work
    from tests.headscope.store.stored import write_run

    share = 8 if fast else 1
    yield from faults.damages(write_run(home / "run"), 64 // share)
    disk = "the disk is full, or fails, from a step on"
    for name, error, most, lasting in (
        (KILLS, faults.Killed, 48, False),
        (disk, faults.full_disk, 12, True),
        (disk, faults.no_io, 12, True),
    ):
        place = home / f"{error.__name__}"
        place.mkdir()
        yield faults.stopped_at_every_step(name, work, place, error, most=max(2, most // share), lasting=lasting)
    for name, attack in {
        "often": lambda place: faults.killed_after_steps(OFTEN, work, place, steps=7, most=160 // share),
        "sizes": lambda place: faults.limited_size(work, place, [0, 500, 2000, 5000]),
        "both": lambda place: faults.together(work, place, max(1, 4 // share)),
        "clocks": lambda place: faults.clocks(work, place),
    }.items():
        (home / name).mkdir()
        yield attack(home / name)
    if study:
        yield studied(home, most=max(4, 40 // share))


def studied(home: Path, *, most: int) -> Any:
    """A whole study (every kind of stage, from induction to the comparison) that is killed ever again."""
    import interp
    from tests.headscope import faults, killed_study, tiny

    (home / "study").mkdir()
    model = interp.load_model(str(tiny.write_model(home / "model")), check=False)
    steps = faults.steps_of(lambda folder: killed_study.work(model, folder), home / "counted")
    return faults.killed_after_steps(
        f"a study {OFTEN}",
        lambda folder: killed_study.work(model, folder),
        home / "study",
        steps=max(8, steps // most),
        most=most,
    )


def together(told: list[Any]) -> list[Any]:
    """Rows of one name as one."""
    rows: dict[str, Any] = {}
    for one in told:
        if one.fault not in rows:
            rows[one.fault] = one
            continue
        for name in ("made", "refused", "mended", "harmless", "lost", "wrong"):
            setattr(rows[one.fault], name, getattr(rows[one.fault], name) + getattr(one, name))
    return list(rows.values())


def fuzzed(home: Path, count: int) -> list[str]:
    """The row of inputs that tests/test_fuzz.py makes; one that is neither read nor refused is an error."""
    from tests.headscope.store.stored import write_run
    from tests.test_fuzz import DOORS, fuzz

    logging.disable(logging.WARNING)  # damaged units are told one by one
    warnings.simplefilter("ignore")
    run, place = write_run(home / "fuzzed", layers=2, heads=2), home / "place"
    place.mkdir()
    for door in DOORS:
        fuzz(door, count // len(DOORS), run, place)
    return [f"made-up inputs to {len(DOORS)} doors, read or refused", f"{count:,}", "", "", "", "", "0"]


def refused(home: Path) -> list[str]:
    """The row of bad inputs of tests/refusals and of a newcomer's command lines; a wrong answer is an error."""
    from tests.headscope.cli.test_mistakes import MISTAKES, answered, lay_out
    from tests.refusals.test_refusals import CASES

    for number, case in enumerate(CASES):
        case.check(home / f"refused-{number}", home / "shelf")
    desk = lay_out(home / "mistakes")
    for arguments, sentence in MISTAKES:
        answered(desk, arguments, sentence)
    made = f"{len(CASES) + len(MISTAKES):,}"
    return [f"bad inputs, each with its sentence ({len(MISTAKES)} command lines)", made, made, "", "", "", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="an eighth of the faults, and the page stays as it is")
    parser.add_argument("--without-study", action="store_true", help="without the row of a whole study")
    asked, begin = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        told = together(list(attacks(Path(home), fast=asked.fast, study=not asked.without_study)))
        rows = [one.row() for one in told] + [refused(Path(home)), fuzzed(Path(home), 300 if asked.fast else 5_000)]
    lines = [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows)]
    made = sum(one.made for one in told)
    ended = sum(one.lost + one.wrong for one in told)
    lines += ["", f"{made:,} faults of {len(told)} kinds: {ended} results lost or wrong."]
    if asked.without_study:
        lines[-1] += f" {WITHOUT}"
    table = "\n".join(lines)
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    if not asked.fast:
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    print(f"{table}\n{time.monotonic() - begin:.0f} s")
    if ended:
        raise SystemExit("something was lost or wrong")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.environ["HF_HUB_OFFLINE"] = "1"  # what is not found is not looked for elsewhere
    main()
