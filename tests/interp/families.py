"""Tiny random models, one a family, built from their configurations without a download."""

from __future__ import annotations

from typing import Any

import torch

import interp

VOCAB = 97
_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None,
}  # fmt: skip
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_OLD = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
_OPT = {**_OLD, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64,
        "max_position_embeddings": 64}  # fmt: skip

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {**_OLD, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64}),
    "opt": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 32}),
    "opt-350m": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gpt_neox": ("GPTNeoXConfig", _SMALL),
    "gpt_neox_sequential": ("GPTNeoXConfig", {**_SMALL, "use_parallel_residual": False}),
    "gptj": ("GPTJConfig", {**_OLD, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "rotary_dim": 4}),
    "gpt_neo": ("GPTNeoConfig", {**_OLD, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8,
                                 "max_position_embeddings": 64, "attention_types": [[["global", "local"], 1]]}),
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "gemma2": ("Gemma2Config", {**_GROUPED, **_WINDOW, "head_dim": 16, "attn_logit_softcapping": 2.0,
                                "query_pre_attn_scalar": 16}),
    "gemma3": ("Gemma3TextConfig", {**_GROUPED, **_WINDOW, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "phi": ("PhiConfig", {**_SMALL, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3Config", _GROUPED),
    "olmo2": ("Olmo2Config", _GROUPED),
    "bloom": ("BloomConfig", {**_OLD, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "vocab_size": VOCAB}),
    "falcon": ("FalconConfig", {**_OLD, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    "falcon_alibi": ("FalconConfig", {**_OLD, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                                      "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}),
    "mixtral": ("MixtralConfig", {**_GROUPED, "num_local_experts": 4}),
    "gpt_oss": ("GptOssConfig", {**_GROUPED, **_WINDOW, "head_dim": 16, "num_local_experts": 4,
                                 "num_experts_per_tok": 2}),
}  # fmt: skip


def build(family: str, *, seed: int = 0, std: float = 0.1, dtype: torch.dtype = torch.float32) -> Any:
    """A random Hugging Face model of the family: every parameter drawn, norms and biases too."""
    import transformers

    name, options = FAMILIES[family]
    config = getattr(transformers, name)(**options)
    torch.manual_seed(seed)
    hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").to(dtype)
    generator = torch.Generator().manual_seed(seed)
    for parameter in hf.parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(dtype) * std
        parameter.data.copy_(parameter.data * (parameter.dim() == 1) + noise)
    return hf.eval()


def load(family: str, *, tokenizer: Any = None, **options: Any) -> interp.HookedModel:
    """The same, within reach of headscope."""
    return interp.load_model(build(family, **options), tokenizer=tokenizer, check=False)


def random_tokens(*, batch: int = 2, length: int = 24, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (batch, length), generator=generator)
