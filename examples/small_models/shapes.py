"""Which models there are: their family, depth and width, each by a configuration of transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from small_models.corpus import CONTEXT

HEAD_WIDTH = 16
STEPS = 2000


@dataclass(frozen=True)
class Shape:
    """`family` is `llama` (rotary positions, RMSNorm, gated FFN) or `gpt2` (learned positions, LayerNorm)."""

    family: str
    layers: int
    width: int

    @property
    def name(self) -> str:
        return f"{self.family}-l{self.layers}-d{self.width}"

    @property
    def heads(self) -> int:
        return self.width // HEAD_WIDTH

    def config(self, vocabulary: int, bos: int) -> Any:
        """Embedding and unembedding are one matrix; nothing is dropped out; weights start at .5 / sqrt(width)."""
        special = {"bos_token_id": bos, "eos_token_id": None, "pad_token_id": None}
        spread = 0.5 / self.width**0.5
        if self.family == "gpt2":
            return GPT2Config(
                vocab_size=vocabulary,
                n_layer=self.layers,
                n_embd=self.width,
                n_head=self.heads,
                n_positions=CONTEXT,
                initializer_range=spread,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                **special,
            )
        return LlamaConfig(
            vocab_size=vocabulary,
            num_hidden_layers=self.layers,
            hidden_size=self.width,
            num_attention_heads=self.heads,
            intermediate_size=2 * self.width,
            max_position_embeddings=CONTEXT,
            initializer_range=spread,
            tie_word_embeddings=True,
            **special,
        )

    def model(self, vocabulary: int, bos: int) -> Any:
        """With weights drawn from torch's global generator."""
        return AutoModelForCausalLM.from_config(self.config(vocabulary, bos))


SHAPES = (
    Shape("llama", 1, 64),
    Shape("llama", 2, 64),
    Shape("llama", 3, 64),
    Shape("llama", 4, 64),
    Shape("llama", 2, 32),
    Shape("gpt2", 1, 64),
)
QUICK = Shape("gpt2", 2, 64)
