"""Attention on position 0 equals whole matrices and closed forms (Method 2.9)."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

import induction
import interp
from induction import dormant_heads, natural_prompts, sink_score
from induction.texts import sentences
from interp.errors import UsageError
from interp.scores import HeadScores
from tests.induction import handmade, oracle, tiny, worded
from tests.interp import families


@pytest.mark.parametrize("family", list(oracle.FAMILIES))
def test_the_sink_is_the_first_column_of_whole_matrices(family: str) -> None:
    model, hf, parts = tiny.model(family), families.build(family), oracle.FAMILIES[family]
    repeated = tiny.sequences(model)
    attention = oracle.watch(hf, parts, repeated.tokens).attention
    wanted = [
        [[np.mean([matrix[i, 0] for i in range(1, len(matrix))]) for matrix in layer[item]] for layer in attention]
        for item in range(2)
    ]
    np.testing.assert_allclose(sink_score(model, repeated).per_item.numpy(), wanted, rtol=0, atol=1e-5)
    assert np.std(wanted) > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_texts_of_several_lengths(family: str) -> None:
    """Each text as the tokenizer gives it, its own length, in the order they came in."""
    model, hf, parts = worded.model(family), worded.build(family), oracle.FAMILIES[family]
    texts = ["A short one.", "A longer one, that goes on.", "One as short"]
    found = sink_score(model, natural_prompts(model, texts=texts), token_budget=40)
    assert (found.name, found.variant, found.n) == ("sink", "natural", 3)
    for item, text in enumerate(texts):
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
        attention = oracle.watch(hf, parts, tokens).attention
        wanted = [matrix[0][:, 1:, 0].mean(-1) for matrix in attention]
        np.testing.assert_allclose(found.per_item[item].numpy(), wanted, rtol=0, atol=1e-5)


def test_heads_that_rest_and_heads_that_do_not() -> None:
    """Without copies every head of layer 1 rests; with copies it looks at them, but for the first of four blocks."""
    model = handmade.model()
    other = induction.repeated_sequences(model, length=60, repeats=1, sequences=2)
    repeated = induction.repeated_sequences(model, length=15, repeats=4, sequences=2)
    alone, copied = sink_score(model, other), sink_score(model, repeated)
    assert alone.mean[1, :3].tolist() == pytest.approx([1] * 3, abs=1e-4)
    assert copied.mean[1, :3].tolist() == pytest.approx([15 / 60] * 3, abs=1e-4)
    uniform = np.mean([1 / (i + 1) for i in range(1, 61)])
    assert [float(scores.mean[0, 1]) for scores in (alone, copied)] == pytest.approx([uniform] * 2, rel=1e-5)
    assert copied.mean[0, 0] == pytest.approx(1 / 60, abs=1e-4)  # the previous token, which is position 0 once


def test_dormant_is_above_nine_tenths_on_both() -> None:
    def score(variant: str, values: list[float]) -> HeadScores:
        return HeadScores.from_items("sink", torch.tensor([[values]] * 3), variant=variant)

    random = score("", [0.95, 0.95, 0.5, torch.nan, 0.9])
    natural = score("natural", [0.95, 0.5, 0.95, torch.nan, 0.95])
    assert dormant_heads(random, natural).tolist() == [[True, False, False, False, False]]
    assert dormant_heads(random, natural, threshold=0.4).tolist() == [[True, True, True, False, True]]
    with pytest.raises(UsageError, match="on random sequences and on natural prompts"):
        dormant_heads(natural, random)


def test_induction_scores_hold_both_in_the_same_passes() -> None:
    model = worded.model("llama")
    repeated = induction.repeated_sequences(model, length=7, repeats=3, sequences=3)
    natural = natural_prompts(model, length=20, prompts=4)
    told: list[tuple[int, int]] = []
    options = {"natural": natural, "draws": 20, "token_budget": 50}
    found = induction.induction_scores(
        model, repeated, progress=lambda done, total: told.append((done, total)), **options
    )
    for variant, alone in (("", sink_score(model, repeated)), ("natural", sink_score(model, natural))):
        torch.testing.assert_close(found.get("sink", variant).per_item, alone.per_item, rtol=0, atol=1e-6)
    assert told[-1] == (2 * 3 * 22 + 4 * 20,) * 2 and [done for done, _ in told] == sorted(done for done, _ in told)
    assert not found.get("sink").nulls
    names = {(scores.name, scores.variant) for scores in induction.induction_scores(model, repeated, draws=20).scores}
    assert ("sink", "") in names and ("sink", "natural") not in names


def test_built_in_prompts_are_sentences_and_their_own() -> None:
    model = worded.model("llama")
    drawn = natural_prompts(model, length=50, prompts=5)
    (group,) = drawn
    assert group.tokens.shape == (5, 50) and drawn.source == "built-in" and len(drawn) == 5
    text = model.tokenizer.decode(group.tokens[0].tolist(), skip_special_tokens=True)
    assert next(sentences("0/0")).startswith(text[:30])
    assert len({tuple(row) for row in group.tokens.tolist()}) == 5
    assert torch.equal(group.tokens[:3], next(iter(natural_prompts(model, length=50, prompts=3))).tokens)
    assert not torch.equal(group.tokens, next(iter(natural_prompts(model, length=50, prompts=5, seed=1))).tokens)
    assert next(iter(natural_prompts(model, length=9999, prompts=1))).tokens.shape == (1, worded.POSITIONS)
    every = list(islice(sentences(), 5000))
    assert len(set(every)) == 5000  # of draws that nothing keeps apart, about 130 would come twice


def test_what_is_no_prompt_is_refused() -> None:
    model = worded.model("llama")
    without = interp.load_model(worded.build("llama"), check=False)
    for refused, options, sentence in (
        (without, {}, "natural prompts must be turned into tokens, and this model has no tokenizer"),
        (model, {"texts": ["Two tokens.", ""]}, "two tokens or more; '' has fewer"),
        (model, {"texts": []}, "no text was given"),
        (model, {"length": 1}, "length=1"),
        (model, {"prompts": 0}, "prompts=0"),
    ):
        with pytest.raises(UsageError, match=sentence):
            natural_prompts(refused, **options)
