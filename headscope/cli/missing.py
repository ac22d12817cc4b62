"""Does a run hold the scores that a pruning ranks by? If not, one command that makes all of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.tasks.names import GROUPS
from ablation.tasks.own_files import written
from headscope.cli.options import DEFAULT_MODEL
from headscope.stages.removal_orders import IMPORTANCE, SIGNED, maker
from headscope.store.manifest import read_manifest
from headscope.store.run import Run
from headscope.store.scores import GROUPED
from interp.errors import UsageError
from interp.token_display import counted

if TYPE_CHECKING:
    from headscope.stages.cells import TaskChoice
    from headscope.stages.pruning import PruneChoice
    from headscope.store.manifest import Stage

Score = tuple[str, str, str]  # component, name, variant
SHOWN = 3  # of what is missing
NO_RANKING = ("iterative",)  # makes its own
DEFAULTS = {"limit": 100, "demos": "document", "demo_seeds": 1, "bos": "auto", "seed": 0, "frozen_norm": False}


def check_scores(folder: Path, model: str, loading: dict[str, Any], choice: TaskChoice, prune: PruneChoice) -> None:
    """Raises UsageError with the command to run first, where a score of a task at a number of shots is missing."""
    held = stored(folder)
    lacking = {
        score: [cell for cell in product(choice.names, choice.shots) if (*score, *cell) not in held]
        for score in needed(prune)
    }
    missing = {cell for part in lacking.values() for cell in part}
    if not missing:
        return
    cells = [cell for cell in product(choice.names, choice.shots) if cell in missing]
    tasks, shots = (list(dict.fromkeys(part)) for part in zip(*cells, strict=True))
    scores = [score for score, part in lacking.items() if part]
    makers = dict.fromkeys(maker(name, variant) for _, name, variant in scores)
    written = " && ".join(command(name, folder, model, loading, choice, tasks, sorted(shots)) for name in makers)
    told = " and ".join(f"{name} ({variant}) of {kind}s" for kind, name, variant in scores)
    where = ", ".join(f"{task} at {counted(count, 'shot')}" for task, count in cells[:SHOWN])
    more = f" and {len(cells) - SHOWN} more" if len(cells) > SHOWN else ""
    raise UsageError(f"the run '{folder}' holds no {told} to rank by: {where}{more}. First run `{written}`")


def needed(prune: PruneChoice) -> Iterator[Score]:
    """The scores that the orders are made from."""
    ranked = [name for name in prune.orders if name not in NO_RANKING]
    ranked_by = IMPORTANCE if prune.unit == "head" else GROUPED
    for kind in ("head", "ffn") if prune.component == "both" else (prune.component,):
        knocked = kind == "ffn" and prune.ffn_ranking == "knock_out"
        if any(name not in SIGNED for name in ranked):
            yield (kind, "knock_out", "choice") if knocked else (kind, ranked_by, prune.ranking)
        for name in ranked:
            if name in SIGNED:
                yield kind, ranked_by, SIGNED[name]


def stored(folder: Path) -> set[tuple[Any, ...]]:
    """(component, name, variant, task, shots) of every score that the run holds."""
    if read_manifest(folder) is None:
        return set()
    run = Run(folder)
    columns = ["score", "variant", "task", "shots"]
    heads = run.head_scores
    found = {
        (kind, *row)
        for kind, frame in (("head", heads), ("ffn", run.ffn_scores))
        for row in frame[columns].drop_duplicates().itertuples(index=False)
    }
    if (heads["kv_head"] == heads["head"]).all():  # every head is a group
        found |= {("head", GROUPED, *rest) for kind, name, *rest in found if (kind, name) == ("head", IMPORTANCE)}
    return found


def command(
    name: str, folder: Path, model: str, loading: dict[str, Any], choice: TaskChoice, tasks: list[str], shots: list[int]
) -> str:
    """What to type: the same model, data and seed, and the protocol that the folder already has."""
    words = ["headscope", *name.split()]
    words += [model] if model != DEFAULT_MODEL else []
    words += ["--tasks", grouped(tasks), "--shots", ",".join(map(str, shots)), "-o", str(folder)]
    words += ["--data", choice.data] if choice.data != "hub" else []
    for option, value in {**protocol(folder, name, choice), **loading}.items():
        flag = f"--{option.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value not in (None, False, "default"):
            words += [flag, str(value)]
    return shlex.join(words)


def protocol(folder: Path, name: str, choice: TaskChoice) -> dict[str, Any]:
    """How prompts are made and seeded: as the folder has it for this command, or else as pruning was asked for."""
    manifest = read_manifest(folder)
    stages: tuple[Stage, ...] = () if manifest is None else manifest.stages
    for stage in stages:
        if stage.command == (IMPORTANCE if name.startswith(IMPORTANCE) else name):
            held = dict(stage.protocol) if not isinstance(stage.protocol, str) else {}
            return unusual({**held, "seed": stage.seed})
    return unusual({"bos": choice.bos, "seed": choice.seed})


def unusual(options: dict[str, Any]) -> dict[str, Any]:
    """Those that are not the command's defaults."""
    return {name: options[name] for name, default in DEFAULTS.items() if options.get(name, default) != default}


def grouped(tasks: list[str]) -> str:
    """The name of the group that the tasks are, or all of them."""
    return next((name for name, members in GROUPS.items() if list(members) == tasks), ",".join(map(written, tasks)))
