"""What holds for every score: batching, resuming, padding, groups, layers without heads, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import induction
from induction import InductionScores
from induction.copying import Copying
from induction.prefix_matching import PrefixMatching, Variant
from induction.reading import Reader, read
from induction.sequences import repeated_sequences
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from interp.model import HookedModel
from tests.induction import tiny
from tests.interp import families
from tests.interp.conftest import family_named

SEVERAL = pytest.mark.parametrize("family", ["gpt2", "gemma3", "bloom", "gpt_oss", "glm_moe_dsa"])


def score(model: HookedModel, **options: Any) -> InductionScores:
    return induction.induction_scores(model, tiny.sequences(model, sequences=5), draws=40, **options)


def check_same(one: InductionScores, other: InductionScores, *, exactly: bool) -> None:
    tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-4, "atol": 1e-5}
    for first, second in zip(one.scores, other.scores, strict=True):
        assert (first.name, first.variant, len(first.nulls)) == (second.name, second.variant, len(second.nulls))
        torch.testing.assert_close(first.per_item, second.per_item, equal_nan=True, **tolerance)
        torch.testing.assert_close(first.null_mean, second.null_mean, equal_nan=True, **tolerance)
        if exactly:
            torch.testing.assert_close(first.p_family, second.p_family, equal_nan=True, **tolerance)
            assert str(first.provenance) == str(second.provenance)
    assert (one.heads.classes == other.heads.classes).all()


@SEVERAL
def test_batches_do_not_matter(family: str) -> None:
    model = tiny.model(family)
    alone = score(model, token_budget=1)
    check_same(score(model), alone, exactly=False)
    check_same(score(model, token_budget=50), alone, exactly=False)


@pytest.mark.parametrize("family", ["gemma3", "gpt_neo", "glm_moe_dsa"])
@pytest.mark.parametrize("variant", ["", "olsson"])
def test_prefix_matching_is_a_loop_over_eager_patterns(family: str, variant: Variant) -> None:
    """Windows of 8 positions leave pairs out; what GLM-5's mask drops because of its content counts as 0."""
    found = family_named(family)
    repeated = repeated_sequences(found.model, length=7, sequences=4, candidates=tiny.CANDIDATES)
    (group,) = repeated
    mine = induction.prefix_matching_score(found.model, repeated, variant=variant, draws=0).per_item
    for layer, pattern in enumerate(found.patterns(group.tokens)):
        windowed = layer == {"gemma3": 0, "gpt_neo": 1}.get(family)
        total, queries, pairs = torch.zeros(4, 4), set(), 0
        for query, key in zip(*(part.tolist() for part in group.targets.prefix_pairs), strict=True):
            if windowed and query - key >= 8:
                continue
            total, pairs = total + pattern[:, :, query, key], pairs + 1
            queries.add(query)
        torch.testing.assert_close(mine[:, layer], total / (pairs if variant else len(queries)), rtol=0, atol=1e-6)


@SEVERAL
def test_a_killed_run_goes_on_from_its_units(family: str) -> None:
    model, units, heard = tiny.model(family), tiny.Kept(), []
    whole = score(model, token_budget=50, units=units)
    assert len(units) == 6  # three batches of repeated sequences, three of others
    fresh = tiny.Kept()
    fresh.limit = 4
    with pytest.raises(KeyboardInterrupt):
        score(model, token_budget=50, units=fresh)
    fresh.limit = 6
    with model.edit("resid_pre", lambda value: heard.append(len(value)), layer=0):
        resumed = score(model, token_budget=50, units=fresh)
        assert heard[:2] == [2, 1]  # sequences of the last two batches; behind them the OV score's pairs of tokens
        stored = score(model, token_budget=50, units=units)
    check_same(resumed, whole, exactly=True)
    check_same(stored, whole, exactly=True)


def test_units_of_other_settings_are_not_taken() -> None:
    model, units = tiny.model("llama"), tiny.Kept()
    other = tiny.unrepeated(model)
    for options in ({}, {"attended": True}, {"null_values": 3}, {"null_values": 3, "seed": 1}, {"attended_values": 2}):
        read(model, other, [Copying(model, **options)], units=units)
    assert len(units) == 5
    repeated, units = tiny.sequences(model), tiny.Kept()
    read(model, repeated, [PrefixMatching(model)], units=units)
    read(model, repeated, [PrefixMatching(model, like=repeated)], units=units)
    assert len(units) == 2


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3", "opt"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(family: str, side: str) -> None:
    model = tiny.model(family)
    repeated = tiny.sequences(model)
    wanted = induction.prefix_matching_score(model, repeated, draws=0).per_item
    (group,) = repeated
    pad = (5, 0) if side == "left" else (0, 5)
    tokens = torch.nn.functional.pad(group.tokens, pad, value=3)
    mask = torch.nn.functional.pad(torch.ones_like(group.tokens), pad)
    queries, keys = (part + pad[0] for part in group.targets.prefix_pairs)
    found = torch.zeros_like(wanted)

    def hear(layer: int, rows: Any) -> None:
        reach = rows.reachable(queries, keys)
        found[:, layer] = rows.at(queries[reach], keys[reach]).sum(-1) / len(queries[reach].unique())

    with torch.no_grad(), model.watch_attention(hear):
        model.run(tokens, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_a_group_of_heads_counts_as_its_best() -> None:
    scores = induction.prefix_matching_score(tiny.model("llama"), tiny.sequences(tiny.model("llama")), draws=0)
    groups = scores.kv_group_max()
    assert groups.shape == (2, 2)
    for layer, group in np.ndindex(2, 2):
        assert groups[layer, group] == max(scores.mean[layer, 2 * group], scores.mean[layer, 2 * group + 1])
    alone = induction.prefix_matching_score(tiny.model("gpt2"), tiny.sequences(tiny.model("gpt2")), draws=0)
    assert torch.equal(alone.kv_group_max(), alone.mean)


@pytest.mark.parametrize("family", ["qwen3_next", "lfm2"])
def test_layers_without_heads_are_nan(family: str) -> None:
    model = tiny.model(family)
    absent = sorted({0, 1} - set(model.attention_layers))
    for scores in score(model).scores:
        assert scores.mean[absent].isnan().all() and scores.mean[list(model.attention_layers)].isfinite().all()
        if scores.nulls:
            assert scores.p[absent].isnan().all() and scores.p_family[list(model.attention_layers)].isfinite().all()
        assert {head.layer for head in scores.top(8)} == set(model.attention_layers)


def test_what_a_window_does_not_reach_is_left_out_and_told() -> None:
    """Gemma 3's first layer sees eight positions: look-back targets of blocks of ten are out of reach."""
    model = tiny.model("gemma3")
    near, far = tiny.sequences(model, length=7), tiny.sequences(model, length=10)
    found = induction.prefix_matching_score(model, near, draws=50)
    assert found.provenance["reachable share of pairs by layer"].tolist() == pytest.approx([2 / 3, 1])
    assert found.mean.isfinite().all() and found.p.isfinite().all()
    found = induction.prefix_matching_score(model, far, draws=50)
    assert found.provenance["reachable share of pairs by layer"].tolist() == [0, 1]
    assert found.mean[0].isnan().all() and found.mean[1].isfinite().all()
    assert found.p[0].isnan().all() and found.p_family[1].isfinite().all()
    assert induction.duplicate_token_score(model, far, draws=0).mean[0].tolist() == [0] * 4


def test_sequences_that_a_window_does_not_reach_leave_the_mean_and_the_nulls() -> None:
    """Two blocks of seven, which the first layer reaches in part, and two of ten, which it does not."""
    model = tiny.model("gemma3")
    near, far = tiny.sequences(model, length=7), tiny.sequences(model, length=10)
    (short,), (long,) = near, far
    both = replace(near, groups=(short, replace(long, indices=(2, 3))))
    alone, mixed = (induction.prefix_matching_score(model, one, draws=400) for one in (near, both))
    assert mixed.provenance["sequences in reach by layer"].tolist() == [2, 4]
    for name in ("mean", "std", "ci_low", "ci_high"):
        assert getattr(mixed, name).isfinite().all()
    torch.testing.assert_close(mixed.mean[0], alone.mean[0])
    torch.testing.assert_close(mixed.std[0], alone.std[0])
    torch.testing.assert_close(mixed.mean[1], mixed.per_item[:, 1].mean(0))
    assert mixed.p_family.isfinite().all()
    for null, other in zip(mixed.nulls, alone.nulls, strict=True):
        torch.testing.assert_close(null.mean[0], other.mean[0], rtol=0.1, atol=0.01)


def test_where_every_layer_reaches_back_nothing_is_told() -> None:
    near = tiny.sequences(tiny.model("llama"), length=7)
    assert not induction.prefix_matching_score(tiny.model("llama"), near, draws=0).provenance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = families.load("llama", tokenizer=tiny.tokenizer(), dtype=dtype)
    wanted, found = score(tiny.model("llama")), score(model)
    for one, other in zip(wanted.scores, found.scores, strict=True):
        assert other.mean.dtype == torch.float32
        atol = 1e-5 if dtype == torch.float64 else 0.2
        torch.testing.assert_close(one.mean, other.mean, rtol=1e-4, atol=atol)


def test_progress_counts_every_token_once() -> None:
    model, told = tiny.model("llama"), []
    score(model, token_budget=50, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == [44, 88, 110, 154, 198, 220] and {total for _, total in told} == {220}


def test_each_function_scores_as_the_whole_does() -> None:
    model = tiny.model("llama")
    repeated, whole = tiny.sequences(model, sequences=5), score(model)
    other = induction.sequences.unrepeated_twin(model, repeated)
    calls = {
        ("prefix_matching", ""): induction.prefix_matching_score(model, repeated, draws=40),
        ("prefix_matching", "olsson"): induction.prefix_matching_score(model, repeated, variant="olsson", draws=40),
        ("previous_token", ""): induction.previous_token_score(model, repeated, draws=40),
        ("duplicate_token", ""): induction.duplicate_token_score(model, repeated, draws=40),
        ("copying", "argmax"): induction.copying_score(model, other, draws=40),
        ("copying", "attended"): induction.copying_score(model, other, "attended", draws=40),
        ("copying", "successor"): induction.copying_score(model, repeated, "successor", draws=40),
        ("copying", "signed"): induction.copying_score(model, repeated, "signed", draws=40),
    }
    for (name, variant), alone in calls.items():
        together = whole.get(name, variant)
        torch.testing.assert_close(alone.per_item, together.per_item, rtol=0, atol=1e-6)
        assert [null.name for null in alone.nulls] == [null.name for null in together.nulls]
        torch.testing.assert_close(alone.p, together.p)
        assert alone.n_kv_heads == 2 and alone.n == 5
    with pytest.raises(UsageError, match="there is no score"):
        whole.get("prefix_matching", "other")


def test_the_wrong_kind_of_sequences_is_refused() -> None:
    model = tiny.model("llama")
    repeated, other = tiny.sequences(model), tiny.unrepeated(model)
    for variant in ("argmax", "attended"):
        with pytest.raises(UsageError, match="without repeats"):
            induction.copying_score(model, repeated, variant)
    for variant in ("successor", "signed"):
        with pytest.raises(UsageError, match="need repeated sequences"):
            induction.copying_score(model, other, variant)
    for refusing in (induction.prefix_matching_score, induction.duplicate_token_score):
        with pytest.raises(UsageError, match="need repeated sequences"):
            refusing(model, other)
    with pytest.raises(UsageError, match="length=1"):
        tiny.sequences(model, length=1)
    with pytest.raises(UsageError, match="a block of 2 tokens"):
        induction.induction_scores(model, tiny.sequences(model, length=2))
    with pytest.raises(UsageError, match="as long as the repeated ones"):
        induction.induction_scores(model, repeated, tiny.unrepeated(model, length=30))
    with pytest.raises(UsageError, match="with fewer than 19 draws"):
        induction.induction_scores(model, repeated, draws=18)
    released = tiny.model("gpt2")
    with pytest.raises(UsageError, match="without repeats"):
        induction.copying_score(released, tiny.sequences(released), "bansal_released")
    with pytest.raises(UsageError, match="needs repeated sequences"):
        induction.prefix_matching_score(released, tiny.unrepeated(released), variant="bansal_released")


def test_blocks_of_two_tokens_have_no_wrong_token() -> None:
    model = tiny.model("llama")
    short = tiny.sequences(model, length=2)
    assert [null.name for null in induction.prefix_matching_score(model, short).nulls] == ["N2 position only"]
    assert induction.copying_score(model, short, "signed").nulls == ()
    assert induction.previous_token_score(model, short).nulls == ()


@pytest.mark.parametrize("family", ["opt-350m", "gpt1"])
def test_post_norm_models_have_no_direct_path(family: str) -> None:
    model = tiny.model(family)
    with pytest.raises(RefusedModelError, match="post-LN"):
        induction.copying_score(model, tiny.unrepeated(model))
    with pytest.raises(RefusedModelError, match="post-LN"):
        induction.copying_score(model, tiny.sequences(model), "signed")
    with pytest.raises(RefusedModelError, match="post-LN"):
        induction.ov_copying_score(model)
    found = score(model)
    assert set(found.refused) == {"copying", "ov_copying", "ov_copying raw"}
    reading = {"prefix_matching", "previous_token", "duplicate_token", "sink"}
    assert {scores.name for scores in found.scores} == reading


def test_attention_that_is_no_probability_is_noticed() -> None:
    class Broken(Reader):
        def attention(self, layer: int, rows: Any) -> None:
            from induction.reading import probabilities

            wrong = type(rows)(rows.q, rows.k, rows.lse - 5, rows.scale, rows.mask, rows.softcap)
            probabilities(wrong, torch.tensor([1, 2]), torch.tensor([0, 1]))

    model = tiny.model("llama")
    with pytest.raises(HeadscopeError, match=r"outside \[0, 1\]"):
        read(model, tiny.sequences(model), [Broken(model)])
