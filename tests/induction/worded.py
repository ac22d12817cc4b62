"""Tiny models whose tokenizer knows every text: bytes and pairs of letters, with room for 400 tokens."""

from __future__ import annotations

import string
from functools import lru_cache
from typing import Any

import torch
import transformers

import interp
from interp.model import HookedModel
from tests.induction.tokenizers import opt_like, pair_merges
from tests.interp import families

POSITIONS = 400


@lru_cache
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """BOS, `</s>`, is 2 and stands in front of every text."""
    spaced = [("Ġ", letter) for letter in string.ascii_letters]  # words begin with more than a space
    return opt_like([*pair_merges("aeinorstdl"), *spaced])


def build(family: str) -> Any:
    """A random model of the family that knows this vocabulary."""
    name, options = families.FAMILIES[family]
    sizes = {"vocab_size": len(tokenizer()), "bos_token_id": 2}
    long = {key: POSITIONS for key in ("max_position_embeddings", "n_positions") if key in options}
    config = getattr(transformers, name)(**{**options, **sizes, **long})
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(0)
    for parameter in hf.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.15
        parameter.data.copy_(parameter.data * (parameter.dim() == 1) + noise)
    return hf.eval()


@lru_cache
def model(family: str) -> HookedModel:
    """Read-only: shared between tests."""
    return interp.load_model(build(family), tokenizer=tokenizer(), check=False)
