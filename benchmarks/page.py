"""Run the benchmarks and write docs/benchmarks.md: `make bench`.

    python benchmarks/page.py [NAME ...] [--no-run] [--kept FOLDER] [--page docs/benchmarks.md]

Each benchmark is a program of its own whose last line is JSON. That line is kept as FOLDER/NAME.json, so that one can
be run again and the others stay. The page has one table: a row a ratio, and what it is over. Nothing on it is typed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
KEPT = HERE / "measured"
# What each benchmark measures, and beside what its ratios stand.
BENCHMARKS = {
    "prefix_matching": "prefix matching beside a plain forward pass, and TransformerLens",
    "copying": "copying beside a plain forward pass, and TransformerLens",
    "importance": "gradient importance beside a plain forward and backward pass, and the paper's way",
    "knock_out": "knock-out of every component beside the plain loop over them",
    "likelihood": "log-likelihoods beside lm-evaluation-harness's HFLM; the limit is tokens that have to be run",
    "patching": "patching of every head beside a plain forward pass, and the plain loop",
    "ray_workers": "Ray workers beside one of them",
}
# A number under one of these names is a ratio; deeper names say of what.
RATIOS = ("ratio", "ratios", "times", "limit", "speed", "faster")


def run(name: str, kept: Path) -> None:
    """Run a benchmark and keep its last line. Raises RuntimeError where it fails or prints no JSON."""
    program = [sys.executable, str(HERE / f"{name}.py")]
    done = subprocess.run(program, capture_output=True, text=True)  # noqa: S603  (our own program)
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise RuntimeError(f"{name}.py left with status {done.returncode}: {done.stderr[-2000:]}") from error
    kept.mkdir(parents=True, exist_ok=True)
    (kept / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def numbers(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number, with the names on the way to it."""
    if isinstance(found, Mapping):
        for name, value in found.items():
            yield from numbers(value, (*path, str(name)))
    elif isinstance(found, list):
        for place, value in enumerate(found):
            yield from numbers(value, (*path, str(place + 1)))
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield path, float(found)


def is_ratio(path: tuple[str, ...]) -> bool:
    return any(part in name.split("_") for name in path for part in RATIOS)


def page(kept: Path) -> str:
    """The page of what is kept."""
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {machine()}. Ratios of times, measured in one process and turn by turn where a",
        "benchmark's own program (in `benchmarks/`) does not say otherwise; what a ratio is over stands in its name.",
        "",
        "| benchmark | figure | value |",
        "|---|---|---|",
    ]
    for name, what in BENCHMARKS.items():
        path = kept / f"{name}.json"
        if not path.is_file():
            lines.append(f"| {name}: {what} | not measured | |")
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        ratios = [(where, value) for where, value in numbers(found) if is_ratio(where)]
        for place, (where, value) in enumerate(ratios):
            title = f"{name}: {what}" if place == 0 else ""
            lines.append(f"| {title} | {', '.join(part.replace('_', ' ') for part in where)} | {value:g} |")
    return "\n".join(lines) + "\n"


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
