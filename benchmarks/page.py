"""Run the benchmarks and write docs/benchmarks.md: `make bench`.

    python benchmarks/page.py [NAME ...] [--no-run] [--kept FOLDER] [--page docs/benchmarks.md]

Each benchmark is a program of its own whose last line is JSON. Its rows are kept as FOLDER/NAME.json, so that one can
be run again and the others stay. The page has one table of their rows (side_by_side.py): what, in which unit, the
median with the lowest and highest round, the limit and the peers beside it. Nothing on it is typed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
KEPT = HERE / "measured"
BENCHMARKS = (
    "prefix_matching",
    "copying",
    "importance",
    "knock_out",
    "likelihood",
    "patching",
    "contest",
    "ray_workers",
)


def run(name: str, kept: Path, *given: str) -> None:
    """Run a benchmark and keep its last line. Raises RuntimeError where it fails or prints no JSON."""
    program = [sys.executable, str(HERE / f"{name}.py"), *given]
    done = subprocess.run(program, capture_output=True, text=True)  # noqa: S603  (our own program)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise RuntimeError(f"{name}.py left with status {done.returncode}: {done.stderr[-2000:]}") from error
    kept.mkdir(parents=True, exist_ok=True)
    rows = {"rows": found.get("rows", [])}  # ratios alone: times are this machine's
    (kept / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def page(kept: Path) -> str:
    """The page of what is kept."""
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {machine()}. A row says what was run and in which unit.",
        "The value is a median of rounds in which everything takes its turn, with the lowest and the highest round",
        "beside it; one round has no spread. The limit is the same figure for nothing but the tokens that have to be",
        "run, at the price of the plain model. How each is measured stands at the head of its `benchmarks/NAME.py`.",
        "",
        "| benchmark | figure | value | spread | limit | peers |",
        "|---|---|---|---|---|---|",
    ]
    for name in BENCHMARKS:
        path = kept / f"{name}.json"
        rows = json.loads(path.read_text(encoding="utf-8")).get("rows", ()) if path.is_file() else ()
        lines += [f"| `{name}` | {' | '.join(cells(one))} |" for one in rows]
        if not rows:
            lines.append(f"| `{name}` | not measured | | | | |")
    return "\n".join(lines) + "\n"


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row's cells, numbers with three digits."""
    spread = f"{row['low']:.3g} to {row['high']:.3g}" if row["rounds"] > 1 else ""
    peers = ", ".join(f"{name} {value:.3g}" for name, value in row["peers"].items())
    return row["what"], f"{row['value']:.3g}", spread, "" if row["limit"] is None else f"{row['limit']:.3g}", peers


def machine() -> str:
    import os

    import torch

    return f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}"


def main(*given: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all, where none is named")
    parser.add_argument("--no-run", action="store_true", help="the page of what is kept, nothing is run")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args(given)
    if unknown := sorted(set(asked.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in () if asked.no_run else asked.names or BENCHMARKS:
        print(f"== {name}", file=sys.stderr, flush=True)
        run(name, asked.kept)
    asked.page.write_text(page(asked.kept), encoding="utf-8")
    print(asked.page)


if __name__ == "__main__":
    main(*sys.argv[1:])
