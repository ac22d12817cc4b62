"""What a study costs, in tokens through a forward pass of the whole model (Method 3-5).

Budgets count units: documents, but questions in MultiRC, which hold several. A document costs its prompt once and all
its choices, long ones more: attention to as many keys as four times the model's width costs as much as the token
(fitted in ablation/engine/prefix_plan.py). A gradient costs 2.7 forward passes, measured at 400 to 2,200 tokens; a
knock-out of all FFNs resumes at the removed block, half a pass on average, twice, and is run three times (to rank them,
and by mean and zero on other documents); one of all heads is run where it takes no more than a third of everything
else, and of 48 heads where it does; an evaluation costs one pass a mask. With fixed demonstrations their tokens are run
once a mask and not once a document.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ablation.names import DEMO_DRAWS, MINIMUM_DOCUMENTS, SAMPLED
from ablation.tasks.reserved import RESERVED
from headscope.plan.budget import Budget
from headscope.plan.shapes import Shape, shape_of
from headscope.stages.cells import first

if TYPE_CHECKING:
    from ablation.tasks import Task
    from headscope.stages.cells import TaskChoice
    from interp.model import HookedModel

DEAR = 4.0
GRADIENT = 2.7
FFN_KNOCK_OUTS = 3
HEADS_SHARE = 1 / 3
KEYS = 4.0
PRIMARY_SHARE = 0.85  # of a pass: what stands below the first tested head is run once, demonstrations more than once
VECTOR_SHOTS, VECTOR_MEANS, VECTOR_QUERIES, VECTOR_LABELS = 10, 64, 40, 20
FEWEST_QUERIES = 15
CONTEST_DOCUMENTS, CONTEST_ARMS, CONTEST_BARE = 40, 9, 120  # arms with controls; sets and ways without
CONTEST_EVERY = 88  # where every set has controls: with five shares, by mean and by zero
MOST_TIMED, TIMING = 8, 15.0  # passes of which the fastest counts, and the seconds after which three are enough
CONTEST_SHARE = ROW_SHARE = 0.5  # of a pass: the rest stands below the first changed block
SAMPLE = 8
SEQUENCE_TOKENS = {"quick": 20 * 201, "paper": 100 * (1 + 4 * 124)}
INDUCTION_PASSES = 3.0  # two passes, and copying
CHARACTERS = 4.0  # a token, where there is no tokenizer


@dataclass(frozen=True)
class CellTokens:
    """Mean tokens of a task's document at some number of shots; demonstrations: the part of the prompt they are.

    doubled: attended keys at which a token costs twice what it costs alone. per_unit: documents of a unit.
    """

    task: str
    shots: int
    prompt: float
    choices: float
    demonstrations: float
    exact: bool = True
    doubled: float = inf
    per_unit: float = 1.0

    @property
    def dearer(self) -> float:
        """What a token of such a document costs; it attends to half of them on average."""
        return 1.0 + (self.prompt + self.choices) / 2 / self.doubled

    @property
    def document(self) -> float:
        return (self.prompt + self.choices) * self.dearer

    @property
    def unit(self) -> float:
        return self.per_unit * self.document

    def evaluated(self, units: int, demos: str, draws: int = 1) -> float:
        """One pass over so many units; draws: of the demonstrations, which share the units out among them."""
        documents = units * self.per_unit
        if demos == "document":
            return documents * self.document
        own = self.prompt + self.choices - self.demonstrations
        return (draws * self.demonstrations + documents * own) * self.dearer


def tokens_of(tasks: Sequence[Task], tokenizer: Any, max_length: int | None, width: int) -> list[CellTokens]:
    """Counted on some documents of every task; by characters without a tokenizer. width: the model's."""
    counted = [(task, *_counted(first(task, SAMPLE), tokenizer, max_length)) for task in tasks]
    bare = {task.name: prompt for task, prompt, _ in counted if task.shots == 0}
    return [
        CellTokens(
            task.name,
            task.shots,
            prompt,
            choices,
            max(0.0, prompt - bare.get(task.name, prompt / (1 + task.shots))),
            tokenizer is not None,
            KEYS * width,
            _per_unit(task),
        )
        for task, prompt, choices in counted
    ]


def _per_unit(task: Task) -> float:
    return len(task.documents) / len({document.unit for document in task.documents})


def shares(cells: Sequence[CellTokens]) -> dict[str, float]:
    """Which part of a budget's documents the dear tasks get where models are run again and again: no task's documents
    may cost more than `DEAR` times those of the median task. Tasks that get all are left out.
    """
    most = max(cell.shots for cell in cells)
    units = {cell.task: cell.unit for cell in cells if cell.shots == most}
    limit = DEAR * median(units.values())
    return {task: limit / cost for task, cost in units.items() if cost > limit}


def _counted(task: Task, tokenizer: Any, max_length: int | None) -> tuple[float, float]:
    """Tokens of prompt and choices of a document, on average."""
    if tokenizer is None:
        documents = task.documents
        prompt = sum(len(document.context) for document in documents) / len(documents) / CHARACTERS
        return prompt, sum(len(c) for d in documents for c in d.continuations) / len(documents) / CHARACTERS
    tokenised = list(task.token_documents(SimpleNamespace(tokenizer=tokenizer, max_length=max_length)))
    prompt = sum(len(document.context) for document in tokenised) / len(tokenised)
    return prompt, sum(len(choice) for document in tokenised for choice in document.choices) / len(tokenised)


def study_cost(budget: Budget, cells: Sequence[CellTokens], layers: int, heads: int = 0) -> dict[str, float]:
    """Forward-equivalent tokens of every stage; heads: of the whole model."""
    costs = _but_heads(budget, cells, layers, heads)
    count = heads_knocked_out(budget, cells, layers, heads) + min(heads, SAMPLED)  # by mean, and some by zero
    return costs | {"knockout heads": _one_head(budget, cells) * count + _means(_at_most(cells))}


def heads_knocked_out(budget: Budget, cells: Sequence[CellTokens], layers: int, heads: int) -> int:
    """All heads where that takes at most a third of everything else; else so many as check a score by them."""
    dear = _one_head(budget, cells) * heads > HEADS_SHARE * sum(_but_heads(budget, cells, layers, heads).values())
    return min(heads, SAMPLED) if dear else heads


def _one_head(budget: Budget, cells: Sequence[CellTokens]) -> float:
    """At the most shots; resumed at the removed block, half a pass on average."""
    return sum(budget.units("knockout", cell.task) * cell.unit for cell in _at_most(cells)) / 2


def _at_most(cells: Sequence[CellTokens]) -> list[CellTokens]:
    most = max(cell.shots for cell in cells)
    return [cell for cell in cells if cell.shots == most]


def _means(cells: Sequence[CellTokens], demos: str = "document", draws: int = 1) -> float:
    """One pass over the reference documents that stand in where parts are removed by mean; each draw has its own."""
    return draws * sum(cell.evaluated(MINIMUM_DOCUMENTS, demos) for cell in cells)


def _but_heads(budget: Budget, cells: Sequence[CellTokens], layers: int, heads: int) -> dict[str, float]:
    at_most = _at_most(cells)
    most = at_most[0].shots
    pruned = list(cells) if budget.prune_all_shots else at_most
    seeds = [budget.demo_seeds if cell.shots else 1 for cell in pruned]
    tasks = len({cell.task for cell in cells})
    # Two objectives; at the most shots by the mean, and with shuffled labels.
    ranked = 2 * (sum(cell.unit for cell in cells) + sum(cell.unit for cell in at_most))
    masks = _masks(budget, tasks)
    none = {cell.task: cell for cell in cells if cell.shots == 0}
    beside = [none[cell.task] for cell in pruned if cell.shots and cell.task in none]  # for what is kept of the gain
    one_pass = sum(
        cell.evaluated(budget.units("prune", cell.task), budget.demos, draws)
        for cell, draws in zip([*pruned, *beside], [*seeds, *(1 for _ in beside)], strict=True)
    )
    both = [cell for cell in cells if cell.shots in (0, most)]
    asked = sum(cell.evaluated(budget.primary_documents, "fixed") for cell in both)
    stood = _means(pruned, budget.demos, budget.demo_seeds)
    knocked = sum(budget.units("knockout", cell.task) * cell.unit for cell in pruned)
    return {
        "induction": SEQUENCE_TOKENS[budget.protocol] * INDUCTION_PASSES,
        "screen": sum(cell.evaluated(RESERVED, "fixed") for cell in [*both, *at_most]),
        "primary": asked * (1 + budget.controls) * (1 + len(budget.primary_ways)) * PRIMARY_SHARE
        + _means(both, "fixed"),
        "vectors": sum(_vectors(cell, budget, heads) for cell in at_most),
        "contest": sum(_contest(cell, budget) for cell in at_most) + _means(at_most, "fixed", DEMO_DRAWS),
        "importance": budget.rank_documents * ranked * GRADIENT + _means(at_most),
        "knockout FFNs": FFN_KNOCK_OUTS * knocked * (1 + layers) + _means(at_most),
        "prune heads": one_pass * masks["heads"] + stood,
        "prune FFNs": one_pass * masks["ffns"] + stood,
        "prune both": one_pass * masks["joint"],
    }


def _vectors(cell: CellTokens, budget: Budget, heads: int) -> float:
    """Prompts of ten shots: two means, queries, label heads; and a row of the choices a query, head and mean."""
    grown = cell.prompt + cell.demonstrations * (VECTOR_SHOTS / max(cell.shots, 1) - 1)
    queries = vector_queries(budget.primary_documents)
    rows = 2 * heads * queries * (1 + cell.choices) * ROW_SHARE
    return (grown * (2 * VECTOR_MEANS + queries + VECTOR_LABELS) + rows) * cell.dearer


def vector_queries(primary: int) -> int:
    """Queries a task of the function vectors: half the documents of the primary, where these are few."""
    return max(FEWEST_QUERIES, min(VECTOR_QUERIES, primary // 2))


def contest_documents(primary: int) -> int:
    """Documents a task of the contest: half of the primary's, in its shards, where these are few."""
    return max(min(primary, CONTEST_DOCUMENTS // 2), min(CONTEST_DOCUMENTS, primary // 2))


def _contest(cell: CellTokens, budget: Budget) -> float:
    """At all positions a pass a set, of which half stands below it; at the last one a row of the choices a set."""
    documents = contest_documents(budget.primary_documents)
    arms = CONTEST_EVERY if budget.contest_controls == "all" else CONTEST_ARMS
    sets = arms * (1 + budget.controls) + CONTEST_BARE
    last = documents * cell.per_unit * (1 + cell.choices)
    return (cell.evaluated(documents, "fixed", DEMO_DRAWS) + last) * sets * CONTEST_SHARE


def _masks(budget: Budget, tasks: int) -> dict[str, int]:
    """How many masks every cell is evaluated under."""
    steps = len(budget.percents) - 1
    many = {"random": budget.draws, "layer_matched": budget.draws, "transfer": max(0, tasks - 1), "iterative": 3}
    heads, ffns = budget.grid
    by_head, by_ffn = (sum(many.get(name, 1) for name in names) for names in (budget.head_orders, budget.ffn_orders))
    return {  # by mean, and by zero: in the own order alone, but where everything is asked for
        "heads": 1 + steps * (by_head + (by_head if budget.prune_all_shots else 1)),
        "ffns": steps * (by_ffn + (by_ffn if budget.prune_all_shots else 1)),
        "joint": (len(heads) - 1) * (len(ffns) - 1),
    }


def speed(
    model: HookedModel, *, rows: int = 4, length: int = 256, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Tokens a second of a forward pass on this machine, the fastest of several: what else runs there only slows it.

    With one row's logits a sequence: the commands read them at few tokens.
    """
    import torch

    from ablation.engine.target_logits import logits_at

    width = min(length, model.max_length or length)
    tokens = torch.arange(rows * width).view(rows, width) % model.vocab_size
    best = float("inf")
    ends = torch.full((rows,), width - 1)
    with torch.no_grad(), logits_at(model, torch.arange(rows), ends):
        begun = clock()
        for number in range(MOST_TIMED):
            start = clock()
            model.hf(**model.inputs(tokens))
            best = min(best, clock() - start)
            if number >= 2 and clock() - begun > TIMING:
                break
    return rows * width / best


@dataclass(frozen=True)
class Plan:
    """Tokens by cell, forward-equivalent tokens by stage."""

    shape: Shape
    budget: Budget
    cells: tuple[CellTokens, ...]
    tokens: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.tokens.values())

    @property
    def operations(self) -> float:
        """Floating-point operations, 2 a parameter and token; looking an embedding up is none."""
        return 2.0 * (self.shape.parameters - self.shape.embedding_parameters) * self.total


def plan_study(config: Any, tokenizer: Any, choice: TaskChoice, budget: Budget) -> Plan:
    """What `headscope study` would run; `choice` says tasks, shots and where documents are.

    config: the model's configuration, or its shape.

    Raises RefusedModelError for a family that can't be served, UsageError for tasks that can't be loaded.
    """
    from dataclasses import replace

    shape = config if isinstance(config, Shape) else shape_of(config)
    tasks = replace(choice, limit=SAMPLE).tasks("train")
    counted = tokens_of(tasks, tokenizer, shape.context, shape.d_model)
    cost = study_cost(budget, counted, shape.layers, shape.all_heads)
    reached = {part: tokens for part, tokens in cost.items() if part.split()[0] not in budget.without}
    return Plan(shape, budget, tuple(counted), reached)
