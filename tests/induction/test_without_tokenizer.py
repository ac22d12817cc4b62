"""A toy that was trained on integers has no tokenizer: token counts take its place, and what needs text says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import induction
import interp
from interp.errors import UsageError
from interp.model import HookedModel
from tests.induction import tiny
from tests.induction.tokenizers import word_level
from tests.interp import families, saved

VOCAB = 64


@pytest.fixture(scope="module")
def toy() -> HookedModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCAB, n_layer=2, n_head=4, n_embd=32, n_positions=64, initializer_range=0.3)
    return interp.load_model(GPT2LMHeadModel(config), check=False)


@pytest.mark.parametrize(
    "call", [induction.repeated_sequences, induction.ov_copying_score], ids=lambda call: call.__name__
)
def test_without_counts_a_sentence_says_what_to_give(toy: HookedModel, call: Callable[[HookedModel], object]) -> None:
    with pytest.raises(UsageError, match=r"without a tokenizer.*give counts=\{token id.*counts='uniform'"):
        call(toy)


def test_texts_need_a_tokenizer(toy: HookedModel) -> None:
    with pytest.raises(UsageError, match="texts need a tokenizer, and this model has none"):
        induction.in_context_learning_score(toy, texts=["a b c"])


def test_a_text_of_ones_own_needs_a_tokenizer(toy: HookedModel) -> None:
    for call in (lambda: toy.attention_view("a b c", 0), lambda: toy("a b c"), lambda: toy.generate("a b c")):
        with pytest.raises(UsageError, match="the text 'a b c' must be turned into tokens, and this model has no tok"):
            call()


def test_attention_on_ids_shows_them_as_numbers(toy: HookedModel) -> None:
    ids = [5, 7, 60, 5]
    views = [toy.attention_view(given, 1) for given in (ids, torch.tensor(ids), torch.tensor([ids]))]
    assert {view.tokens for view in views} == {("5", "7", "60", "5")}
    _, cache = toy.run_with_cache(torch.tensor([ids]), ["pattern"])
    for view in views:
        torch.testing.assert_close(torch.from_numpy(view.patterns), cache["pattern", 1][0])
    with pytest.raises(UsageError, match=r"one sequence of tokens is wanted.*got shape \(2, 2\)"):
        toy.attention_view(torch.tensor([[1, 2], [3, 4]]), 0)


def test_uniform_draws_from_all_ids_and_every_score_is_there(toy: HookedModel) -> None:
    repeated = induction.repeated_sequences(toy, length=8, counts="uniform", sequences=3)
    assert repeated.candidates.ids.tolist() == list(range(VOCAB)) and repeated.candidates.rule == "uniform"
    assert repeated.groups[0].front == "random"
    found = induction.induction_scores(toy, repeated, draws=30)
    assert not found.refused and {scores.n for scores in found.scores} == {1, 3}
    assert all(scores.mean.isfinite().all() for scores in found.scores)
    alone = induction.ov_copying_score(toy, counts="uniform")
    assert torch.equal(alone.mean, found.get("ov_copying").mean) and alone.provenance["tokens"] == VOCAB
    assert induction.in_context_learning_score(toy, repeated).per_sequence.shape == (3,)


def test_counts_by_id_and_as_a_tensor_are_the_same_ranking(toy: HookedModel) -> None:
    """Ids 1 to 50, the higher the more frequent; two go at each end."""
    by_id = {token: 2 * token for token in range(1, 51)} | {60: 0}
    tensor = torch.zeros(VOCAB).scatter(0, torch.tensor(list(by_id)), torch.tensor(list(map(float, by_id.values()))))
    for counts in (by_id, tensor, tensor.long()):
        drawn = induction.repeated_sequences(toy, length=8, counts=counts, sequences=1)
        assert drawn.candidates.ids.tolist() == list(range(48, 2, -1))
        assert (drawn.candidates.rule, drawn.candidates.ranked) == ("counts", 50)
    ties = induction.candidate_tokens(None, VOCAB, counts=dict.fromkeys((9, 3, 5), 1))
    assert ties.ids.tolist() == [3, 5, 9]


def test_control_ids_of_the_configuration_are_left_out() -> None:
    toy = interp.load_model(families.build("llama"), check=False)
    drawn = induction.repeated_sequences(toy, length=8, counts="uniform", sequences=1)
    assert toy.tokenizer is None and {1, 2}.isdisjoint(drawn.candidates.ids.tolist())
    assert len(drawn.candidates) == families.VOCAB - 2


def test_counts_serve_a_tokenizer_that_says_nothing_about_frequency() -> None:
    words = [a + b for a in "abcdefg" for b in "hijklmn"]
    model = interp.load_model(families.build("llama"), tokenizer=word_level(words), check=False)
    with pytest.raises(UsageError, match=r"WordLevel.*counts='uniform'"):
        induction.repeated_sequences(model)
    drawn = induction.repeated_sequences(model, length=8, counts="uniform", sequences=1)
    assert sorted(drawn.candidates.ids.tolist()) == list(range(3, 50))  # ids 1 and 2 are the configuration's


def test_unusable_counts_are_refused(toy: HookedModel) -> None:
    for counts, sentence in (
        ({VOCAB: 3, 1: 1}, r"outside this vocabulary's 0 to 63: \[64\]"),
        (torch.ones(VOCAB + 1), r"outside this vocabulary's 0 to 63: \[64\]"),
        ({5: 1}, "Of these 64 tokens 1 can be drawn"),
        ("equal", "counts is 'uniform', or how often.*'equal'"),
        ({}, "Of these 64 tokens 0 can be drawn"),
    ):
        with pytest.raises(UsageError, match=sentence):
            induction.repeated_sequences(toy, counts=counts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not both"):
        induction.repeated_sequences(toy, counts="uniform", candidates=tiny.CANDIDATES)


def test_a_tokenizer_that_turns_every_text_into_nothing_is_said(tmp_path: Path) -> None:
    """Transformers takes its Qwen 2 tokenizer for such a folder, whatever is saved there."""
    model = interp.load_model(saved.save(tmp_path / "model", "qwen2"), check=False)
    with pytest.raises(
        UsageError, match=r"\(Qwen2Tokenizer\) turns the texts of all 95 tokens .* into nothing"
    ) as refusal:
        induction.repeated_sequences(model, counts="uniform")
    assert "tokenizer=..." in str(refusal.value) and "counts=" not in str(refusal.value)


def test_a_bos_without_a_row_has_a_sentence_of_its_own() -> None:
    words = [a + b for a in "abcdefg" for b in "hijklmn"]
    tokenizer = word_level(words)
    tokenizer.add_special_tokens({"bos_token": tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)})
    last = tokenizer.bos_token_id
    hf = GPT2LMHeadModel(GPT2Config(vocab_size=last, n_layer=1, n_head=2, n_embd=8, n_positions=64))
    model = interp.load_model(hf, tokenizer=tokenizer, check=False)
    with pytest.raises(UsageError, match=rf"BOS \({last}\) has no row in this model, whose {last} tokens"):
        induction.repeated_sequences(model, length=6, counts="uniform")
