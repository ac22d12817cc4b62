"""A tiny random model with a byte-level tokenizer that reads any text: fast enough for a browser to look at."""

from __future__ import annotations

from functools import cache

import torch
import transformers

import interp
from tests.induction.tokenizers import opt_like, pair_merges

LETTERS = "abcdefghijklmnopqrst"
LAYERS, HEADS, KV_HEADS = 3, 4, 2


@cache
def tiny_model() -> interp.HookedModel:
    """Three layers of four heads; read-only."""
    tokenizer = opt_like(pair_merges(LETTERS))
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        intermediate_size=96,
        max_position_embeddings=512,
        vocab_size=len(tokenizer),
        bos_token_id=2,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in hf.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(4)
    return interp.load_model(hf, tokenizer=tokenizer, check=False)
