"""Are the induction heads the heads that tasks need? (Method 5)

Descriptive: within layers, Spearman of prefix matching with the aggregate importance (`token`, where it was measured)
at 5 shots (at the most there are where 5 were not run), permuted within layers. Most layers hold no induction head and
add noise; the secondary question of this kind is T (class_rank.py).
Exploratory, Holm over all of them: the copying scores; `signed` importance; the top heads and the set of Method 2.8;
prefix matching with log mean |r| and the previous-token score partialled out; 5 shots against 0 shots and against
demonstrations with shuffled labels. An agreement as large at 0 shots says nothing about learning in context.
Described without being tests of the question: the same over all heads (a trend over layers counts there), Kendall's tau
and the released script's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ablation.statistics import (
    bansal_released,
    kendall,
    partial_spearman_within_layers,
    permutation_count,
    permutation_test,
    set_overlap,
    spearman_within_layers,
)
from headscope.comparison.matrices import agreed, reliabilities
from headscope.comparison.rise import rise
from headscope.comparison.scored import Scored, Shelf
from headscope.store.comparisons import (
    INDUCTION_HEADS,
    NO_INTERVAL,
    AtShots,
    Difference,
    Kind,
    RankCut,
    Row,
    ScoreName,
    row,
    with_holm,
)
from headscope.store.names import AGGREGATE
from headscope.store.scores import IMPORTANCE, SHUFFLED

PREFIX = ("prefix_matching", "")
PREVIOUS = ("previous_token", "")
COPYING = (
    ("copying", "argmax"),
    ("copying", "attended"),
    ("copying", "successor"),
    ("copying", "signed"),
    ("copying", "bansal_released"),
    ("ov_copying", ""),
)
PRIMARY_SHOTS = 5


@dataclass(frozen=True)
class Exploratory:
    """One test of the family: its row, and its p once the size of the family is known."""

    row: Row
    p: Callable[[int], float]


def primary_shots(shelf: Shelf) -> int:
    """5, or the most there are where 5 were not run."""
    shots = shelf.importance_shots
    return PRIMARY_SHOTS if PRIMARY_SHOTS in shots else max(shots)


def induction_against_importance(shelf: Shelf) -> list[Row]:
    """The descriptive coefficient, the exploratory family, and what describes them."""
    shots = primary_shots(shelf)
    prefix, importance = shelf.of_sequences(*PREFIX), importances_at(shelf, shots)[0]
    rows = [*descriptive(shelf, prefix, importance, shots), *noise(shelf, prefix, shots)]
    family = list(exploratory(shelf, shots))
    if family:
        tested = ({**test.row, "p": test.p(len(family))} for test in family)
        rows += with_holm(tested)
        size, draws = len(family), permutation_count(len(family))
        rows.append(row(Kind.EXPLORATORY_FAMILY, prefix.name, importance.name, shots, "tests", float(size), n=draws))
    return rows + described(shelf, shots)


def permuted(shelf: Shelf) -> dict[str, Any]:
    """How heads are permuted: key-value groups as a whole, then the heads of each."""
    return {"groups": shelf.groups, "seed": shelf.seed}


def importances_at(shelf: Shelf, shots: int) -> list[Scored]:
    """The aggregates at a number of shots by every way that was measured there, the paper's first."""
    there = (variant for variant in shelf.variants if shelf.tasks(IMPORTANCE, variant, shots))
    return [shelf.aggregate(IMPORTANCE, variant, shots) for variant in there]


def descriptive(shelf: Shelf, prefix: Scored, importance: Scored, shots: int) -> Iterator[Row]:
    """The mean over layers of rank correlations."""
    test = permutation_test(prefix.table, importance.table, level="within_layer", **permuted(shelf))
    interval, corrected = intervals(prefix, importance)
    for kind in (Kind.INDUCTION_IMPORTANCE_DESCRIPTIVE, Kind.INDUCTION_IMPORTANCE):
        values: dict[str, Any] = {"interval": interval, "p": test.p, "n": test.n_heads}
        yield row(kind, prefix.name, importance.name, shots, "within_layer", test.value, **values)
    yield from corrected_rows(Kind.INDUCTION_IMPORTANCE, prefix.name, importance.name, shots, corrected, test.n_heads)


def noise(shelf: Shelf, prefix: Scored, shots: int) -> Iterator[Row]:
    """How reliable the rankings are: prefix matching over its sequences, the aggregates over documents."""
    yield from reliabilities(prefix, prefix.name, "", shots)
    for aggregate in importances_at(shelf, shots):
        yield from reliabilities(aggregate, AGGREGATE, aggregate.name, shots)


def exploratory(shelf: Shelf, shots: int) -> Iterator[Exploratory]:
    """All tests of the family that the run has scores for."""
    prefix = shelf.of_sequences(*PREFIX)
    copying = [shelf.of_sequences(*key) for key in COPYING if shelf.has(*key)]
    first, *others = importances_at(shelf, shots)
    for score in copying:
        yield correlated(shelf, score, first, shots)
    for importance in others:
        for score in (prefix, *copying):
            yield correlated(shelf, score, importance, shots)
    for importance in (first, *others):
        yield from partialled(shelf, prefix, importance, shots)
        yield from sets(shelf, importance, shots)
    for variant in shelf.variants:
        yield from rises(shelf, prefix, variant, shots)


def correlated(shelf: Shelf, score: Scored, importance: Scored, shots: int) -> Exploratory:
    """Spearman within layers, permuted within layers."""
    test = partial(permutation_test, score.table, importance.table, level="within_layer", **permuted(shelf))
    correlation, (interval, _) = spearman_within_layers(score.table, importance.table), intervals(score, importance)
    key = (Kind.INDUCTION_IMPORTANCE, score.name, importance.name, shots, "within_layer")
    listed = row(*key, correlation.value, interval=interval, n=correlation.n_heads)
    return Exploratory(listed, lambda family: test(family=family).p)


def partialled(shelf: Shelf, prefix: Scored, importance: Scored, shots: int) -> Iterator[Exploratory]:
    """What is left when how much a head writes and its previous-token score are held fixed."""
    norm = shelf.mean_norm(shots)
    if norm is None or not shelf.has(*PREVIOUS):
        return
    covariates = [np.log(np.maximum(norm, np.finfo(float).tiny)), shelf.of_sequences(*PREVIOUS).table]
    test = partial(partial_spearman_within_layers, prefix.table, importance.table, covariates, **permuted(shelf))
    tested = test()
    listed = row(
        Kind.INDUCTION_IMPORTANCE_PARTIAL,
        prefix.name,
        importance.name,
        shots,
        "within_layer",
        tested.value,
        n=tested.n_heads,
    )
    yield Exploratory(listed, lambda family: test(family=family).p)


def sets(shelf: Shelf, importance: Scored, shots: int) -> Iterator[Exploratory]:
    """The induction heads of Method 2.8 against as many most important heads; p exact and layer-matched."""
    heads, valid = shelf.induction_heads, np.isfinite(importance.table)
    if heads is None or not heads.any():
        return
    shared = set_overlap(heads & valid, highest(importance.table, int((heads & valid).sum())), valid=valid)
    key = (INDUCTION_HEADS, importance.name, shots, RankCut("k", shared.size_a))
    share = shared.overlap / max(shared.size_a, 1)
    yield Exploratory(row(Kind.SET_OVERLAP, *key, share, n=shared.n_heads), lambda family: shared.p_layer)


def rises(shelf: Shelf, prefix: Scored, variant: str, shots: int) -> Iterator[Exploratory]:
    """Is the agreement larger than at 0 shots, and than with shuffled labels?"""
    references = [(IMPORTANCE, 0), (SHUFFLED, shots)]
    for score, count in references:
        tasks = sorted(set(shelf.tasks(score, variant, count)) & set(shelf.tasks(IMPORTANCE, variant, shots)))
        if not tasks or (score, count) == (IMPORTANCE, shots):
            continue
        more = shelf.aggregate(IMPORTANCE, variant, shots, tasks)
        less = shelf.aggregate(score, variant, count, tasks)
        found = rise(prefix, more, less, **permuted(shelf))
        b = Difference(AtShots(more.name, shots), AtShots(str(ScoreName(score, variant)), count))
        listed = row(
            Kind.INDUCTION_IMPORTANCE_GAIN,
            prefix.name,
            b,
            shots,
            "within_layer",
            found.value,
            interval=found.interval,
            n=found.n_heads,
        )
        yield Exploratory(listed, found.p)


def described(shelf: Shelf, shots: int) -> list[Row]:
    """Without a claim: all heads together, with p by free permutation and Holm among these, tau-b, the released one."""
    importances = importances_at(shelf, shots)
    scores = [shelf.of_sequences(*key) for key in (PREFIX, *COPYING) if shelf.has(*key)]
    family = len(scores) * len(importances)
    rows = with_holm(everywhere(shelf, a, b, shots, family) for a in scores for b in importances)
    for name, statistic in (("kendall", kendall), ("bansal_released", bansal_released)):
        value = statistic(scores[0].table, importances[0].table)
        rows.append(
            row(
                Kind.INDUCTION_IMPORTANCE,
                scores[0].name,
                importances[0].name,
                shots,
                name,
                value.value,
                n=value.n_heads,
            )
        )
    if shots != 0:
        rows += [at_no_shots(shelf, variant) for variant in shelf.variants if shelf.tasks(IMPORTANCE, variant, 0)]
    for importance in importances:
        rows += set_expectations(shelf, importance, shots)
    return rows


def everywhere(shelf: Shelf, score: Scored, importance: Scored, shots: int, family: int) -> Row:
    """Spearman over all heads; a trend over layers is part of it."""
    test = permutation_test(score.table, importance.table, level="global", family=family, **permuted(shelf))
    agreement = agreed(score, importance, "global")
    interval = NO_INTERVAL if agreement is None else (agreement.ci_low, agreement.ci_high)
    key = (Kind.INDUCTION_IMPORTANCE, score.name, importance.name, shots, "global")
    return row(*key, test.value, interval=interval, p=test.p, n=test.n_heads)


def at_no_shots(shelf: Shelf, variant: str) -> Row:
    """The coefficient at 0 shots by itself; the test is the rise over it."""
    prefix, importance = shelf.of_sequences(*PREFIX), shelf.aggregate(IMPORTANCE, variant, 0)
    test = permutation_test(prefix.table, importance.table, level="within_layer", **permuted(shelf))
    interval, _ = intervals(prefix, importance)
    return row(
        Kind.INDUCTION_IMPORTANCE,
        prefix.name,
        importance.name,
        0,
        "within_layer",
        test.value,
        interval=interval,
        n=test.n_heads,
    )


def set_expectations(shelf: Shelf, importance: Scored, shots: int) -> Iterator[Row]:
    """What chance gives for the overlap of the two sets, freely and layer by layer; p beside each."""
    heads, valid = shelf.induction_heads, np.isfinite(importance.table)
    if heads is None or not heads.any():
        return
    shared = set_overlap(heads & valid, highest(importance.table, int((heads & valid).sum())), valid=valid)
    size = max(shared.size_a, 1)
    for kind, expected, p in (
        (Kind.SET_OVERLAP.expected_free, shared.expected_free, shared.p_free),
        (Kind.SET_OVERLAP.expected_layer, shared.expected_layer, shared.p_layer),
    ):
        level = RankCut("k", shared.size_a)
        yield row(kind, INDUCTION_HEADS, importance.name, shots, level, expected / size, p=p, n=shared.n_heads)


def intervals(a: Scored, b: Scored) -> tuple[tuple[float, float], tuple[float, float, float] | None]:
    """The interval of rho within layers, and rho* with its own; NaN and None where documents are too few."""
    agreement = agreed(a, b, "within_layer")
    if agreement is None:
        return NO_INTERVAL, None
    return (agreement.ci_low, agreement.ci_high), (agreement.rho_star, agreement.star_low, agreement.star_high)


def corrected_rows(
    kind: Kind, a: str, b: str, shots: int, corrected: tuple[float, float, float] | None, n: int
) -> Iterator[Row]:
    if corrected is not None:
        value, low, high = corrected
        yield row(kind, a, b, shots, "within_layer_corrected", value, interval=(low, high), n=n)


def highest(table: Float[np.ndarray, "layer head"], k: int) -> Bool[np.ndarray, "layer head"]:
    """The k heads of highest score, ties by position."""
    order = np.argsort(-np.where(np.isfinite(table), table, -np.inf), axis=None, kind="stable")
    chosen = np.zeros(table.size, dtype=bool)
    chosen[order[:k]] = True
    return chosen.reshape(table.shape)
