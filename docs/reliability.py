"""Make faults on purpose, count how each ended, and write the table of docs/reliability.md.

    python docs/reliability.py [--fast] [--without-study]

The attacks are those of the slow tests (tests/headscope/test_faults.py, tests/test_fuzz.py), made more often, and the
bad inputs of tests/refusals. Commands are killed on tiny random models, one by one, in a study that runs all of
their stages, and with Ray's workers.
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
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by docs/reliability.py -->", "<!-- end -->"
WITHOUT = "The row of a whole study on a tiny model was left out this time (`--without-study`)."
HEADINGS = ("fault", "made", "refused with a sentence", "mended by the same command", "no effect", "lost", "wrong")
KILLS = "killed at a step of a write, the command given again"
OFTEN = "killed every few writes, and given again"
COMMANDS = "every command that writes killed at a step of a write, and given again"
STUDIED = "a study killed ever later, and given again"


def attacks(home: Path, *, fast: bool, study: bool) -> Iterator[Any]:
    """Every kind of fault."""
    from tests.headscope import damaged, faults, processes, tiny
    from tests.headscope.killed_writer import work
    from tests.headscope.store.stored import write_run

    share = 8 if fast else 1
    yield from damaged.damages(write_run(home / "run"), 64 // share)
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
        "processes": lambda place: processes.two_processes(place, max(2, 24 // share)),
        "clocks": lambda place: faults.clocks(work, place),
    }.items():
        (home / name).mkdir()
        yield attack(home / name)
    model = tiny.write_model(home / "model")
    (home / "memory").mkdir()
    yield processes.limited_memory(model, home / "memory", [0, 1, 2, 4, 8, 16, 32, 64][:: 2 if fast else 1])
    yield from commands(model, home / "commands", most=max(1, 6 // share))
    if study:
        yield studied(model, home / "study", most=max(4, 16 // share))
        (home / "sigkill").mkdir()
        yield processes.killed_study(model, home / "sigkill", max(2, 20 // share))
    if find_spec("ray") is not None:
        yield from on_ray(model, home / "ray", drivers=max(1, 4 // share), workers=max(2, 20 // share))


def commands(model: Path, home: Path, *, most: int) -> Iterator[Any]:
    """Every command that writes, each killed at so many steps."""
    import interp
    from tests.headscope import faults, killed_commands

    home.mkdir()
    loaded = interp.load_model(str(model), check=False)
    for _, work, before, place in killed_commands.in_order(loaded, home):
        yield faults.stopped_at_every_step(COMMANDS, work, place, faults.Killed, most=most, before=before)
    (home / "also").mkdir()
    yield faults.stopped_at_every_step(COMMANDS, killed_commands.also, home / "also", faults.Killed, most=most)


def studied(model: Path, home: Path, *, most: int) -> Any:
    """A whole study (every kind of stage, from induction to the comparison) that is killed ever again."""
    import interp
    from tests.headscope import faults, killed_study

    home.mkdir()
    loaded = interp.load_model(str(model), check=False)
    return faults.killed_ever_later(STUDIED, lambda folder: killed_study.work(loaded, folder), home, most=most)


def on_ray(model: Path, home: Path, *, drivers: int, workers: int) -> Iterator[Any]:
    """Two workers: the command that holds them killed so often in two stages, and one of them, again and again."""
    from tests.headscope.engine import ray_kills

    home.mkdir()
    with ray_kills.one_thread():
        undisturbed = ray_kills.without_workers(model, home)
        shares = [(1 + n) / (1 + drivers) for n in range(drivers)]
        for name in ray_kills.HOW:
            (home / f"killed-{name}").mkdir()
            yield ray_kills.killed_drivers(name, model, undisturbed, home / f"killed-{name}", shares)
        with ray_kills.at_work(model) as engine:
            yield ray_kills.killed_workers(engine, model, home, workers)


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
        rows = [one.row() for one in told] + [refused(Path(home)), fuzzed(Path(home), 300 if asked.fast else 100_000)]
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
