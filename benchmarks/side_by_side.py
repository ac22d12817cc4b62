"""What the benchmarks share: alternating timed runs, peak memory in a process of its own, the page's rows.

Times are CPU seconds of this process on one thread: on a machine that others use too, wall time measures the others.
Runs alternate, so that a slow minute hits all of them; ratios are medians of the ratios within a round.
Memory is the rise of RssAnon (weights are file-mapped), with glibc told to give freed blocks back at once: or else the
same run differs by half between two tries.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
Runs = Mapping[str, Callable[[], Any]]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, MIB = -1, -3, 1 << 20


def alternate(runs: Runs, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each run, in rounds; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn:
                found[name].append(time.process_time() - start)
            print(f"  {name}: {time.process_time() - start:.2f} s", file=sys.stderr, flush=True)
    return found


def seconds(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def ratios(times: Mapping[str, list[float]], to: str) -> dict[str, float]:
    """The median over rounds of each run's time over that of `to` in the same round."""
    base = times[to]
    pairs = {name: zip(values, base, strict=True) for name, values in times.items() if name != to}
    return {name: round(statistics.median(a / b for a, b in both), 3) for name, both in pairs.items()}


def in_rounds(times: Mapping[str, list[float]], name: str, to: str) -> list[float]:
    """The time of one run over that of another, round by round."""
    return [a / b for a, b in zip(times[name], times[to], strict=True)]


def row(
    what: str, values: Sequence[float], *, limit: float | None = None, peers: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """A row of the page (page.py): the median of the rounds, the lowest and the highest of them.

    what: with its unit, as `times a plain forward pass`. limit: the same for nothing but the tokens that have to be
    run. peers: the same for other programs.
    """
    found = {"what": what, "value": statistics.median(values), "low": min(values), "high": max(values)}
    return {**found, "rounds": len(values), "limit": limit, "peers": dict(peers or {})}


def tokens_to_run(inputs: Iterable[Sequence[int]]) -> int:
    """Tokens that have to be run for these inputs when what begins alike is run once: different beginnings."""
    return len({tuple(ids[: end + 1]) for ids in inputs for end in range(len(ids))})


def give_back_freed_memory() -> bool:
    """Tell glibc; False where there is none."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    return all(libc.mallopt(which, MIB) for which in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))


def peak_extra(run: Callable[[], Any]) -> float:
    """By how many MB RssAnon rises above its value at the start."""
    done, before = threading.Event(), _anonymous()
    highest = [before]

    def watch() -> None:
        while not done.wait(0.002):
            highest[0] = max(highest[0], _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return round((highest[0] - before) / 1024, 1)


def _anonymous() -> int:
    """RssAnon of this process in kB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def in_fresh_processes(script: str, names: list[str], arguments: list[str]) -> dict[str, float]:
    """Peak extra memory in MB of each named run, `script --peak NAME`, one process each."""
    found = {}
    for name in names:
        answer = subprocess.run(  # noqa: S603  # this very file again
            [sys.executable, script, *arguments, "--peak", name], capture_output=True, text=True, check=True
        )
        found[name] = float(json.loads(answer.stdout.splitlines()[-1])["peak_mb"])
        print(f"  {name}: {found[name]} MB", file=sys.stderr, flush=True)
    return found


def peak_ratio(peaks: Mapping[str, float], name: str) -> float:
    """The peak of a run over that of the plain forward pass, which is 0.1 MB at least: what is measured is no finer."""
    return round(peaks[name] / max(peaks["plain forward"], 0.1), 3)


def plain_twin(model: Any) -> Any:
    """The untouched Hugging Face model with sdpa, over the same tensors."""
    import copy
    from itertools import chain

    shared = {id(tensor): tensor for tensor in chain(model.hf.parameters(), model.hf.buffers())}
    twin = copy.deepcopy(model.hf, shared)
    twin.set_attn_implementation("sdpa")
    return twin
