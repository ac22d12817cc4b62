"""Does a first-order score say what removing a head costs? Exact knock-outs of heads spread over the score.

Method 3.2. Where knocking out every head costs too much, `signed` importance with objective `choice` stands in:
1. Sort the heads by the score and take one from the middle of each of 48 equal parts, so that all sizes are there.
2. Knock each of them out, exactly.
3. Spearman of score and cost, and how often their signs agree, over these heads; both stand beside the score's table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ablation.knock_out import KnockOut, knock_out
from ablation.names import SAMPLED
from ablation.provenance import refuse_other_model
from ablation.statistics.correlation import spearman
from interp.errors import UsageError
from interp.scores import HeadScores

if TYPE_CHECKING:
    from interp.model import HookedModel

FEWEST = 8  # of fewer heads a rank correlation says nothing


@dataclass(frozen=True)
class ExactAgreement:
    """A score beside exact knock-outs of some heads: `score` and `exact` head by head, in nats of `outcome`.

    sign_agreement: share of the heads whose score and cost have one sign (a cost of exactly 0 has none).
    """

    outcome: str
    heads: tuple[tuple[int, int], ...]
    score: Float[np.ndarray, "head"]
    exact: Float[np.ndarray, "head"]
    spearman: float
    sign_agreement: float


def stratified_heads(scores: HeadScores, n: int = SAMPLED) -> tuple[tuple[int, int], ...]:
    """`n` heads spread evenly over the ranks of a score, all of them where there are fewer; by layer and head."""
    order = scores.ranking().order.tolist()
    if len(order) < FEWEST:
        raise UsageError(f"{len(order)} heads have a score; a rank correlation wants {FEWEST} or more")
    count, width = min(n, len(order)), scores.mean.shape[1]
    if count < FEWEST:
        raise UsageError(f"{n} heads are too few to be ranked: ask for {FEWEST} or more")
    places = [order[int((k + 0.5) * len(order) / count)] for k in range(count)]
    return tuple(sorted((place // width, place % width) for place in places))


def exact_agreement(scores: HeadScores, knocked: KnockOut, *, outcome: str = "choice") -> ExactAgreement:
    """The score beside the knock-outs of heads that were run, with the score's own mean over documents."""
    exact = knocked.differences(outcome=outcome).mean(0).numpy()
    table = scores.mean.double().numpy()
    if exact.shape != table.shape:
        raise UsageError(
            f"the knock-out has shape {exact.shape}, the score {table.shape}: knock out heads of the same model"
        )
    both = np.isfinite(exact) & np.isfinite(table)
    score, cost = table[both], exact[both]
    decided = (score != 0) & (cost != 0)
    return ExactAgreement(
        outcome=outcome,
        heads=tuple((int(layer), int(head)) for layer, head in np.argwhere(both)),
        score=score,
        exact=cost,
        spearman=spearman(score[None], cost[None]).value,
        sign_agreement=float((np.sign(score) == np.sign(cost))[decided].mean()) if decided.any() else math.nan,
    )


def check_by_knock_out(
    model: HookedModel, task: Any, scores: HeadScores, *, n: int = SAMPLED, outcome: str = "choice", **options: Any
) -> ExactAgreement:
    """Knock out `n` heads stratified by `scores` (`signed`, objective `choice`), and compare.

    `options` as in knock_out. Raises UsageError for scores of another model, and for too few heads.
    """
    refuse_other_model(model, scores.provenance, tuple(scores.mean.shape), f"the score {scores.title!r}")
    knocked = knock_out(model, task, component="head", heads=stratified_heads(scores, n), **options)
    return exact_agreement(scores, knocked, outcome=outcome)
