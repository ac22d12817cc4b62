"""Partial correlation within layers: what a covariate explains is gone, what it doesn't stays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, rankdata

from ablation.statistics import partial_spearman_within_layers, permutation_test
from interp.errors import UsageError


def slow_partial(score: np.ndarray, importance: np.ndarray, covariates: list[np.ndarray]) -> float:
    """One layer, by least squares on ranks with a constant."""
    design = np.column_stack([np.ones(score.size), *(rankdata(covariate) for covariate in covariates)])
    residuals = [
        rankdata(values) - design @ np.linalg.lstsq(design, rankdata(values), rcond=None)[0]
        for values in (score, importance)
    ]
    return float(np.corrcoef(*residuals)[0, 1])


def test_equals_least_squares_layer_by_layer() -> None:
    tables = np.random.default_rng(0).standard_normal((4, 8, 9))
    score, importance, first, second = tables[0], tables[0] + tables[1], tables[2], np.round(tables[3])
    found = partial_spearman_within_layers(score, importance, [first, second])
    expected = [slow_partial(score[i], importance[i], [first[i], second[i]]) for i in range(8)]
    assert found.value == pytest.approx(np.mean(expected))
    assert (found.layers_used, found.layers_skipped, found.n_covariates) == (8, 0, 2)


def test_a_common_cause_is_partialled_out() -> None:
    norm, noise = np.random.default_rng(1).standard_normal((30, 12)), np.random.default_rng(2)
    score = norm + 0.3 * noise.standard_normal((30, 12))
    importance = norm + 0.3 * noise.standard_normal((30, 12))
    assert permutation_test(score, importance, level="within_layer").value > 0.8
    found = partial_spearman_within_layers(score, importance, [norm])
    assert abs(found.value) < 0.25
    assert found.p > 0.001


def test_a_direct_link_stays() -> None:
    rng = np.random.default_rng(3)
    norm, score = rng.standard_normal((2, 30, 9))
    found = partial_spearman_within_layers(score, score + norm, [norm], alternative="greater")
    assert found.value > 0.6
    assert found.p == pytest.approx(1e-4)


def test_p_is_uniform_when_only_the_covariates_link_them() -> None:
    """Three covariates in layers of eight heads: a null that is not regressed again would be too narrow by half."""
    rng = np.random.default_rng(4)
    p = []
    for run in range(150):
        norm, other_norm, third, one, other = rng.standard_normal((5, 6, 8))
        covariates = [norm, other_norm, third]
        p.append(partial_spearman_within_layers(norm + one, norm + other, covariates, seed=run).p)
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.1) < 0.16


def test_repeated_covariates_cost_one_degree_of_freedom() -> None:
    score, importance, norm = np.random.default_rng(5).standard_normal((3, 6, 9))
    once = partial_spearman_within_layers(score, importance, [norm])
    again = partial_spearman_within_layers(score, importance, [norm, 2 * norm, np.ones((6, 9))])
    assert again.value == pytest.approx(once.value)
    assert again.p == once.p


def test_layers_that_cannot_tell_are_skipped() -> None:
    score, importance, norm = np.random.default_rng(6).standard_normal((3, 6, 9))
    norm[0] = score[0]
    score[1] = 2.0
    score[2] = np.nan
    score[3, 3:] = np.nan
    found = partial_spearman_within_layers(score, importance, [norm])
    assert (found.layers_used, found.layers_skipped, found.heads_left_out) == (2, 3, 15)
    nothing = partial_spearman_within_layers(score[:, :3], importance[:, :3], [norm[:, :3]])
    assert nothing.layers_used == 0
    assert np.isnan([nothing.value, nothing.p]).all()


def test_refusal_says_what_to_use_instead() -> None:
    with pytest.raises(UsageError, match="permutation_test"):
        partial_spearman_within_layers(np.ones((2, 3)), np.ones((2, 3)), [])
