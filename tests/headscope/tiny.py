"""A tiny model with a tokenizer in a folder, as a user would have it: byte-level words, three layers of four heads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.induction.tokenizers import opt_like, pair_merges

LAYERS, HEADS = 3, 4


def write_model(folder: Path, *, seed: int = 0, heads: int = HEADS) -> Path:
    """A random Llama and its tokenizer."""
    tokenizer = opt_like(pair_merges("abcdefghijklmnopqrst"))
    config = LlamaConfig(
        hidden_size=8 * heads,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        intermediate_size=48,
        max_position_embeddings=2048,
        vocab_size=len(tokenizer),
        bos_token_id=2,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * 0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
