"""Differences of loss on texts and on repeated tokens, against the definition (Method 2.6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import interp
from induction import in_context_learning_score
from interp.errors import UsageError
from interp.model import HookedModel
from tests.induction import tiny
from tests.interp.families import VOCAB


@pytest.fixture(scope="module")
def model() -> HookedModel:
    """A tiny Llama with a context of 600."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        max_position_embeddings=600,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    return interp.load_model(LlamaForCausalLM(config), tokenizer=tiny.tokenizer(), check=False)


def text(tokens: int, seed: int) -> str:
    """Words of one token each."""
    pool = tiny.tokenizer().convert_ids_to_tokens(list(range(12, VOCAB - 4)))
    return "".join(np.random.default_rng(seed).choice(pool, tokens))


def loss(model: HookedModel, tokens: torch.Tensor, position: int) -> float:
    """Of the token at this position, from the context before it."""
    return -torch.log_softmax(model(tokens[None, :position])[0, -1].double(), -1)[tokens[position]].item()


def test_natural_text(model: HookedModel) -> None:
    texts = [text(800, 1), text(100, 2), text(900, 3)]
    found = in_context_learning_score(model, texts=texts)
    wanted = []
    for each in (texts[0], texts[2]):
        tokens = torch.tensor(model.tokenizer(each)["input_ids"])
        late = np.mean([loss(model, tokens, t) for t in range(490, 511)])
        wanted.append(late - np.mean([loss(model, tokens, t) for t in range(40, 61)]))
    np.testing.assert_allclose(found.per_text.numpy(), wanted, rtol=0, atol=1e-5)
    assert found.natural == pytest.approx(np.mean(wanted), abs=1e-5)
    assert found.skipped == "1 texts have fewer than 512 tokens" and np.isnan(found.repeat)


def test_repeated_tokens(model: HookedModel) -> None:
    repeated = tiny.sequences(model, length=6, repeats=3, sequences=3)
    found = in_context_learning_score(model, repeated, token_budget=40)
    wanted = []
    for tokens in repeated.tokens:
        losses = {t: loss(model, tokens, t) for t in range(1, 19)}
        # position 7 is the first token of repeat 2: nobody can know it
        wanted.append(np.mean([losses[t] for t in range(8, 19)]) - np.mean([losses[t] for t in range(1, 7)]))
    np.testing.assert_allclose(found.per_sequence.numpy(), wanted, rtol=0, atol=1e-5)
    assert found.repeat == pytest.approx(np.mean(wanted), abs=1e-5)


def test_a_killed_run_goes_on_from_its_units(model: HookedModel) -> None:
    repeated, units, told = tiny.sequences(model, length=6, repeats=3, sequences=5), tiny.Kept(), []
    units.limit = 2
    with pytest.raises(KeyboardInterrupt):
        in_context_learning_score(model, repeated, token_budget=40, units=units)
    units.limit = 3
    runs: list[int] = []
    with model.edit("resid_pre", lambda value: runs.append(len(value)), layer=0):
        found = in_context_learning_score(
            model, repeated, token_budget=40, units=units, progress=lambda done, total: told.append((done, total))
        )
    assert runs == [1] and told == [(38, 95), (76, 95), (95, 95)]
    whole = in_context_learning_score(model, repeated, token_budget=40)
    assert torch.equal(found.per_sequence, whole.per_sequence)


def test_what_can_not_be_measured_is_said(model: HookedModel) -> None:
    short = tiny.model("llama")
    assert "context of 64 tokens is under 512" in in_context_learning_score(short, texts=[text(600, 1)]).skipped
    assert "none of the 1 texts" in in_context_learning_score(model, texts=[text(30, 1)]).skipped
    with pytest.raises(UsageError, match="nothing to measure"):
        in_context_learning_score(model)
    with pytest.raises(UsageError, match="needs repeated sequences"):
        in_context_learning_score(short, tiny.unrepeated(short))
