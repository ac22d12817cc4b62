"""Draws of the nulls have the mean and the spread they should have; classes follow from scores and nulls."""

from __future__ import annotations

import string

import numpy as np
import pytest
import torch
from jaxtyping import config
from transformers import LlamaConfig, LlamaForCausalLM

import induction
import interp
from induction import InductionHeads, induction_heads
from induction.copying import Copying
from induction.null import N1, N2, recombined, recombined_null, values_per_sequence, wrong_token_null
from induction.reading import read
from induction.scoring import induction_scores
from induction.sequences import repeated_sequences, unrepeated_twin
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores, Null
from tests.induction import tiny
from tests.induction.tokenizers import opt_like, pair_merges
from tests.interp.families import build

DRAWS = 2000


@pytest.mark.parametrize("sequences", [5, 20, 100, 400])
def test_shared_draws_are_like_plain_ones(sequences: int) -> None:
    """n sequences, each with a mean and a spread of its own and skewed values; plain: B fresh values of every one."""
    generator = torch.Generator().manual_seed(sequences)
    centre = torch.rand(sequences, 1, 1, 1, generator=generator)
    spread = 0.5 + torch.rand(sequences, 1, 4, 1, generator=generator)

    def values(count: int) -> torch.Tensor:
        uniform = torch.rand(sequences, 1, 4, count, generator=generator)
        return centre - spread * uniform.clamp_min(1e-9).log()  # exponential

    plain = values(20000).mean(0).squeeze()  # head draw
    few = values_per_sequence(sequences, DRAWS)
    found = torch.stack([recombined(values(few), draws=DRAWS, seed=n) for n in range(40)]).squeeze()  # run draw head
    mean, sd = found.mean((0, 1)), found.var(1).mean(0).sqrt()
    assert few * sequences <= DRAWS + sequences
    torch.testing.assert_close(mean, plain.mean(1).double(), rtol=0.05, atol=0)
    torch.testing.assert_close(sd, plain.std(1).double(), rtol=0.05, atol=0)
    one = found.mean(1)  # a run's null mean is off by sd * sqrt(n / B) at most
    assert ((one.std(0) / sd) < 1.5 * (sequences / DRAWS) ** 0.5 + 0.05).all()


def test_a_known_mean_takes_the_place_of_the_drawn_one() -> None:
    values = torch.rand(5, 2, 3, 4, generator=torch.Generator().manual_seed(3))
    plain = recombined(values, draws=4000, seed=1)
    moved = recombined(values, expected=values.mean(-1) + 1, draws=4000, seed=1)
    torch.testing.assert_close(moved, plain + 1)


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "gpt_oss"])
def test_what_copying_is_on_average_when_tokens_are_drawn(family: str) -> None:
    model = tiny.model(family)
    reader = Copying(model, attended=True, null_values=4000, attended_values=4000)
    read(model, tiny.unrepeated(model), [reader])
    for name in ("argmax", "attended"):
        drawn, expected = reader.items(f"{name}_null"), reader.items(f"{name}_expected")
        error = drawn.std(-1) / 4000**0.5
        assert ((drawn.mean(-1) - expected).abs() < 4.5 * error + 1e-6).all()


def test_a_draw_is_the_same_for_all_heads() -> None:
    """The maximum over heads needs it: two equal heads have equal draws."""
    values = torch.rand(6, 1, 1, 30, generator=torch.Generator().manual_seed(0)).expand(6, 1, 2, 30)
    found = recombined(values, draws=50, seed=0)
    assert torch.equal(found[..., 0], found[..., 1]) and found[:, 0, 0].unique().numel() > 40
    null = recombined_null(torch.full((1, 2), 0.5), values, draws=50)
    torch.testing.assert_close(null.p, null.p_family)


def test_wrong_tokens_are_drawn_uniformly_and_alone_for_each_sequence() -> None:
    tables = [torch.arange(4.0).view(4, 1, 1) + 10 * n for n in range(3)]
    every = wrong_token_null(torch.full((1, 1), 12.8), tables, draws=64, seed=1)
    assert every is not None and every.mean.item() == pytest.approx(11.5), "each way to pick once"
    # Three numbers on 0..3, spread by the root of 5/3, are at least 12.8 on average where they sum to 8 or 9.
    assert every.p.item() == pytest.approx(5 / 65)
    long = [torch.arange(40.0).view(40, 1, 1) + 10 * n for n in range(3)]
    null = wrong_token_null(torch.full((1, 1), 45.0), long, draws=20000, seed=1)
    assert null is not None and null.mean.item() == pytest.approx(29.5, abs=0.3)
    sums = np.add.outer(np.add.outer(np.arange(40.0), np.arange(40.0)), np.arange(40.0)) / 3 - 19.5
    exact = float((29.5 + sums * (41 / 39) ** 0.5 >= 45.0).mean())
    assert null.p.item() == pytest.approx(exact, rel=0.2)
    assert wrong_token_null(torch.zeros(1, 1), [torch.zeros(0, 1, 1)], draws=9) is None


@pytest.fixture(scope="module")
def long() -> HookedModel:
    """A tiny Llama with 1,296 merges and a context of 900."""
    tokenizer = opt_like(pair_merges(string.ascii_letters[:36]))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=900,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    torch.manual_seed(0)
    return interp.load_model(LlamaForCausalLM(config), tokenizer=tokenizer, check=False)


@pytest.mark.parametrize("protocol", ["quick", "paper"])
def test_the_twins_are_the_protocols_own_sequences(long: HookedModel, protocol: str) -> None:
    options = {"protocol": protocol, "sequences": 6, "seed": 3}
    repeated = repeated_sequences(long, **options)  # type: ignore[arg-type]
    twins, own = unrepeated_twin(long, repeated), repeated_sequences(long, repeats=1, **options)  # type: ignore[arg-type]
    assert twins.repeats == own.repeats == 1 and twins.lengths == own.lengths == repeated.lengths
    for twin, mine, group in zip(twins, own, repeated, strict=True):
        assert torch.equal(twin.tokens, mine.tokens) and twin.tokens.shape == group.tokens.shape
        assert twin.indices == group.indices
    first = [group.tokens[0, 1:20].tolist() for group in twins]
    assert all(one != other for n, one in enumerate(first) for other in first[:n])


def test_twins_of_other_lengths_and_too_few_candidates(long: HookedModel) -> None:
    (twin,) = unrepeated_twin(long, repeated_sequences(long, length=9, repeats=3, sequences=2))
    assert twin.tokens.shape == (2, 28) and all(len(row.unique()) == 28 for row in twin.tokens)
    model = tiny.model("gpt_neox")
    repeated = tiny.sequences(model, length=20, repeats=3, candidates=None)
    few = induction.repeated_sequences(
        model, length=20, repeats=3, candidates=induction.Candidates(repeated.candidates.ids[:30], "counts", 30)
    )
    with pytest.raises(UsageError, match="needs 60 distinct tokens, but only 30"):
        unrepeated_twin(model, few)


def test_scores_of_the_papers_lengths_have_nulls(long: HookedModel) -> None:
    repeated = repeated_sequences(long, protocol="paper", sequences=4)
    found = induction.induction_scores(long, repeated, draws=30)
    for scores in found.scores:
        assert scores.mean.isfinite().all() and scores.n in (1, 4)
    assert {len(scores.nulls) for scores in found.scores} == {0, 1, 2}
    chance = np.mean([np.mean([1 / i for i in range(2, 4 * length + 1)]) for length in (25, 27, 29, 31)])
    assert found.get("copying", "argmax").provenance["chance"] == pytest.approx(chance)


@pytest.mark.parametrize("draws", [-1, 2.5, True])
def test_draws_are_0_or_more(monkeypatch: pytest.MonkeyPatch, draws: object) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    model = tiny.model("llama")
    repeated, plain = tiny.sequences(model), tiny.unrepeated(model)
    for score, given in (
        (induction.prefix_matching_score, repeated),
        (induction.duplicate_token_score, repeated),
        (induction.previous_token_score, plain),
        (induction.copying_score, plain),
        (induction.induction_scores, repeated),
    ):
        with pytest.raises(UsageError, match="draws"):
            score(model, given, draws=draws)  # type: ignore[operator]


def scored(mean: list[float], p: list[float], *, signed: bool = False, null_mean: float = 0.0) -> HeadScores:
    values, alone = torch.tensor([mean]).float(), torch.tensor([p]).float()
    names = [N1] if signed else [N1, N2]
    nulls = [Null(name, torch.full_like(values, null_mean), alone, alone) for name in names]
    name, variant = ("copying", "signed") if signed else ("prefix_matching", "")
    scores = HeadScores.from_items(name, values[None].expand(3, -1, -1), variant=variant)
    return scores.with_nulls(*nulls)


def test_classes_need_both_a_score_and_a_null() -> None:
    prefix = scored([0.399, 0.4, 0.9, 0.9, 0.65, 0.9, 0.25], [0.001, 0.05, 0.051, 0.001, 0.001, 0.001, 0.001])
    signed = scored([9, 3, 9, -3, 1, -1, 9], [0.001, 0.04, 0.001, 0.04, 0.06, 0.001, 0.001], signed=True, null_mean=-2)
    found = induction_heads(prefix, signed)
    assert found.classes[0].tolist() == ["", "copying", "", "anti-copying", "matching only", "copying", ""]
    assert found.heads == [(0, 1), (0, 3), (0, 4), (0, 5)]
    assert found.sweep == {0.2: 6, 0.3: 5, 0.4: 4, 0.5: 3, 0.6: 3}
    assert isinstance(found, InductionHeads) and found.threshold == 0.4
    assert induction_heads(prefix, signed, threshold=0.7).heads == [(0, 3), (0, 5)]
    assert set(induction_heads(prefix).classes[0]) == {"", "matching only"}


def test_classes_of_other_scores_are_refused() -> None:
    prefix, signed = scored([0.5], [0.01]), scored([0.5], [0.01], signed=True)
    alone = HeadScores.from_items("prefix_matching", torch.rand(3, 1, 1))
    other = HeadScores.from_items("prefix_matching", torch.rand(3, 1, 1), variant="olsson")
    for wrong in ((signed, signed), (prefix, prefix), (other, signed), (prefix, scored([1, 2], [0, 0], signed=True))):
        with pytest.raises(UsageError):
            induction_heads(*wrong)
    with pytest.raises(UsageError, match=r"N1 wrong token', 'N2 position only'\] are missing"):
        induction_heads(alone, signed)
    with pytest.raises(UsageError, match="N2 position only"):
        induction_heads(alone.with_nulls(prefix.nulls[0]), signed)
    with pytest.raises(UsageError, match="N1"):
        induction_heads(prefix, HeadScores.from_items("copying", torch.rand(3, 1, 1), variant="signed"))


def test_few_wrong_tokens_give_no_surer_p_than_many() -> None:
    """Heads whose values are all alike: above null in 5% of studies, however short the block is."""
    generator = torch.Generator().manual_seed(3)
    for shifts in (2, 3, 8, 48):
        values = torch.randn(20, shifts + 1, 40, 50, generator=generator)  # item, own and others, layer, head
        null = wrong_token_null(values[:, 0].mean(0), list(values[:, 1:]), draws=500, seed=0)
        assert null is not None
        low = float((null.p <= 0.05).double().mean())
        assert low == pytest.approx(0.05, abs=0.02), shifts
    one = wrong_token_null(torch.ones(1, 1), [torch.zeros(1, 1, 1)] * 20)
    assert one is not None and one.p.item() == 0.5, "a block with a single wrong token can show nothing"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_attention_that_sees_all_keys_alike_is_above_no_null(family: str) -> None:
    """Early queries see few keys, and more of each; what float32 rounds away is a tie."""
    hf = build(family)
    for name, weight in hf.named_parameters():
        if "q_proj" in name or "c_attn" in name:
            weight.data[..., : hf.config.hidden_size] = 0
    model = interp.load_model(hf, check=False)
    found = induction_scores(model, repeated_sequences(model, length=15, counts="uniform", sequences=4))
    for name in ("prefix_matching", "previous_token", "duplicate_token"):
        score = found.get(name)
        assert len(score.nulls) >= 1 and not score.above_null().any(), name
        for null in score.nulls:
            torch.testing.assert_close(null.mean, score.mean, rtol=1e-4, atol=0)
            assert null.p_family.min() > 0.05, (name, null.name)
