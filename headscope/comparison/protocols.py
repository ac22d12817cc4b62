"""Which runs may stand in one table: of different weights, scored by one protocol, on the same documents.

For the induction scores, the primary question and the pruning of heads, wherever both runs have them: protocol, seed,
tasks and options must agree. For tasks that both have, the hash of all documents.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from headscope.store.canonical import plain
from headscope.store.manifest import Stage
from headscope.store.run import Run
from interp.errors import UsageError

COMMANDS = {"induction": "the induction scores", "primary": "the primary question", "prune --component head": "pruning"}
MISSING = "nothing"
MOST_TOLD = 3  # differences that are named


def check_alike(runs: Sequence[Run]) -> None:
    """Raises UsageError naming the first two runs that do not belong in one table, and why."""
    for run in runs:
        if last_stage(run, "induction") is None:
            raise UsageError(
                f"the run '{run.folder}' holds no finished induction scores. Run `{run.command('induction')}` first."
            )
    for first, second in combinations(runs, 2):
        check_weights(first, second)
        for command, noun in COMMANDS.items():
            check_stage(first, second, command, noun)


def unlike(first: Run, second: Run) -> Iterator[str]:
    """Why scores of two runs may differ other than by their models, where they are drawn beside each other."""
    for command, noun in COMMANDS.items():
        mine, other = last_stage(first, command), last_stage(second, command)
        differing = [] if mine is None or other is None else list(differences(mine, other))
        if differing:
            said = "; ".join(
                f"{name} is {short(here)} here and {short(there)} there" for name, here, there in differing[:MOST_TOLD]
            )
            more = f"; and {len(differing) - MOST_TOLD} more" if len(differing) > MOST_TOLD else ""
            yield f"Unlike protocols of {noun}: {said}{more}."


def short(value: Any) -> str:
    """A value that fits into a sentence."""
    return textwrap.shorten(str(value), 60, placeholder=" ...")


def check_weights(first: Run, second: Run) -> None:
    """Refuse a model that stands there twice."""
    hashed, other = first.identity.get("weight_hash"), second.identity.get("weight_hash")
    if hashed is None or hashed != other:
        return
    names = " and ".join(f"'{run.folder}' ({run.identity.get('source')})" for run in (first, second))
    raise UsageError(
        f"the runs {names} hold the same weights ({str(hashed)[:12]}): one model would count as two. Leave one out."
    )


def check_stage(first: Run, second: Run, command: str, noun: str) -> None:
    """Refuse two protocols of one command, naming the first field in which they differ."""
    mine, other = last_stage(first, command), last_stage(second, command)
    if mine is None or other is None:
        return
    for name, here, there in differences(mine, other):
        raise UsageError(
            f"the runs '{first.folder}' and '{second.folder}' are of unlike protocol: {name} of {noun} is "
            f"{here} and {there}. Make one of them again like the other, in a folder of its own."
        )


def differences(mine: Stage, other: Stage) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of every field that differs."""
    here, there = fields(mine), fields(other)
    for name in dict.fromkeys((*here, *there)):
        values = here.get(name, MISSING), there.get(name, MISSING)
        if values[0] != values[1]:
            yield name, *values
    documents = [dict(stage.record.get("documents") or {}) for stage in (mine, other)]
    for task in documents[0].keys() & documents[1].keys():
        if documents[0][task] != documents[1][task]:
            yield f"the documents of '{task}' (their hash)", documents[0][task], documents[1][task]


def fields(stage: Stage) -> dict[str, Any]:
    """Everything that must agree, by name."""
    protocol: Mapping[str, Any] = (
        stage.protocol if isinstance(stage.protocol, Mapping) else {"the protocol": stage.protocol}
    )
    found = {**protocol, **stage.options, "the seed": stage.seed, "the list of tasks": list(stage.tasks)}
    return {name: plain(value) for name, value in found.items()}


def last_stage(run: Run, command: str) -> Stage | None:
    """The stage of a command that was finished last: its rows are the ones that stand in the tables."""
    finished = [stage for stage in reversed(run.stages) if stage.command == command and stage.finished]
    return max(finished, key=lambda stage: stage.finished, default=None)  # of equal times, the last in the manifest
