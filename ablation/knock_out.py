"""Importance by knock-out: what a task loses when one head or one FFN is removed.

Bansal et al. 2023, equation 7; Method 3.2-3.3.
1. Score every choice of every document with nothing removed, and with each component removed (engine/removals.py).
2. Full minus removed, paired by document, in any outcome of outcomes.py: `choice`, `mass`, `sum` in nats, the metric in
   points; `log_likelihood` is the gold continuation's. Positive = needed.
3. FFNs are removed twice: at all positions, and at positions >= 1 (`later`), because an early FFN may make the
   attention sink at position 0 that all later layers stand on. Heads likewise where it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablation.engine.likelihood import default_budget
from ablation.engine.removals import Prompts, Removal, packed, plain_and_removed, run_plain, run_removed
from ablation.evaluation import LOG_LIKELIHOOD, METRIC, choices_of
from ablation.gold import gold_documents, refuse_no_documents
from ablation.outcomes import OUTCOMES, Choices
from ablation.provenance import told
from ablation.references import make_replacement
from ablation.replacement import Replacement, refuse_evaluated
from ablation.statistics.by_cluster import by_cluster
from ablation.tasks.spread import spread_places
from interp.errors import UsageError
from interp.masks import listed_heads, listed_layers
from interp.scores import FFNScores, HeadScores
from interp.shown import one_line
from interp.whole import whole_number

if TYPE_CHECKING:
    from interp.model import HookedModel

Component = Literal["head", "ffn", "kv_group"]
COMPONENTS: tuple[str, ...] = get_args(Component)
POSITIONS = ("all", "later")
Listed = Sequence[tuple[int, int]] | str | Any  # heads as gates take them: pairs, rows of `scores.top()`, "18.6,17.3"
HEAD_DOCUMENTS = 48  # and for kv groups


@dataclass(frozen=True)
class KnockOut:
    """Log-likelihoods of every choice, with nothing removed and with each component removed.

    `choices[d]` says how many of the requests are document d's. `plain_metric` and `metric` are the task's metric by
    unit (a document, or a question in MultiRC); None where the documents came without a task. `offered` is what
    outcomes.py has to know of the choices.
    """

    component: str
    ablation: str
    removals: tuple[Removal, ...]
    documents: tuple[str, ...]
    clusters: tuple[str, ...]
    gold: tuple[int, ...]
    choices: tuple[int, ...]
    plain: Float[np.ndarray, "request"]
    removed: Float[np.ndarray, "removal request"]
    plain_metric: Float[np.ndarray, "unit"] | None
    metric: Float[np.ndarray, "removal unit"] | None
    units: tuple[str, ...]
    unit_clusters: tuple[str, ...]
    grid: tuple[int, ...]
    n_kv_heads: int
    provenance: Mapping[str, Any] = field(default_factory=dict)
    offered: Choices | None = field(default=None, repr=False)

    @classmethod
    def assembled(
        cls,
        model: HookedModel,
        task: Any,
        pieces: Sequence[Mapping[str, Any]],
        *,
        component: str,
        ablation: str = "zero",
        layers: Sequence[int] | Any = None,
        heads: Listed | None = None,
        positions: Sequence[str] | None = None,
    ) -> KnockOut:
        """From what `pieces` gave of some of the task's documents, then of others, all of them in order.

        component, ablation, layers, heads and positions are those that the pieces were made with. Raises UsageError for
        pieces of other documents or components.
        """
        documents = gold_documents(model, task)
        removals = all_removals(model, component, layers=layers, heads=heads, positions=positions)
        counts = tuple(len(document.choices) for document in documents)
        plain = np.concatenate([np.asarray(piece["plain"]) for piece in pieces])
        removed = np.concatenate([np.asarray(piece["removed"]) for piece in pieces], axis=1)
        if removed.shape != (len(removals), len(plain)) or len(plain) != sum(counts):
            raise UsageError(
                f"the pieces hold {removed.shape[0]} removals and {len(plain)} choices, but {len(removals)} components "
                f"of this model and {sum(counts)} choices of these documents are wanted: were they made with other "
                "documents, layers or positions?"
            )
        units = _metric(task, plain, counts)
        return cls(
            component=component,
            ablation=ablation,
            removals=removals,
            documents=tuple(d.id for d in documents),
            clusters=tuple(d.cluster for d in documents),
            gold=tuple(d.gold for d in documents),
            choices=counts,
            plain=plain,
            removed=removed,
            plain_metric=None if units is None else units.values,
            metric=None if units is None else np.stack([_metric(task, row, counts).values for row in removed]),
            units=() if units is None else units.units,
            unit_clusters=() if units is None else units.clusters,
            grid=(model.n_layers, *{"head": (model.n_heads,), "kv_group": (model.n_kv_heads,), "ffn": ()}[component]),
            n_kv_heads=model.n_kv_heads,
            provenance=told(model, task),
            offered=choices_of(task, documents),
        )

    def pieces(self) -> dict[str, Tensor]:
        """The log-likelihoods, to be stored and put together again by `assembled`."""
        return {"plain": torch.from_numpy(self.plain), "removed": torch.from_numpy(self.removed)}

    def scores(self, *, outcome: str = "log_likelihood", positions: str = "all") -> HeadScores | FFNScores:
        """Full minus removed, in nats or in points of the metric, as `items` says item by item.

        positions: removed at `all` positions or at `later` ones (>= 1). Components that do not exist are NaN. The kv
        groups of a layer stand where its heads would. Intervals are by cluster.
        """
        items = self.differences(outcome=outcome, positions=positions)
        variant = outcome if positions == "all" else f"{outcome}/later"
        told = {**self.provenance, "ablation": self.ablation}
        _, clusters = self.items(outcome)
        if self.component == "ffn":
            return by_cluster(FFNScores.from_items("knock_out", items, variant=variant, provenance=told), clusters)
        heads = HeadScores.from_items("knock_out", items, variant=variant, provenance=told, n_kv_heads=self.n_kv_heads)
        return by_cluster(heads, clusters)

    def differences(
        self, *, outcome: str = "log_likelihood", positions: str = "all"
    ) -> Float[Tensor, "item layer ..."]:
        """Full minus removed for every item and component."""
        if positions not in POSITIONS:
            raise UsageError(f"positions={positions!r}: components are removed at {' or '.join(POSITIONS)} positions")
        if not any(removal.spare == (positions == "later") for removal in self.removals):
            raise UsageError(
                f"nothing was removed at {positions!r} positions: run knock_out with positions=({positions!r},)"
            )
        full, removed = self._outcomes(outcome)
        values = np.full((len(full), *self.grid), np.nan)
        for row, removal in enumerate(self.removals):
            if removal.spare == (positions == "later"):
                place = (removal.layer,) if removal.head is None else (removal.layer, removal.head // removal.width)
                values[(slice(None), *place)] = full - removed[row]
        return torch.from_numpy(values)

    def items(self, outcome: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What an outcome has a value for (documents; units of the metric; questions of MultiRC), and the clusters."""
        if outcome == LOG_LIKELIHOOD:
            return self.documents, self.clusters
        if outcome == METRIC:
            return self.units, self.unit_clusters
        offered = self._offered(outcome)
        return offered.items, offered.item_clusters

    def _outcomes(self, outcome: str) -> tuple[np.ndarray, np.ndarray]:
        """With nothing removed, and by removal."""
        if outcome == LOG_LIKELIHOOD:
            first = np.cumsum([0, *self.choices[:-1]])
            return self.plain[first + self.gold], self.removed[:, first + self.gold]
        if outcome != METRIC:
            offered = self._offered(outcome)
            rows = torch.from_numpy(np.concatenate([self.plain[None], self.removed]))
            values = offered.by_item(offered.values(outcome, offered.padded(rows))).numpy()
            return values[0], values[1:]
        if self.plain_metric is None or self.metric is None:
            raise UsageError(
                "the metric needs a Task (its documents alone do not say what counts as right): "
                "pass what load_task returns"
            )
        return self.plain_metric, self.metric

    def _offered(self, outcome: str) -> Choices:
        if outcome not in OUTCOMES:
            raise UsageError(f"{outcome!r} is no outcome; there are {', '.join((METRIC, *OUTCOMES, LOG_LIKELIHOOD))}")
        if self.offered is None:
            raise UsageError(f"this knock-out holds no choices to take {outcome} of: make it with KnockOut.assembled")
        return self.offered


def knock_out(
    model: HookedModel,
    task: Any,
    *,
    component: str,
    ablation: str = "zero",
    limit: int | None = None,
    replacement: Replacement | None = None,
    references: Sequence[Any] | None = None,
    seed: int = 0,
    layers: Sequence[int] | Any = None,
    heads: Listed | None = None,
    positions: Sequence[str] | None = None,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> KnockOut:
    """Remove every head, every FFN or every kv group (its heads together), one at a time, and score without it; exact.

    limit: documents; unset, all for FFNs and HEAD_DOCUMENTS for heads (`estimate_knock_out` says what more would cost).
    ablation: `zero`, `mean` or `resample`; the last two need `references`, token documents that are not evaluated (or
    a `replacement` made of them before). layers, heads: only these. positions: `all`, `later` (>= 1), each a run of its
    own; unset, both for FFNs and `all` for heads. progress(done, total).
    """
    chosen = chosen_documents(task, component, limit)
    documents = gold_documents(model, chosen)
    if replacement is None:
        replacement = make_replacement(model, ablation, references, evaluated=documents, seed=seed)
    refuse_evaluated(replacement, documents)
    removals = all_removals(model, component, layers=layers, heads=heads, positions=positions)
    plain, removed = plain_and_removed(
        model,
        Prompts.of(documents),
        removals,
        replacement=replacement,
        budget=batch_tokens or default_budget(model),
        progress=progress,
    )
    return KnockOut.assembled(
        model,
        chosen,
        [{"plain": plain, "removed": removed}],
        component=component,
        ablation=replacement.name if replacement is not None else "zero",
        layers=layers,
        heads=heads,
        positions=positions,
    )


def chosen_documents(task: Any, component: str, limit: int | None) -> Any:
    """So many documents, spread over the task's; a unit of the metric that would be cut in two is left out."""
    if component not in COMPONENTS:
        raise UsageError(f"{component!r} can't be knocked out; there are {', '.join(COMPONENTS)}")
    refuse_no_documents(task)
    if limit is not None and whole_number(limit, "limit") < 1:
        raise UsageError(f"a limit of {limit} leaves nothing to score: give at least 1, or no limit")
    count = limit if limit is not None else HEAD_DOCUMENTS if component != "ffn" else None
    if not hasattr(task, "token_documents"):
        return list(task)[:count]
    if count is None or count >= len(task.documents):
        return task
    order = spread_places([d.unit for d in task.documents], [d.cluster for d in task.documents])
    outside = {task.documents[n].unit for n in order[count:]}
    whole = [n for n in order[:count] if task.documents[n].unit not in outside]
    return task.select(whole or order[:count])


def all_removals(
    model: HookedModel,
    component: str,
    *,
    layers: Sequence[int] | Any = None,
    heads: Listed | None = None,
    positions: Sequence[str] | None = None,
) -> tuple[Removal, ...]:
    """Every component (or these heads), in order, once for each of the positions."""
    places = positions if positions is not None else POSITIONS if component == "ffn" else POSITIONS[:1]
    if not places or set(places) - set(POSITIONS):
        raise UsageError(f"positions={places!r}: components are removed at some of {', '.join(POSITIONS)}")
    there = model.ffn_layers if component == "ffn" else model.attention_layers
    if not there:
        raise UsageError(
            f"{model.layout.architecture} has no {component} that headscope can place: none can be removed"
        )
    wanted = there if layers is None else tuple(dict.fromkeys(listed_layers(layers)))
    if missing := sorted(set(wanted) - set(there)):
        raise UsageError(f"layers {missing} have no {component} to remove; there are {there[0]} to {there[-1]}")
    width = model.n_heads // model.n_kv_heads if component == "kv_group" else 1
    firsts = [None] if component == "ffn" else range(0, model.n_heads, width)
    found = [(layer, first) for layer in wanted for first in firsts]
    if heads is not None:
        found = _only(heads, found, component)
    return tuple(Removal(*one, name == "later", width) for one in found for name in POSITIONS if name in places)


def _only(heads: Listed, found: Sequence[Any], component: str) -> list[Any]:
    """These heads, in the order of all of them."""
    given = listed_heads(heads)
    chosen = set(given)
    if component != "head" or not chosen <= set(found):
        odd = sorted(chosen - set(found))[:3] if component == "head" else component
        raise UsageError(f"heads={given[:3]!r}...: single heads of this model can be named, got {odd}")
    return [one for one in found if one in chosen]


def _metric(task: Any, log_likelihoods: np.ndarray, counts: Sequence[int]) -> Any:
    if not hasattr(task, "score"):
        return None
    return task.score(np.split(log_likelihoods, np.cumsum(counts)[:-1]))


@one_line
@dataclass(frozen=True)
class KnockOutEstimate:
    """`forward_passes`: in plain passes over all documents; `seconds`: from one timed batch on this machine."""

    component: str
    documents: int
    removals: int
    tokens: int
    forward_passes: float
    seconds: float


def estimate_knock_out(
    model: HookedModel, task: Any, *, component: str, limit: int | None = None, batch_tokens: int | None = None
) -> KnockOutEstimate:
    """How long `knock_out` with these arguments will take; runs one batch of documents and one removal of it."""
    documents = gold_documents(model, chosen_documents(task, component, limit))
    removals = all_removals(model, component)
    prompts = Prompts.of(documents)
    batches = list(packed(model, prompts.requests, budget=batch_tokens or default_budget(model)))
    tokens = sum(batch.tokens.numel() for batch in batches)
    passes = 1 + sum((model.n_layers - removal.layer) / model.n_layers for removal in removals)
    batch = min(batches, key=lambda batch: abs(batch.tokens.numel() - tokens / len(batches)))
    residuals, _ = run_plain(model, batch)
    middle = min(removals, key=lambda removal: abs(removal.layer - model.n_layers // 2))
    start = time.perf_counter()
    run_removed(model, batch, residuals[middle.layer], [middle])
    took = (time.perf_counter() - start) / batch.tokens.numel() * model.n_layers / (model.n_layers - middle.layer)
    return KnockOutEstimate(component, len(documents), len(removals), tokens, passes, took * tokens * passes)
