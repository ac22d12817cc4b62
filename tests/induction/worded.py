"""Tiny models whose tokenizer knows every text: bytes and pairs of letters, with room for 400 tokens."""

from __future__ import annotations

import string
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import interp
from induction.names import PLACES
from induction.needles import FIRST_WORDS, NEEDLE, QUESTION, SECOND_WORDS
from induction.texts import sentences
from interp.model import HookedModel
from tests.induction.tokenizers import opt_like, pair_merges
from tests.interp import families

POSITIONS = 400


@lru_cache
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """BOS, `</s>`, is 2 and stands in front of every text."""
    spaced = [("Ġ", letter) for letter in string.ascii_letters]  # words begin with more than a space
    return opt_like([*pair_merges("aeinorstdl"), *spaced])


def build(family: str, dtype: torch.dtype = torch.float32) -> Any:
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
    return hf.to(dtype).eval()


@lru_cache
def model(family: str) -> HookedModel:
    """Read-only: shared between tests."""
    return interp.load_model(build(family), tokenizer=tokenizer(), check=False)


def short(positions: int, *, trained: bool = False) -> HookedModel:
    """A random model with room for so many tokens; `trained`: under a tokenizer with whole words, as real ones have."""
    text = whole_words() if trained else tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(
        **sizes, intermediate_size=24, vocab_size=len(text), max_position_embeddings=positions
    )
    torch.manual_seed(0)
    return interp.load_model(transformers.LlamaForCausalLM(config).eval(), tokenizer=text, check=False)


@lru_cache
def whole_words() -> transformers.PreTrainedTokenizerFast:
    """Byte-level BPE trained on the prompts' own words."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    words = [NEEDLE, QUESTION, *PLACES, *FIRST_WORDS, *SECOND_WORDS, *islice(sentences(), 200)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2500, special_tokens=["<s>"], initial_alphabet=alphabet)
    found.train_from_iterator([f" {word}" for word in words], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>", eos_token="<s>")
