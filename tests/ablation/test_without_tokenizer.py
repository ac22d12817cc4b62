"""Tasks are texts: a model without a tokenizer is told so in one sentence, whatever is asked of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import ablation
import interp
from interp.errors import UsageError
from interp.model import HookedModel


@pytest.fixture(scope="module")
def toy() -> HookedModel:
    torch.manual_seed(0)
    return interp.load_model(GPT2LMHeadModel(GPT2Config(vocab_size=64, n_layer=2, n_head=4, n_embd=32)), check=False)


@pytest.mark.parametrize("call", [ablation.evaluate, ablation.head_importance, ablation.ffn_importance])
def test_a_task_needs_a_tokenizer(toy: HookedModel, call: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="the documents of probe_capitals must be turned into tokens, and this model"):
        call(toy, ablation.load_task("probe_capitals", shots=0, limit=2))


def test_patching_takes_texts(toy: HookedModel) -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        ablation.patch(toy, "a b", "a c", answer=" d")
