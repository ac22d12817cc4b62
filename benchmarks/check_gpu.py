"""Every command that measures, on the first CUDA device, beside the CPU's numbers, and speed: `make check-gpu`.

    python benchmarks/check_gpu.py [--model smollm2-135m] [--device cuda] [--documents 8]

1. In float32, each command writes a run directory on the device and one on the CPU. Stored scores must agree, and the
   effects of `patch`, and what the sets of the primary question and of the contest cost: the rank correlation over all
   of them above .99, the largest difference below 2% of the range. Sets are drawn by scores: those that both have.
2. On the device in its own precision the commands must end well; how far scores move is printed.
3. Tokens a second of a forward pass, in float32 and bfloat16, and the share of the device's peak that they are.
Left out: `attention` and `export`, which give no score to compare, and `--also concept`, for which the dry run's model
has no names. `--device cpu` is a dry run of the same steps, in which nothing may differ. Where something does, the
status is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.stats import spearmanr

import interp
from headscope.cli import main as headscope
from headscope.plan.calibration import device_here
from headscope.plan.placement import devices
from headscope.store.run import Run, open_run
from interp.errors import HeadscopeError

RANK, MOVE = 0.99, 0.02
SHARED = 0.9  # of the sets on the first device
SETS = ("task", "arm", "ablation", "positions", "outcome", "contrast", "group", "dose", "heads")
CLEAN, CORRUPT = "red, blue, red, blue, red,", "red, green, red, green, red,"
TASKS = "probe_pattern,probe_labels"
COMMON = ("--tasks", TASKS, "--shots", "0,2")
HALF = "bfloat16"
ONE = ("--tasks", "probe_pattern", "--shots", "2")
SCREENED, QUERIES, FEW = 20, 15, 4
PATCHED = "patch.json"


@dataclass(frozen=True)
class Agreement:
    """One stored score on two devices. move: the largest difference over the score's range."""

    score: str
    rank: float
    move: float

    @property
    def good(self) -> bool:
        return self.rank > RANK and self.move < MOVE


def commands(documents: int, sequences: int) -> Iterator[tuple[str, ...]]:
    """Everything that measures, in an order in which each finds what it needs."""
    limit = ("--limit", str(documents))
    yield ("doctor",)
    yield ("induction", "--sequences", str(sequences), "--length", "25", "--also", "retrieval")
    yield ("study", "--only", "screen", *COMMON, "--limit", str(max(documents, SCREENED)))
    yield ("study", "--only", "primary", *COMMON, "--limit", str(max(documents, SCREENED)))
    yield ("vectors", "--queries", str(QUERIES))
    yield ("contest", "--shots", "2", *limit, "--controls", "0", "--shares", "20")
    yield ("importance", *COMMON, *limit)
    yield ("importance", *COMMON, *limit, "--objective", "choice")
    yield ("knockout", "--component", "ffn", *COMMON, *limit)
    yield ("knockout", "--component", "ffn", *COMMON, *limit, "--ablation", "mean")
    yield ("knockout", "--component", "head", *ONE, "--limit", str(min(documents, FEW)), "--ablation", "mean")
    yield ("prune", *COMMON, *limit, "--order", "own,random", "--draws", "2", "--percents", "0,30,60")
    yield ("compare",)
    yield ("patch", "--clean", CLEAN, "--corrupt", CORRUPT, "--answer", " blue", "--other", " green")


def run(words: tuple[str, ...], model: str, folder: Path, device: str, dtype: str) -> float:
    """Seconds of one command. Raises RuntimeError with what it said where it fails."""
    where = ("--device", device, "--dtype", dtype)
    stored = {"doctor": (), "patch": ("--json", "--top", "1000000")}.get(words[0], ("-o", str(folder)))
    asked = [*words[:1], str(folder)] if words[0] == "compare" else [*words[:1], model, *words[1:], *where, *stored]
    out, error, status = io.StringIO(), io.StringIO(), 0
    start = time.perf_counter()
    with (
        mock.patch.object(sys, "argv", ["headscope", *asked]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            headscope()
        except SystemExit as end:
            status = int(end.code or 0)
    if status:
        raise RuntimeError(f"headscope {' '.join(asked)} left with status {status}: {error.getvalue()[-2000:]}")
    if words[0] == "patch":
        (folder / PATCHED).write_text(out.getvalue(), encoding="utf-8")
    return time.perf_counter() - start


def agreements(first: Run, second: Run) -> list[Agreement]:
    """Every stored score of heads and FFNs, the sets of primary and contest, and effects of patching."""
    found = [drops(first, second, name) for name in ("primary", "contest") if has_items(first, name)]
    missing = np.array([np.nan])
    effects = [read_effects(one.folder) for one in (first, second)]
    found.append(agreement("patch", *(np.array([one[head] for head in sorted(one)]) for one in effects)))
    for name in ("head_scores", "ffn_scores"):
        key = ["score", "variant", "task", "shots"]
        both = [dict(list(getattr(one, name).groupby(key, sort=True))) for one in (first, second)]
        for label in sorted(both[0]):
            a, b = (one[label]["mean"].to_numpy(dtype=float) if label in one else missing for one in both)
            found.append(agreement("/".join(str(part) for part in label if part != ""), a, b))
    return found


def has_items(run: Run, name: str) -> bool:
    try:
        return len(run.items(name)) > 0
    except HeadscopeError:  # no task passed the screen
        return False


def drops(first: Run, second: Run, name: str) -> Agreement:
    """What the choice and the mass lose without each set that both runs have."""
    if not has_items(second, name):
        return Agreement(name, 0.0, np.inf)
    tables = []
    for run in (first, second):
        items = run.items(name)
        items = items[items["outcome"].isin(["choice", "mass"])]
        keys = [column for column in SETS if column in items]
        tables.append(items[[*keys, "drop"]].drop_duplicates(keys))
    both = tables[0].merge(tables[1], on=keys)
    if len(both) < SHARED * len(tables[0]):
        return Agreement(name, 0.0, np.inf)
    return agreement(name, both["drop_x"].to_numpy(dtype=float), both["drop_y"].to_numpy(dtype=float))


def read_effects(folder: Path) -> dict[str, float]:
    """Of every head, by what `headscope patch --json` printed."""
    found = json.loads((folder / PATCHED).read_text(encoding="utf-8"))["effects"]
    return {str(one["component"]): float(one["effect"]) for one in found}


def agreement(score: str, a: np.ndarray, b: np.ndarray) -> Agreement:
    """Components that have a value on one device alone count as a move without end."""
    there = np.isfinite(a)
    if a.shape != b.shape or (there != np.isfinite(b)).any():
        return Agreement(score, 0.0, np.inf)
    a, b = a[there], b[there]
    span = float(np.ptp(a))
    if a.size < 2 or span == 0:
        return Agreement(score, 1.0, float(np.abs(a - b).max(initial=0.0)))
    return Agreement(score, float(spearmanr(a, b).statistic), float(np.abs(a - b).max() / span))


def tokens_a_second(model: interp.HookedModel, *, rows: int, length: int, repeats: int = 5) -> float:
    """Of a forward pass: the fastest."""
    tokens = torch.arange(rows * length, device=model.device).view(rows, length) % model.vocab_size
    best = float("inf")
    with torch.no_grad():
        for _ in range(repeats):
            wait(model)
            start = time.perf_counter()
            model.run(tokens)
            wait(model)
            best = min(best, time.perf_counter() - start)
    return rows * length / best


def wait(model: interp.HookedModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: str, dtype: str) -> float | None:
    """The data sheet's operations a second of a device that is known, by its name."""
    if device == "cpu":
        return None
    facts = devices().get(device_here() or "")
    return None if facts is None else float(facts["teraflops" if dtype == HALF else "teraflops_float32"]) * 1e12


def throughput(source: str, device: str, *, rows: int, length: int) -> Iterator[str]:
    for dtype in ("float32", HALF):
        model = interp.load_model(source, device=device, dtype=dtype, check=False)
        speed = tokens_a_second(model, rows=rows, length=min(length, model.max_length or length))
        operations = 2.0 * sum(parameter.numel() for parameter in model.hf.parameters()) * speed
        top = peak(device, dtype)
        share = f", {operations / top:.0%} of the data sheet's" if top else ""
        yield f"{dtype}: {speed:,.0f} tokens a second, {operations / 1e12:.3f} teraflops{share}"


def main(*given: str) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=512)
    asked = parser.parse_args(given)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        print("check-gpu: torch finds no CUDA device here; --device cpu is a dry run", file=sys.stderr)
        return 1
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        folders = {name: Path(place) / name for name in ("cpu", "device", "half")}
        for words in commands(asked.documents, asked.sequences):
            where = {"cpu": ("cpu", "float32"), "device": (asked.device, "float32"), "half": (asked.device, HALF)}
            took = {name: run(words, asked.model, folders[name], *where[name]) for name in folders}
            print(f"{words[0]}: " + ", ".join(f"{name} {value:.1f} s" for name, value in took.items()), flush=True)
        runs = {name: open_run(folder) for name, folder in folders.items()}
        for found in agreements(runs["cpu"], runs["device"]):
            bad += not found.good
            print(f"{'ok' if found.good else 'DIFFERS'}: {found.score}: rank {found.rank:.5f}, move {found.move:.2e}")
        halves = agreements(runs["cpu"], runs["half"])
        worst = min((one for one in halves if np.isfinite(one.move)), key=lambda found: found.rank)
        print(f"{HALF}: the lowest rank correlation is {worst.rank:.4f} ({worst.score})")
        if unlike := [one.score for one in halves if not np.isfinite(one.move)]:
            print(f"{HALF}: other sets of heads, or values elsewhere: {', '.join(unlike)}")
    for line in throughput(asked.model, asked.device, rows=asked.rows, length=asked.length):
        print(line)
    print("check-gpu: " + (f"{bad} scores differ" if bad else f"{asked.device} gives the CPU's numbers"))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
