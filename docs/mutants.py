"""Change the code one line at a time, see whether a test notices, and write the counts into docs/reliability.md.

    python docs/mutants.py [--sample 300] [--seed 0] [--table] [NAME...]

mutmut makes the changes in the files named under [tool.mutmut] and runs the tests that reach them. `--sample` runs so
many of them, drawn by a hash of their names, so that the share that is noticed in the sample stands for all; NAME (as
"interp.scores*") runs those of one file, and leaves the page as it is. What was run before in mutants/ is kept and
counted. `--table`: nothing is run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.stats import beta

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- made by docs/mutants.py -->", "<!-- end of mutants -->"
HEADINGS = ("code", "changes", "run", "noticed by a test", "without end", "not noticed", "noticed")
ROOMS = {
    "scores": ("interp/scores.py", "induction/"),
    "gates": ("interp/gating.py", "interp/masks.py"),
    "rankings": (
        "ablation/orders.py",
        "ablation/importance.py",
        "ablation/gate_gradients.py",
        "ablation/loss_scaling.py",
    ),
    "outcomes": ("ablation/outcomes.py",),
    "statistics": ("ablation/statistics/",),
    "store": ("headscope/store/",),
}
SMALL = "induction.definitions*"  # a few, so that all are made and the tests that reach them known
KILLED, ENDLESS, UNSEEN = {1, 3}, {-24, 24, 36, 152, 255}, {0, 5, 33}  # mutmut's exit codes; 5, 33: no test gets there
Results = Mapping[str, int | None]


def results(home: Path) -> dict[str, Results]:
    """The exit code of every change, None where it was not run; by file."""
    found = {}
    for path in sorted(home.rglob("*.meta")):
        name = path.relative_to(home).as_posix().removesuffix(".meta")
        found[name] = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def sample(found: Mapping[str, Results], count: int, seed: int) -> list[str]:
    """So many of all changes, whatever was run before."""
    names = [name for codes in found.values() for name in codes]
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())[:count]


def counted(codes: Sequence[int | None]) -> tuple[int, int, int, int]:
    """How many were run, noticed, without end (which is noticed too), and not noticed."""
    ran = [code for code in codes if code in KILLED | ENDLESS | UNSEEN]
    kinds = (KILLED, ENDLESS, UNSEEN)
    noticed, endless, unseen = (sum(code in kind for code in ran) for kind in kinds)
    return len(ran), noticed, endless, unseen


def table(found: Mapping[str, Results]) -> list[str]:
    """A row a room, and one of all with the 95% interval of the share."""
    rows, every = [], [code for codes in found.values() for code in codes.values()]
    for room, places in ROOMS.items():
        own = [code for name, codes in found.items() if name.startswith(places) for code in codes.values()]
        rows.append(_row(room, own))
    cells = _row("all", every)
    ran, _, _, unseen = counted(every)
    if 0 < ran < len(every):
        low = float(beta.ppf(0.025, ran - unseen, unseen + 1)) if ran > unseen else 0.0
        high = float(beta.ppf(0.975, ran - unseen + 1, unseen)) if unseen else 1.0
        cells[-1] += f" ({low:.0%} to {high:.0%})"
    return [f"| {' | '.join(row)} |" for row in (HEADINGS, ["---"] * len(HEADINGS), *rows, cells)]


def _row(name: str, codes: Sequence[int | None]) -> list[str]:
    ran, noticed, endless, unseen = counted(codes)
    share = f"{1 - unseen / ran:.0%}" if ran else "-"
    return [name, *(f"{n:,}" for n in (len(codes), ran, noticed, endless, unseen)), share]


def survivors(found: Mapping[str, Results]) -> list[str]:
    """The changes that no test noticed; `mutmut show NAME` shows one."""
    return [name for codes in found.values() for name, code in codes.items() if code in UNSEEN]


def mutmut(*names: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name("mutmut")), "run", *names], cwd=ROOT, check=False)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sample", type=int, help="so many changes in place of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="only count what was run before")
    given = parser.parse_args()
    home = ROOT / "mutants"
    if not given.table and given.sample is None:
        mutmut(*given.names)
    elif not given.table:
        mutmut(SMALL)
        codes = {name: code for part in results(home).values() for name, code in part.items()}
        left = [name for name in sample(results(home), given.sample, given.seed) if codes[name] is None]
        if left:
            mutmut(*left)
    found = results(home)
    if not found:
        raise SystemExit(f"there is nothing in {home}: run this without --table first")
    lines = table(found)
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    body = "\n".join(lines)
    if not given.names:
        PAGE.write_text(f"{head}{BEGIN}\n{body}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    print("\n".join([*lines, "", *survivors(found)]))


if __name__ == "__main__":
    main()
