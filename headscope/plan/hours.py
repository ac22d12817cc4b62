"""What a number of hours buys on this machine: before anything is run, and once more behind the screen.

1. A timed forward pass says how many tokens the hours hold, and the tasks' documents what a study of them costs.
2. All tasks are paid for before the screen. What those that it leaves out would have cost then goes to the others: the
   documents of everything behind the screen are chosen anew, before any of them is looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headscope.plan.budget import TIERS, Budget, fitted, restored
from headscope.plan.cost import SAMPLE, CellTokens, shares, speed, study_cost, tokens_of
from headscope.plan.names import DECIDING, PRIMARY
from headscope.store.manifest import Stage, read_manifest
from interp.errors import UsageError
from interp.token_display import counted

if TYPE_CHECKING:
    from headscope.stages.cells import TaskChoice
    from interp.model import HookedModel

BEFORE = [name for name in DECIDING if name != PRIMARY]  # paid for all tasks


def begun_with(folder: Path, stage: Stage) -> tuple[Budget, float | None] | None:
    """The budget of this study and the tokens it was fitted to, as when it was begun; None if it never was."""
    manifest = read_manifest(folder)
    for other in manifest.stages if manifest is not None else ():
        if other.same(stage) and "budget" in other.record:
            return restored(dict(other.record["budget"])), other.record.get("tokens")
    return None


def first_budget(model: HookedModel, choice: TaskChoice, hours: float) -> tuple[Budget, float]:
    """What fits into the hours by a timed forward pass, with the tokens that they hold.

    Raises UsageError where they do not hold the screen, without which nothing is asked.
    """
    a_second = speed(model)
    tokens = hours * 3600 * a_second
    budget = fitted_budget(model, choice, tokens)
    cost = study_cost(budget, _cells(model, choice), model.n_layers, heads_of(model))
    least = sum(cost[name] for name in BEFORE)
    if least > tokens:
        raise UsageError(
            f"{hours:g} hours hold about {tokens:,.0f} tokens here, and induction scores and screen of "
            f"{counted(len(choice.names), 'task')} take {least:,.0f}, {least / a_second / 3600:.2g} hours: give more "
            "hours (--budget), or fewer tasks (--tasks)"
        )
    return budget, tokens


def fitted_budget(
    model: HookedModel,
    choice: TaskChoice,
    tokens: float,
    *,
    learnt: Collection[str] | None = None,
    protocol: str | None = None,
) -> Budget:
    """What so many tokens pay for.

    learnt: the tasks of the choice that everything behind the screen is run on. protocol: of the induction scores,
    where they are there already.
    """
    every = _cells(model, choice)
    cells = every if learnt is None else [cell for cell in every if cell.task in learnt]
    heads = heads_of(model)

    def price(budget: Budget) -> dict[str, float]:
        before = study_cost(budget, every, model.n_layers, heads)
        return study_cost(budget, cells, model.n_layers, heads) | {name: before[name] for name in BEFORE}

    dear = tuple(sorted(shares(cells).items()))
    return fitted(tokens, price, [replace(tier, shares=dear, protocol=protocol or tier.protocol) for tier in TIERS])


def _cells(model: HookedModel, choice: TaskChoice) -> list[CellTokens]:
    """What the documents of every task cost, by some of them."""
    tasks = replace(choice, limit=SAMPLE).tasks("train")
    return tokens_of(tasks, model.tokenizer, model.max_length, model.d_model)


def heads_of(model: HookedModel) -> int:
    return len(model.attention_layers) * model.n_heads
