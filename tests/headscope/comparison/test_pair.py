"""Two runs head by head: which scores are paired, their rank correlation by another route, unlike shapes."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from headscope.comparison.pair import paired_scores
from headscope.figures.pair import pair_figures
from headscope.findings.models import paired
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.scores import HeadScores
from tests.headscope.several import model_run
from tests.headscope.synthetic import IDENTITY


def scored(folder: Path, values: np.ndarray, *names: tuple[str, str]) -> Run:
    import torch

    with begin_stage(folder, {**IDENTITY, "source": folder.name}, Stage("induction", "quick")) as writer:
        for name, variant in names:
            writer.add_scores(HeadScores.from_items(name, torch.from_numpy(values)[None].float(), variant=variant))
    return open_run(folder)


def test_the_correlation_is_scipys_and_variants_stay_behind(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(5, 7)), rng.normal(size=(5, 7)).round(1)
    first = scored(tmp_path / "a", one, ("copying", "signed"), ("prefix_matching", ""), ("prefix_matching", "olsson"))
    second = scored(tmp_path / "b", other, ("prefix_matching", ""), ("prefix_matching", "olsson"), ("sink", ""))
    (score,) = paired_scores(first, second)
    assert score.label == "Prefix matching" and score.alike
    assert score.rho == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-6)
    within = np.mean([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)])
    assert score.within == pytest.approx(within, abs=1e-6)
    said = paired(score.rho, score.within, score.shapes)
    told = [f"{value:+.2f}".replace("-", "\u2212") for value in (score.rho, score.within)]
    assert f"over heads {told[0]};" in said and f"{told[1]} on average" in said
    figures = list(pair_figures(score.first, score.second, label=score.label, names=["a", "b"]))
    cells = [figure.data[0] for figure in figures[:3]]
    np.testing.assert_allclose(cells[2].z, other - one, atol=1e-6)
    assert cells[0].zmax == cells[1].zmax == pytest.approx(max(np.abs(one).max(), np.abs(other).max()))
    assert cells[0].zmin == -cells[0].zmax, "signed in one run is signed in both"
    points = figures[3].data[1]
    assert len(points.x) == 35 and points.text[8] == "1.1"
    np.testing.assert_allclose([points.x[8], points.y[8]], [one[1, 1], other[1, 1]], rtol=1e-6)


def test_unlike_shapes_are_compared_by_relative_depth(tmp_path: Path) -> None:
    runs = [open_run(model_run(tmp_path / f"m{layers}", layers=layers)) for layers in (3, 5)]
    score = next(paired_scores(*runs))
    assert not score.alike and isnan(score.rho) and isnan(score.within)
    said = paired(score.rho, score.within, score.shapes)
    assert "3 layers of 4 and 5 layers of 4 heads" in said and "relative depth" in said
    *mosaics, by_depth = pair_figures(score.first, score.second, label=score.label, names=["m3", "m5"])
    assert len(mosaics) == 2
    lines = {line.name: line for line in by_depth.data}
    np.testing.assert_allclose(lines["m3, mean"].x, [0, 0.5, 1])
    np.testing.assert_allclose(lines["m5, highest"].y, score.second.max(axis=1), rtol=1e-6)


def test_a_score_without_ranks_says_so() -> None:
    said = paired(float("nan"), float("nan"), ((2, 2), (2, 2)))
    assert "same for every head" in said
