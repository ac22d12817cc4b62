"""Score tables against SciPy and against loops; rankings and their ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from scipy import stats
from torch import Tensor

from interp import FFNMask, FFNScores, HeadMask, HeadScores, Null, Ranking
from interp.errors import UsageError
from interp.scores import bootstrap

RANDOM = torch.Generator().manual_seed(11)
ITEMS = torch.randn(40, 3, 4, generator=RANDOM).exp()


def head_scores(items: Tensor = ITEMS, **fields: object) -> HeadScores:
    return HeadScores.from_items("prefix_matching", items, **fields)


# --- items ---------------------------------------------------------------------------------------------------------


def test_mean_and_standard_deviation_are_numpys() -> None:
    scores = head_scores()
    torch.testing.assert_close(scores.mean, ITEMS.mean(0))
    torch.testing.assert_close(scores.std, torch.from_numpy(ITEMS.numpy().std(0, ddof=1)))
    assert scores.n == 40 and scores.per_item is not None and scores.per_item.shape == (40, 3, 4)
    assert all(value.dtype == torch.float32 for value in (scores.mean, scores.std, scores.ci_low, scores.ci_high))


def test_the_interval_is_scipys_percentile_bootstrap() -> None:
    """Another generator's draws: equal up to the noise of 2,000 draws, which is a small share of the interval."""
    scores = head_scores()
    theirs = stats.bootstrap(
        (ITEMS.numpy(),), np.mean, axis=0, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert float((np.abs(scores.ci_low.numpy() - theirs.low) / width).max()) < 0.05
    assert float((np.abs(scores.ci_high.numpy() - theirs.high) / width).max()) < 0.05


def test_the_interval_is_the_quantiles_of_resampled_means_by_loops() -> None:
    items = ITEMS[:7, :1, :2].double()
    found = bootstrap(items, seed=3, draws=50)
    counts = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=50)
    for head in range(2):
        means = [sum(float(items[i, 0, head]) * count for i, count in enumerate(row)) / 7 for row in counts]
        assert math.isclose(float(found["ci_low"][0, head]), np.quantile(means, 0.025), rel_tol=1e-6)
        assert math.isclose(float(found["ci_high"][0, head]), np.quantile(means, 0.975), rel_tol=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    items = torch.randn(60, 1, 800, generator=RANDOM) + 0.3
    scores = head_scores(items)
    covered = float(((scores.ci_low <= 0.3) & (scores.ci_high >= 0.3)).float().mean())
    assert 0.9 < covered < 0.98


def test_seeds_and_the_order_of_items() -> None:
    same = head_scores(seed=1), head_scores(seed=1), head_scores(seed=2)
    assert torch.equal(same[0].ci_low, same[1].ci_low) and not torch.equal(same[0].ci_low, same[2].ci_low)
    torch.testing.assert_close(head_scores(ITEMS.flip(0)).mean, same[0].mean)


def test_one_item_has_no_spread_and_no_items_are_refused() -> None:
    alone = head_scores(ITEMS[:1])
    assert torch.equal(alone.mean, ITEMS[0])
    assert all(bool(value.isnan().all()) for value in (alone.std, alone.ci_low, alone.ci_high))
    with pytest.raises(UsageError, match="at least one item"):
        head_scores(ITEMS[:0])


def test_a_missing_head_stays_missing_and_spoils_no_other() -> None:
    items = ITEMS.clone()
    items[:, 1] = torch.nan  # a layer without heads
    items[5, 0, 2] = torch.nan
    scores = head_scores(items)
    missing = torch.zeros(3, 4).bool()
    missing[1], missing[0, 2] = True, True
    for value in (scores.mean, scores.std, scores.ci_low, scores.ci_high):
        assert torch.equal(value.isnan(), missing)
    torch.testing.assert_close(scores.ci_low[~missing], head_scores().ci_low[~missing])
    assert len(scores.top(99)) == 7 and not any(math.isnan(head.score) for head in scores.top(99))
    assert len(scores.ranking().order) == 7


def test_top_is_best_first_and_ties_go_to_the_earlier_head() -> None:
    scores = head_scores(torch.tensor([[[0.1, 0.9], [0.9, 0.5]]]))
    assert [(head.layer, head.head) for head in scores.top(3)] == [(0, 1), (1, 0), (1, 1)]
    assert str(scores.top(1)[0]) == "0.1 0.900"
    ffns = FFNScores.from_items("importance", torch.tensor([[0.2, 0.7, torch.nan, 0.7]]))
    assert [ffn.layer for ffn in ffns.top()] == [1, 3, 0]


def test_kv_groups_take_the_highest_of_their_heads() -> None:
    scores = head_scores(n_kv_heads=2)
    assert torch.equal(scores.kv_group_max(), scores.mean.view(3, 2, 2).amax(-1))
    assert torch.equal(head_scores().kv_group_max(), scores.mean)


def test_frames_have_the_columns_of_the_tables() -> None:
    null = Null.from_draws("N1", ITEMS.mean(0), torch.rand(20, 3, 4, generator=RANDOM))
    frame = head_scores(variant="olsson", n_kv_heads=2).with_nulls(null).to_frame()
    assert list(frame.columns) == [
        "layer",
        "head",
        "kv_head",
        "score",
        "variant",
        "mean",
        "std",
        "ci_low",
        "ci_high",
        "null_mean",
        "p",
        "p_family",
        "n",
    ]
    row = frame[(frame["layer"] == 2) & (frame["head"] == 3)].iloc[0]
    assert row["kv_head"] == 1 and row["variant"] == "olsson" and row["n"] == 40
    assert math.isclose(row["mean"], float(ITEMS.mean(0)[2, 3]), rel_tol=1e-6)
    assert math.isclose(row["p"], float(null.p[2, 3]))
    ffns = FFNScores.from_items("importance", ITEMS[:, :, 0]).to_frame()
    assert list(ffns["layer"]) == [0, 1, 2] and "head" not in ffns


def test_figures_draw_themselves() -> None:
    figure = head_scores().figure()
    np.testing.assert_allclose(np.array(figure.data[0].z), ITEMS.mean(0).numpy(), rtol=1e-6)
    signed = head_scores(ITEMS - 5).figure().data[0]
    assert figure.data[0].zmin == 0 and signed.zmin == -signed.zmax
    assert FFNScores.from_items("importance", ITEMS[:, :, 0]).figure().data[0].type == "bar"
    places = np.array(head_scores().ranking().figure().data[0].z)
    assert sorted(places.flatten()) == list(range(12))


# --- nulls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("two_sided", [False, True])
def test_p_values_by_loops(two_sided: bool) -> None:
    observed = torch.randn(2, 3, generator=RANDOM)
    draws = torch.randn(99, 2, 3, generator=RANDOM).round(decimals=1)
    observed[0, 0] = draws[5, 0, 0]  # a tie counts against the head
    null = Null.from_draws("N1", observed, draws, two_sided=two_sided)
    centre = draws.double().mean(0)
    for layer in range(2):
        for head in range(3):

            def far(value: float, layer: int = layer, head: int = head) -> float:
                return abs(value - float(centre[layer, head])) if two_sided else value

            seen = far(float(observed[layer, head].double()))
            alone = sum(far(float(draw[layer, head].double())) >= seen for draw in draws)
            highest = [
                max(
                    abs(float(draw[a, b].double() - centre[a, b])) if two_sided else float(draw[a, b].double())
                    for a in range(2)
                    for b in range(3)
                )
                for draw in draws
            ]
            assert math.isclose(float(null.p[layer, head]), (1 + alone) / 100, rel_tol=1e-6)
            family = sum(value >= seen for value in highest)
            assert math.isclose(float(null.p_family[layer, head]), (1 + family) / 100, rel_tol=1e-6)
    torch.testing.assert_close(null.mean, centre.float())
    assert bool((null.p_family >= null.p).all())


def test_two_sided_p_sees_what_lies_below() -> None:
    draws = torch.randn(999, 1, 1, generator=RANDOM)
    low = torch.full((1, 1), -9.0)
    assert float(Null.from_draws("N1", low, draws, two_sided=True).p) == pytest.approx(0.001)
    assert float(Null.from_draws("N1", low, draws).p) == pytest.approx(1.0)


def test_the_family_wise_level_is_kept_on_noise() -> None:
    """Observed from the null itself: in about 5% of 400 worlds some head of 20 falls below .05, not in 64%."""
    false_alarms = alone = 0
    for world in range(400):
        generator = torch.Generator().manual_seed(world)
        draws = torch.randn(100, 4, 5, generator=generator)
        null = Null.from_draws("N1", draws[0], draws[1:])
        false_alarms += bool((null.p_family <= 0.05).any())
        alone += bool((null.p <= 0.05).any())
    assert 0.02 < false_alarms / 400 < 0.085
    assert alone / 400 > 0.4


def test_a_null_that_is_missing_is_no_evidence() -> None:
    """A head without a null (nothing in reach, say) has no p-value, and is not above null."""
    draws = torch.zeros(50, 1, 3)
    draws[7, 0, 1] = torch.nan
    observed = torch.tensor([[1.0, 1.0, torch.nan]])
    null = Null.from_draws("N1", observed, draws)
    assert null.p.isnan().tolist() == null.p_family.isnan().tolist() == [[False, True, True]]
    scores = head_scores(observed[None]).with_nulls(null)
    assert scores.above_null().tolist() == [[True, False, False]]
    others = Null.from_draws("N1", observed, draws, partial=True)
    assert others.p.isnan().tolist() == [[False, False, True]]
    assert others.p[0, :2].tolist() == pytest.approx([1 / 51, 1 / 50])


def test_a_head_must_beat_every_null() -> None:
    scores = head_scores()
    with pytest.raises(UsageError, match="no null was drawn"):
        scores.above_null()
    assert bool(scores.p.isnan().all()) and bool(scores.null_mean.isnan().all())
    easy = Null("N1", torch.zeros(3, 4), torch.full((3, 4), 0.001), torch.full((3, 4), 0.01))
    hard = Null("N2", torch.full((3, 4), 0.5), torch.full((3, 4), 0.2), torch.full((3, 4), 0.9))
    assert bool(scores.with_nulls(easy).above_null().all())
    both = scores.with_nulls(easy, hard)
    assert not bool(both.above_null().any())
    assert torch.equal(both.p, hard.p) and torch.equal(both.p_family, hard.p_family)
    assert torch.equal(both.null_mean, hard.mean)
    assert scores.nulls == ()  # frozen: a copy was made


# --- rankings ------------------------------------------------------------------------------------------------------

GRIDS = drawn.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([0.0, 0.5, 1.0, -1.0, math.nan]),
)


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(0, 100))
def test_a_ranking_removes_the_lowest_share_rounded_down(grid: np.ndarray, percent: int) -> None:
    ranking = Ranking("head", "importance", torch.from_numpy(grid))
    flat = grid.flatten()
    expected = sorted((i for i in range(flat.size) if not math.isnan(flat[i])), key=lambda i: (flat[i], i))
    assert ranking.order.tolist() == expected
    if not expected:
        with pytest.raises(UsageError, match=r"no head has a score in the order 'importance'.*nothing to remove"):
            ranking.mask(percent)
        return
    count = percent * len(expected) // 100
    assert ranking.removed(percent) == count
    mask = ranking.mask(percent)
    assert isinstance(mask, HeadMask)
    assert [layer * grid.shape[1] + head for layer, head in mask.removed()] == sorted(expected[:count])


def test_percentages_that_floats_almost_reach() -> None:
    """floor(p n / 100), not one less: .29 * 100 is 28.999999999999996."""
    ranking = Ranking("ffn", "importance", torch.arange(100.0))
    assert [ranking.removed(p) for p in (29, 57, 58, 0.5, 99.999)] == [29, 57, 58, 0, 99]
    assert isinstance(ranking.mask(29), FFNMask)
    for percent in (-1, 101, math.nan):
        with pytest.raises(UsageError, match="percent must lie between 0 and 100"):
            ranking.removed(percent)


def test_infinite_scores_keep_their_place() -> None:
    ranking = Ranking("ffn", "importance", torch.tensor([math.inf, 0.0, math.nan, -math.inf]))
    assert ranking.order.tolist() == [3, 1, 0]
