"""How long a knock-out of all cells will take, from one timed batch (METHODS 3.2 asks for it before heads are run)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headscope.stages.cells import Cell

if TYPE_CHECKING:
    from interp.model import HookedModel

TRIAL = 16


def estimated_seconds(model: HookedModel, cells: Sequence[Cell], component: str) -> float:
    """The trial's seconds a token, times the tokens of all cells; the trial is the cell with the longest prompts."""
    from ablation.knock_out_cost import estimate_knock_out

    tokens = [tokens_of(model, cell.first(TRIAL)) * len(cell.task.documents) for cell in cells]
    longest = max(range(len(cells)), key=lambda place: tokens[place])
    trial = cells[longest].first(TRIAL)
    found = estimate_knock_out(model, trial.task, component=component, limit=len(trial.task.documents))
    return found.seconds / (tokens_of(model, trial) * len(trial.task.documents)) * sum(tokens)


def tokens_of(model: HookedModel, cell: Cell) -> float:
    """Mean number of tokens of a document: the prompt once, and all choices."""
    documents = list(cell.task.token_documents(model))
    return sum(len(d.context) + sum(map(len, d.choices)) for d in documents) / len(documents)
