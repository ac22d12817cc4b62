"""The simulation behind the table of power: its models are what they say, and its tests keep their level."""

from __future__ import annotations

import numpy as np
import pytest

from tests.docs.scripts import script


def test_the_simulated_importances_have_the_variances_that_are_told() -> None:
    table = script("power_table.py")
    draw = np.random.default_rng(0)
    held = table.model(draw)
    assert held.classed.sum() == 11 and held.classed.any(axis=1).sum() == 8
    assert held.matching[held.classed].min() > held.matching[~held.classed].max()
    once, again = (table.importances(held, 0.0, 40, 4_000, np.random.default_rng(seed)) for seed in (1, 2))
    assert once.var() == pytest.approx(1 / table.RELIABILITY, rel=0.02)
    inside = np.mean(once[..., 0] * once[..., 1]) * table.RELIABILITY
    assert inside == pytest.approx(table.GROUP_SHARE * table.RELIABILITY, abs=0.01)
    assert np.mean(once * again) == pytest.approx(0, abs=0.01)


def test_heads_that_stand_above_all_others_are_found() -> None:
    table = script("power_table.py")
    ours, first = table.power(8.0, 360, models=2, studies=10)
    assert ours == 1.0 and first < 0.8


@pytest.mark.slow
def test_ordinary_heads_are_found_in_one_study_of_twenty() -> None:
    ours, first = script("power_table.py").power(0.0, 40, models=20, studies=40)
    assert 0.02 < ours < 0.07
    assert 0.03 < first < 0.075
