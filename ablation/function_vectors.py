"""Function-vector heads: which heads say, at the end of a prompt, what function its examples follow?

Todd et al. 2024 (arXiv 2310.15213), Yin & Steinhardt 2025 (arXiv 2502.14010); Method 3.5.
1. zbar: the mean of z at the last position over prompts with right labels, one mean a function.
2. Patch it into each head, one at a time, at the last position of prompts whose labels are wrong: `fv` is what `choice`
   gains, `fv_prob` what the probability of the answer's first token gains (the papers' measure).
3. The content null is the same with zbar of wrong-label prompts of the same documents. `fv` is told less its null, as
   the mean over tasks; fv_prob is told as in the papers, with the null beside.
4. p by sign flips over tasks (statistics/sign_flips.py); intervals by clusters with the tasks fixed, and over tasks.
A head is an FV head if it is among the top 2%, above null, and positive in two thirds of the tasks.
Answers of several tokens are read with the answer given; the patch stays at the prompt's last position. Left out: the
papers' choice of the number of heads by accuracy on held-out prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import t
from torch import Tensor

from ablation.outcomes import Choices, problem_of
from ablation.provenance import model_mark
from ablation.statistics.intervals import cluster_mean, mean_over_tasks
from ablation.statistics.sign_flips import sign_flips
from ablation.vector_tasks import QUERIES, SHOTS, VectorTask, vector_task
from interp import hooks
from interp.errors import UsageError
from interp.overflow import refuse_broken_effects
from interp.patched_rows import every_head, prepare
from interp.scored_paths import ScoredPaths
from interp.scores import HeadScores, Null, ScoredHead
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel

FEWEST_QUERIES = 15
TOP_SHARE = 0.02
POSITIVE_SHARE = 2 / 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TaskEffects:
    """One task's queries, head by head, in nats (choice) and in points of probability (prob).

    right: with zbar of right-label prompts; wrong: with zbar of wrong-label ones. plain: without a patch. left_out: a
    sentence for each query that could not be used. changed: the share of labels that are wrong.
    """

    task: str
    documents: tuple[str, ...]
    clusters: tuple[str, ...]
    right_choice: Float[Tensor, "query layer head"]
    wrong_choice: Float[Tensor, "query layer head"]
    right_prob: Float[Tensor, "query layer head"]
    wrong_prob: Float[Tensor, "query layer head"]
    plain_choice: Float[Tensor, " query"]
    plain_prob: Float[Tensor, " query"]
    n_mean: int
    changed: float
    left_out: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        return np.unique(np.asarray(self.clusters), return_inverse=True)[1].astype(np.int64)


@one_line
@dataclass(frozen=True, eq=False)
class FunctionVectors:
    """Scores of every head, and the means that make the vectors.

    scores: `fv`, less the content null. prob: `fv_prob`, as in the papers. over_tasks: the 95% t interval of `fv` with
    the tasks drawn at random. left_out: tasks without scores, with the reason. means: zbar by function.
    """

    scores: HeadScores
    prob: HeadScores
    over_tasks: tuple[Float[Tensor, "layer head"], Float[Tensor, "layer head"]]
    tasks: tuple[TaskEffects, ...]
    left_out: Mapping[str, str]
    means: Mapping[str, Float[Tensor, "layer head d_value"]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> tuple[ScoredHead, ...]:
        """The FV heads, best first; none where there were too few tasks for a p."""
        if not self.scores.nulls:
            return ()
        by_task = torch.stack([(task.right_choice - task.wrong_choice).mean(0) for task in self.tasks])
        often = (by_task > 0).double().mean(0) >= POSITIVE_SHARE - 1e-9
        called = self.scores.above_null() & often
        count = math.ceil(TOP_SHARE * int(self.scores.mean.isfinite().sum()))
        return tuple(head for head in self.scores.top(count) if bool(called[head.layer, head.head]))

    def vector(self, k: int | None = None, *, function: str | None = None) -> Any:
        """The sum of zbar W_O over the FV heads (or the top k), of one function: function_vector.py says what it does.

        Raises UsageError where no head is an FV head and no k is given, and for a function that there is not.
        """
        from ablation.function_vector import made_of

        return made_of(self, k, function)


def function_vectors(
    model: HookedModel,
    tasks: str | VectorTask | Iterable[str | VectorTask],
    *,
    shots: int = SHOTS,
    queries: int = QUERIES,
    seed: int = 0,
    data: str | Path = "hub",
    bos: str = "auto",
    progress: Progress | None = None,
) -> FunctionVectors:
    """Score every head on tasks, by name or as loaded by `vector_task`.

    A task with fewer than 15 usable queries is left out, with its reason. progress(done, total) counts queries.
    Raises UsageError where no task is left.
    """
    given = [tasks] if isinstance(tasks, str | VectorTask) else list(tasks)
    loaded, left_out = _loaded(given, shots=shots, queries=queries, seed=seed, data=data, bos=bos)
    found: list[TaskEffects] = []
    means: dict[str, Tensor] = {}
    total, done = sum(len(task.queries.documents) for task in loaded), 0
    for task in loaded:
        kept, reasons = usable(model, task)
        if len(kept) < FEWEST_QUERIES:
            left_out[task.name] = (
                f"{len(kept)} of {len(task.queries.documents)} queries can be used, where {FEWEST_QUERIES} are needed"
                + (f" ({reasons[0]})" if reasons else "")
            )
        else:
            right, wrong = (mean_z(model, task, labels) for labels in ("mean", "null"))
            means |= right
            start = done
            tell = None if progress is None else (lambda n, start=start: progress(start + n, total))
            found.append(task_effects(model, task, kept, right, wrong, reasons, tell))
        done += len(task.queries.documents)
    if not found:
        raise UsageError(f"no task can be scored: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    return assembled(model, found, means, left_out, shots=shots, seed=seed)


def _loaded(given: Sequence[str | VectorTask], **options: Any) -> tuple[list[VectorTask], dict[str, str]]:
    """Tasks with their prompts, and why others have none."""
    loaded, left_out = [], {}
    for task in given:
        if isinstance(task, VectorTask):
            loaded.append(task)
            continue
        try:
            loaded.append(vector_task(task, **options))
        except UsageError as error:
            left_out[task] = str(error)
    return loaded, left_out


def usable(model: HookedModel, task: VectorTask) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
    """(document, tokens) of the queries that can be asked, and a sentence for each other one."""
    kept, reasons = [], []
    for document, tokens in zip(task.queries.documents, task.queries.token_documents(model), strict=True):
        problem = problem_of(tokens, document.right)
        if problem is None and len(set(tokens.contexts)) > 1:
            problem = f"the choices of {tokens.id} are contexts: they have no last position in common"
        if problem is None and tokens.cut:
            problem = f"the prompt of {tokens.id} is longer than the model's context"
        if problem is None:
            kept.append((document, tokens))
        else:
            reasons.append(problem)
    return kept, tuple(reasons)


# --- means -----------------------------------------------------------------------------------------------------------


def mean_z(model: HookedModel, task: VectorTask, labels: str) -> dict[str, Float[Tensor, "layer head d_value"]]:
    """The mean of z at the last position over the prompts of each function; labels: `mean` or `null`."""
    prompts: Any = getattr(task, labels)
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for document, tokens in zip(prompts.documents, prompts.token_documents(model), strict=True):
        name = task.function_of(document)
        z = last_z(model, tokens.context, name=f"document {tokens.id}").double()
        sums[name] = sums.get(name, torch.zeros_like(z)) + z
        counts[name] = counts.get(name, 0) + 1
    return {name: (total / counts[name]).float() for name, total in sums.items()}


def last_z(model: HookedModel, context: Sequence[int], *, name: str) -> Float[Tensor, "layer head d_value"]:
    """z of every head at the last position of a prompt; zeros in layers without heads, which nothing reads.

    Raises HeadscopeError for a head whose z is no finite number.
    """
    found = torch.zeros(model.n_layers, model.n_heads, model.d_value)

    def store(point: hooks.Point, z: Tensor) -> None:
        found[point.layer] = z[0, -1].detach().float().cpu()

    points = [hooks.Point("z", layer) for layer in model.attention_layers]
    with torch.no_grad(), hooks.capture(model, points, store):
        model.run(torch.tensor([list(context)]))
    refuse_broken_effects(model, f"the output at the end of {name}", found.abs().amax(-1), [context])
    return found


# --- effects ---------------------------------------------------------------------------------------------------------


def task_effects(
    model: HookedModel,
    task: VectorTask,
    queries: Sequence[tuple[Any, Any]],
    right: Mapping[str, Tensor],
    wrong: Mapping[str, Tensor],
    left_out: tuple[str, ...] = (),
    progress: Callable[[int], None] | None = None,
) -> TaskEffects:
    """Patch both means into every head of every query."""
    rows = []
    for number, (document, tokens) in enumerate(queries):
        name = task.function_of(document)
        rows.append(_query(model, document, tokens, right[name], wrong[name]))
        if progress is not None:
            progress(number + 1)
    choice, prob, plain = (torch.stack(part) for part in zip(*rows, strict=True))
    return TaskEffects(
        task=task.name,
        documents=tuple(tokens.id for _, tokens in queries),
        clusters=tuple(tokens.cluster for _, tokens in queries),
        right_choice=choice[:, 0],
        wrong_choice=choice[:, 1],
        right_prob=prob[:, 0],
        wrong_prob=prob[:, 1],
        plain_choice=plain[:, 0],
        plain_prob=plain[:, 1],
        n_mean=len(task.mean.documents),
        changed=task.changed,
        left_out=left_out,
    )


def _query(
    model: HookedModel, document: Any, tokens: Any, right: Tensor, wrong: Tensor
) -> tuple[Float[Tensor, "two layer head"], Float[Tensor, "two layer head"], Float[Tensor, " two"]]:
    """Effects on choice and on the probability of the answer's first token, with both means; and both as they are."""
    first = tokens.target[:1]  # one more outcome, read off the same run
    scored = ScoredPaths.of_choices(tokens.context, [*tokens.choices, first])
    rows = prepare(model, scored, [len(tokens.context) - 1])
    patches = [
        *every_head(right[:, :, None], model.attention_layers),
        *every_head(wrong[:, :, None], model.attention_layers),
    ]
    found = torch.cat([rows.plain[None], rows.run(patches)])
    choices = Choices.of([tokens], right=[document.right])
    choice = choices.values("choice", found[:, None, :-1])[:, 0]
    prob = found[:, -1].exp()
    tables = []
    for values in (choice, prob):
        table = torch.full((2, model.n_layers, model.n_heads), torch.nan)
        effects = (values[1:] - values[0]).float().view(2, len(model.attention_layers), model.n_heads)
        table[:, list(model.attention_layers)] = effects
        what = f"the effect of a mean on document {tokens.id}"
        refuse_broken_effects(model, what, table.sum(0), [tokens.context, *scored.sequences])
        tables.append(table)
    return tables[0], tables[1], torch.stack([choice[0], prob[0]]).float()


# --- over tasks ------------------------------------------------------------------------------------------------------


def assembled(
    model: HookedModel,
    tasks: Sequence[TaskEffects],
    means: Mapping[str, Tensor],
    left_out: Mapping[str, str],
    *,
    shots: int = SHOTS,
    seed: int = 0,
) -> FunctionVectors:
    """Scores over tasks that count alike."""
    provenance = {
        "model": model_mark(model),
        "tasks": [task.task for task in tasks],
        "shots": shots,
        "seed": seed,
        "queries": [len(task.documents) for task in tasks],
        "mean documents": [task.n_mean for task in tasks],
        "wrong labels": [round(task.changed, 3) for task in tasks],
    }
    net = [task.right_choice - task.wrong_choice for task in tasks]
    scores = _scores("fv", net, tasks, net, None, seed)
    raw = [task.right_prob for task in tasks]
    content = [task.wrong_prob for task in tasks]
    prob = _scores("fv_prob", raw, tasks, [a - b for a, b in zip(raw, content, strict=True)], content, seed)
    by_task = torch.stack([items.double().mean(0) for items in net])
    return FunctionVectors(
        scores=_of(scores, model, provenance),
        prob=_of(prob, model, provenance),
        over_tasks=_over_tasks(by_task),
        tasks=tuple(tasks),
        left_out=dict(left_out),
        means=dict(means),
        provenance=provenance,
    )


def _of(fields: dict[str, Any], model: HookedModel, provenance: Mapping[str, Any]) -> HeadScores:
    return HeadScores(**fields, n_kv_heads=model.n_kv_heads, provenance=provenance)


def _scores(
    name: str,
    items: Sequence[Float[Tensor, "_query layer head"]],
    tasks: Sequence[TaskEffects],
    net: Sequence[Float[Tensor, "_query layer head"]],
    content: Sequence[Tensor] | None,
    seed: int,
) -> dict[str, Any]:
    """Mean over tasks, interval with the tasks fixed, and sign flips of what is left over the content null."""
    whole = torch.cat(list(items)).float()
    mean = torch.stack([part.double().mean(0) for part in items]).mean(0)
    low, high = _fixed_interval(items, tasks)
    flips = sign_flips(torch.stack([part.double().mean(0) for part in net]).numpy(), seed=seed)
    nulls: tuple[Null, ...] = ()
    if flips is not None:
        null = torch.zeros_like(mean) if content is None else torch.stack([c.double().mean(0) for c in content]).mean(0)
        p, p_family = (torch.from_numpy(value).float() for value in (flips.p, flips.p_family))
        nulls = (Null("content, signs of tasks flipped", null.float(), p, p_family),)
    return {
        "name": name,
        "mean": mean.float(),
        "std": whole.std(0),
        "ci_low": low,
        "ci_high": high,
        "n": len(whole),
        "per_item": whole,
        "nulls": nulls,
    }


def _fixed_interval(
    items: Sequence[Float[Tensor, "_query layer head"]], tasks: Sequence[TaskEffects]
) -> tuple[Float[Tensor, "layer head"], Float[Tensor, "layer head"]]:
    """95% by clusters of documents, the tasks being these and no others; NaN where a task has a single cluster."""
    shape = items[0].shape[1:]
    bounds = np.full((2, *shape), np.nan)
    if all(task.labels.max() > 0 for task in tasks):
        values = [part.double().numpy() for part in items]
        for place in np.ndindex(*shape):
            columns = [part[(slice(None), *place)] for part in values]
            if np.isfinite(columns[0]).all():
                parts = [cluster_mean(c, task.labels) for c, task in zip(columns, tasks, strict=True)]
                bounds[(slice(None), *place)] = mean_over_tasks(parts).interval()
    low, high = torch.from_numpy(bounds).float()
    return low, high


def _over_tasks(by_task: Float[Tensor, "task layer head"]) -> tuple[Tensor, Tensor]:
    """95% t interval with the tasks drawn at random; NaN with a single one."""
    n = len(by_task)
    if n < 2:
        unknown = torch.full(by_task.shape[1:], torch.nan)
        return unknown, unknown
    reach = float(t.ppf(0.975, n - 1)) * by_task.std(0) / math.sqrt(n)
    return (by_task.mean(0) - reach).float(), (by_task.mean(0) + reach).float()
