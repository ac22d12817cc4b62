"""A model in training mode with dropout is read by nothing; without dropout, or out of that mode, by everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import induction
import interp
from ablation.attribution import direct_attribution
from ablation.engine.likelihood import log_likelihoods
from ablation.importance import importance
from ablation.knock_out import knock_out
from ablation.patching import patch
from induction.sequences import drawn_from
from interp import hooks
from interp.errors import UsageError
from interp.model import HookedModel
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import build

TOKENS = torch.tensor([[3, 4, 5, 6]])
USES: dict[str, Callable[[HookedModel], Any]] = {
    "run": lambda model: model(TOKENS),
    "capture": lambda model: captured(model),
    "gates": lambda model: gated(model),
    "cache": lambda model: model.run_with_cache(TOKENS, ["z"]),
    "scores": lambda model: induction.prefix_matching_score(
        model, induction.repeated_sequences(model, length=8, sequences=2, candidates=drawn_from(model, None, "uniform"))
    ),
    "likelihoods": lambda model: log_likelihoods(model, documents()),
    "importance": lambda model: importance(model, SmallTask(tuple(documents())), objective="choice"),
    "knock-out": lambda model: knock_out(model, documents(), component="head"),
    "patching": lambda model: patch(model, [3, 4, 5], [3, 4, 6], answer=[7], other=[9]),
    "attribution": lambda model: direct_attribution(model, [3, 4, 5], [7], [9]),
}


def captured(model: HookedModel) -> None:
    """What is read while the user runs the Hugging Face model."""
    with hooks.capture(model, [hooks.Point("z", 0)], lambda point, value: None):
        model.hf(TOKENS)


def gated(model: HookedModel) -> None:
    with model.gates(heads=[(0, 1)]):
        model.hf(TOKENS)


def dropping(place: str) -> HookedModel:
    """A GPT-2 that drops a tenth in one place alone."""
    model = interp.load_model(build("gpt2"))
    for name, module in model.hf.named_modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.1 * name.endswith(place)
    for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop", "summary_first_dropout"):
        setattr(model.hf.config, name, 0.0)
    return model


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("place", ["drop", "h.1.attn.resid_dropout", "attn.attn_dropout"])
def test_dropout_is_refused_and_named(use: str, place: str) -> None:
    model = dropping(place)
    USES[use](model)
    model.hf.train()
    with pytest.raises(UsageError, match=r"training mode with dropout \(.*: 0\.1\).*model\.hf\.eval\(\) first"):
        USES[use](model)


def test_a_training_model_without_dropout_is_read() -> None:
    model = interp.load_model(build("llama"))
    plain = model(TOKENS)
    model.hf.train()
    assert torch.equal(model(TOKENS), plain)


def test_dropout_by_a_function_is_told_by_its_configuration() -> None:
    model = interp.load_model(build("llama"))
    model.hf.config.attention_dropout = 0.2
    model.hf.train()
    with pytest.raises(UsageError, match=r"attention_dropout: 0\.2"):
        model(TOKENS)
