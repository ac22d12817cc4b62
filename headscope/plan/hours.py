"""What a number of hours buys on this machine: before anything is run, and once more behind the screen.

1. A timed forward pass says how many tokens the hours hold, and the tasks' documents what a study of them costs.
2. All tasks are paid for before the screen. What those that it leaves out would have cost then goes to the others: the
   documents of everything behind the screen are chosen anew, before any of them is looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.plan.budget import TIERS, Budget, fitted, restored
from headscope.plan.cost import SAMPLE, CellTokens, shares, speed, study_cost, tokens_of
from headscope.plan.names import DECIDING, PRIMARY
from headscope.store.manifest import Stage, read_manifest
from interp.errors import UsageError
from interp.token_display import counted

if TYPE_CHECKING:
    from headscope.plan.shapes import Shape
    from headscope.stages.cells import TaskChoice
    from interp.model import HookedModel

BEFORE = [name for name in DECIDING if name != PRIMARY]  # paid for all tasks


@dataclass(frozen=True)
class Subject:
    """What prices depend on of a model; heads: all of them."""

    tokenizer: Any
    context: int | None
    d_model: int
    layers: int
    heads: int

    @classmethod
    def of(cls, model: HookedModel) -> Subject:
        return cls(model.tokenizer, model.max_length, model.d_model, model.n_layers, heads_of(model))

    @classmethod
    def of_shape(cls, shape: Shape, tokenizer: Any) -> Subject:
        return cls(tokenizer, shape.context, shape.d_model, shape.layers, shape.all_heads)


def begun_with(folder: Path, stage: Stage) -> tuple[Budget, float | None] | None:
    """The budget of this study and the tokens it was fitted to, as when it was begun; None if it never was."""
    manifest = read_manifest(folder)
    for other in manifest.stages if manifest is not None else ():
        if other.same(stage) and "budget" in other.record:
            return restored(dict(other.record["budget"])), other.record.get("tokens")
    return None


def first_budget(model: HookedModel, choice: TaskChoice, hours: float) -> tuple[Budget, float]:
    """What fits into the hours by a timed forward pass, with the tokens that they hold."""
    return budget_of_hours(Subject.of(model), choice, hours, speed(model))


def budget_of_hours(subject: Subject, choice: TaskChoice, hours: float, a_second: float) -> tuple[Budget, float]:
    """What fits into the hours at so many tokens a second, with the tokens that they hold.

    Raises UsageError where they do not hold the screen, without which nothing is asked.
    """
    tokens = hours * 3600 * a_second
    budget = fitted_budget(subject, choice, tokens)
    cost = study_cost(budget, _cells(subject, choice), subject.layers, subject.heads)
    least = sum(cost[name] for name in BEFORE)
    if least > tokens:
        raise UsageError(
            f"{hours:g} hours hold about {tokens:,.0f} tokens here, and induction scores and screen of "
            f"{counted(len(choice.names), 'task')} take {least:,.0f}, {least / a_second / 3600:.2g} hours: give more "
            "hours (--budget), or fewer tasks (--tasks)"
        )
    return budget, tokens


def fitted_budget(
    subject: Subject,
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
    every = _cells(subject, choice)
    cells = every if learnt is None else [cell for cell in every if cell.task in learnt]

    def price(budget: Budget) -> dict[str, float]:
        before, behind = (study_cost(budget, part, subject.layers, subject.heads) for part in (every, cells))
        return behind | {name: before[name] for name in BEFORE}

    dear = tuple(sorted(shares(cells).items()))
    return fitted(tokens, price, [replace(tier, shares=dear, protocol=protocol or tier.protocol) for tier in TIERS])


def _cells(subject: Subject, choice: TaskChoice) -> list[CellTokens]:
    """What the documents of every task cost, by some of them."""
    tasks = replace(choice, limit=SAMPLE).tasks("train")
    return tokens_of(tasks, subject.tokenizer, subject.context, subject.d_model)


def heads_of(model: HookedModel) -> int:
    return len(model.attention_layers) * model.n_heads
