"""Reliability and the agreement of two rankings, on simulations whose answers are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from ablation.statistics import (
    Agreement,
    ClusteredScores,
    Level,
    Resampled,
    agreement,
    disattenuated,
    documents_for_reliability,
    reliability,
    resample,
)
from ablation.statistics.jackknife import jackknife_variance
from interp.errors import UsageError

LAYERS, HEADS = 10, 9


def noisy(truth: np.ndarray, items: int, noise: float, rng: np.random.Generator) -> ClusteredScores:
    per_item = truth + noise * rng.standard_normal((items, *truth.shape))
    return ClusteredScores(per_item, np.arange(items))


def related(correlation: float, rng: np.random.Generator, layers: int = LAYERS) -> tuple[np.ndarray, np.ndarray]:
    a, other = rng.standard_normal((2, layers, HEADS))
    return a, correlation * a + np.sqrt(1 - correlation**2) * other


def test_known_reliability() -> None:
    """Signal variance 1, noise variance 50 over 50 items: Pearson .5 between halves of 25, so Spearman about .48."""
    rng = np.random.default_rng(0)
    table = resample(noisy(rng.standard_normal((40, 40)), 50, np.sqrt(25.0), rng))
    found = reliability(table, level="global")
    pearson_half = 1 / (1 + 25 / 25)
    spearman_half = 6 / np.pi * np.arcsin(pearson_half / 2)
    assert found.half_correlation == pytest.approx(spearman_half, abs=0.04)
    assert found.value == pytest.approx(2 * spearman_half / (1 + spearman_half), abs=0.04)
    assert not found.low
    assert (found.splits, found.n_clusters, found.n_heads) == (50, 50, 1600)


def test_reliability_predicts_the_agreement_with_new_documents() -> None:
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((40, 40))
    for level in ("global", "within_layer"):
        tables = [resample(noisy(truth, 60, 8.0, rng)) for _ in range(2)]
        again = agreement(*tables, level=level).rho  # type: ignore[arg-type]
        assert reliability(tables[0], level=level).value == pytest.approx(again, abs=0.05)  # type: ignore[arg-type]


def test_clusters_are_split_whole() -> None:
    """Ten copies of each document carry no more information; splitting the copies would make noise look reliable."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((20, LAYERS, HEADS))
    copies, labels = np.repeat(noise, 10, axis=0), np.repeat(np.arange(20), 10)
    assert abs(reliability(resample(ClusteredScores(copies, labels)), level="global").half_correlation) < 0.2
    assert reliability(resample(ClusteredScores(copies, np.arange(200))), level="global").value > 0.8


def test_trend_over_layers_is_reliable_globally_only() -> None:
    rng = np.random.default_rng(3)
    trend = np.repeat(np.arange(30.0)[:, None], HEADS, axis=1)
    table = resample(noisy(trend, 40, 3.0, rng))
    assert reliability(table, level="global").value > 0.95
    within = reliability(table, level="within_layer")
    assert abs(within.half_correlation) < 0.15
    assert within.low


def test_heads_without_scores_are_left_out() -> None:
    rng = np.random.default_rng(4)
    a, b = (noisy(truth, 30, 1.0, rng) for truth in related(0.5, rng))
    a.per_item[:, 2] = np.nan
    found = agreement(resample(a), resample(b), level="within_layer")
    assert (found.n_heads, found.heads_left_out, found.reliability_b.n_heads) == (81, 9, 81)
    rest = [ClusteredScores(np.delete(scores.per_item, 2, axis=1), scores.clusters) for scores in (a, b)]
    assert agreement(*map(resample, rest), level="within_layer").rho_star == pytest.approx(found.rho_star)


def test_rho_and_rho_star_by_hand() -> None:
    rng = np.random.default_rng(5)
    a, b = (noisy(truth, 30, 4.0, rng) for truth in related(0.6, rng))
    tables = resample(a, seed=1), resample(b, seed=2)
    found = agreement(*tables, level="global")
    assert found.rho == pytest.approx(spearmanr(a.per_item.sum(0).ravel(), b.per_item.sum(0).ravel()).statistic)
    halves = [
        np.mean([spearmanr(one.ravel(), other.ravel()).statistic for one, other in table.halves]) for table in tables
    ]
    rels = [2 * q / (1 + q) for q in halves]
    assert found.rho_star == pytest.approx(found.rho / np.sqrt(rels[0] * rels[1]))
    without_a = [spearmanr(part.ravel(), tables[1].full.ravel()).statistic for part in tables[0].deleted]
    without_b = [spearmanr(part.ravel(), tables[0].full.ravel()).statistic for part in tables[1].deleted]
    variance = sum(16 / 4 * np.mean((np.array(part) - np.mean(part)) ** 2) for part in (without_a, without_b))
    assert found.ci_high - found.ci_low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=1e-5)


def test_jackknife_variance_of_a_mean_is_exact() -> None:
    """One group out at a time; or two of six, all fifteen pairs."""
    values = np.random.default_rng(6).standard_normal(20)
    without = (values.sum() - values) / 19
    assert jackknife_variance(without, ~np.eye(20, dtype=bool)) == pytest.approx(values.var(ddof=1) / 20)
    kept = np.array([[group not in pair for group in range(6)] for pair in itertools.combinations(range(6), 2)])
    means = np.array([values[:6][keep].mean() for keep in kept])
    assert jackknife_variance(means, kept) == pytest.approx(values[:6].var(ddof=1) / 6)


def test_rho_star_is_unclipped_and_flagged() -> None:
    assert disattenuated(0.9, 0.5, 0.5) == pytest.approx(1.8)
    assert np.isnan(disattenuated(0.9, -0.1, 0.5))
    rng = np.random.default_rng(7)
    a, b = (resample(noisy(truth, 30, 12.0, rng)) for truth in related(0.9, rng))
    assert agreement(a, b, level="global").unreliable
    a, b = (resample(noisy(truth, 30, 0.5, rng)) for truth in related(0.9, rng))
    assert not agreement(a, b, level="global").unreliable


Found = dict[str, tuple[list[float], list[Agreement]]]


def simulate(runs: int, *, correlation: float, items: int, noise: float) -> Found:
    """New rankings and new documents `runs` times: by level, the noise-free correlations and what was found."""
    rng = np.random.default_rng(8)
    results: Found = {"global": ([], []), "within_layer": ([], [])}
    for _ in range(runs):
        truths = related(correlation, rng)
        a, b = (resample(noisy(truth, items, noise, rng), seed=rng) for truth in truths)
        for level, (truth, found) in results.items():
            truth.append(noise_free(*truths, level=level))
            found.append(agreement(a, b, level=level))  # type: ignore[arg-type]
    return results


def coverage(truth: list[float], found: list[Agreement]) -> float:
    return float(np.mean([one.star_low <= value <= one.star_high for value, one in zip(truth, found, strict=True)]))


def noise_free(a: np.ndarray, b: np.ndarray, *, level: str) -> float:
    if level == "global":
        return float(spearmanr(a.ravel(), b.ravel()).statistic)
    return float(np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]))


def test_interval_of_rho_star_covers_the_noise_free_correlation() -> None:
    for truth, found in simulate(100, correlation=0.6, items=100, noise=6.0).values():
        assert 0.90 <= coverage(truth, found) <= 0.99
        assert np.mean([one.rho_star for one in found]) == pytest.approx(np.mean(truth), abs=0.06)


def test_interval_of_rho_covers_its_expectation_and_not_the_noise_free_correlation() -> None:
    rng = np.random.default_rng(9)
    truths = related(0.7, rng)
    found = []
    for _ in range(80):
        a, b = (resample(noisy(truth, 60, 6.0, rng), seed=rng) for truth in truths)
        found.append(agreement(a, b, level="global"))
    expected = np.mean([one.rho for one in found])
    assert 0.90 <= np.mean([one.ci_low <= expected <= one.ci_high for one in found]) <= 0.99
    truth = noise_free(*truths, level="global")
    assert np.mean([one.ci_low <= truth <= one.ci_high for one in found]) < 0.7
    assert np.mean([one.stderr for one in found]) == pytest.approx(np.std([one.rho for one in found]), rel=0.35)


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.parametrize(("correlation", "items", "noise"), [(0.0, 60, 5.0), (0.6, 100, 8.0), (0.9, 200, 5.0)])
def test_coverage_over_a_grid(correlation: float, items: int, noise: float) -> None:
    for truth, found in simulate(1000, correlation=correlation, items=items, noise=noise).values():
        assert 0.90 <= coverage(truth, found) <= 0.99


def test_shared_documents_are_not_taken_for_agreement() -> None:
    """Two unrelated rankings scored on one noisy set of documents: rho and the plain rho* see the noise."""
    rng = np.random.default_rng(10)
    plain, shared = [], []
    for _ in range(25):
        truths = rng.standard_normal((2, LAYERS, HEADS))
        noise = 6.0 * rng.standard_normal((60, LAYERS, HEADS))
        a, b = (resample(ClusteredScores(truth + noise, np.arange(60)), seed=5) for truth in truths)
        plain.append(agreement(a, b, level="global"))
        shared.append(agreement(a, b, level="global", shared=True))
    assert np.mean([one.rho_star for one in plain]) > 0.4
    assert np.mean([one.rho_star for one in shared]) == pytest.approx(0.0, abs=0.08)
    assert shared[0].rho == plain[0].rho


def test_shared_needs_the_same_deal() -> None:
    rng = np.random.default_rng(11)
    scores = noisy(related(0.5, rng)[0], 30, 1.0, rng)
    one, other = resample(scores, seed=1), resample(scores, seed=2)
    identical = agreement(one, one, level="global", shared=True)
    assert (identical.rho, identical.stderr) == pytest.approx((1.0, 0.0), abs=1e-7)
    assert identical.rho_star == pytest.approx(1.0)
    with pytest.raises(UsageError, match="dealt differently"):
        agreement(one, other, level="global", shared=True)


@pytest.mark.parametrize("level", ["global", "within_layer"])
def test_the_documents_that_would_do_do(level: Level) -> None:
    """From 30 documents of a low reliability to as many as are told; the ranking made on those has the wanted one."""
    rng = np.random.default_rng(13)
    truth = rng.standard_normal((60, 30))
    few = reliability(resample(noisy(truth, 30, 10.0, rng)), level=level)
    assert few.low
    documents = documents_for_reliability(few.value, 30)
    assert 60 < documents < 300
    again = reliability(resample(noisy(truth, int(documents), 10.0, rng)), level=level)
    assert again.value == pytest.approx(0.6, abs=0.07)


def test_documents_by_spearman_and_brown() -> None:
    assert documents_for_reliability(0.5, 40, wanted=0.75) == 120
    assert documents_for_reliability(0.3, 50) == 175
    assert documents_for_reliability(0.6, 50) == 50
    assert documents_for_reliability(0.9, 90) == 15
    assert documents_for_reliability(1.0, 40) == 1
    assert documents_for_reliability(0.0, 40) == documents_for_reliability(float("-inf"), 40) == float("inf")
    with pytest.raises(UsageError, match=r"got 1\.0 on 40"):
        documents_for_reliability(0.5, 40, wanted=1.0)


def test_seed_decides_everything() -> None:
    rng = np.random.default_rng(12)
    scores = noisy(related(0.5, rng)[0], 30, 1.0, rng)

    def numbers(table: Resampled) -> bytes:
        return table.halves.tobytes() + table.deleted.tobytes()

    assert numbers(resample(scores, seed=4)) == numbers(resample(scores, seed=4))
    assert numbers(resample(scores, seed=4)) != numbers(resample(scores, seed=5))
