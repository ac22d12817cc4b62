"""Tiny random models, one a family, built from their configurations without a download."""

from __future__ import annotations

import copy
from typing import Any

import torch

import interp

VOCAB = 97
_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "vocab_size": VOCAB,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_OLD = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
_GPT2 = {**_OLD, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64}
_OPT = {
    **_OLD,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 64,
    "max_position_embeddings": 64,
}
_FALCON = {**_OLD, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
}
_LATENT = {
    "q_lora_rank": 8,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
}
_SPARSE = {"index_topk": 8, "index_head_dim": 8, "index_n_heads": 16}  # few heads would tie at 0
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_value_head_dim": 8,
    "shared_expert_intermediate_size": 16,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", _GPT2),
    "gpt2_by_layer": ("GPT2Config", {**_GPT2, "scale_attn_by_inverse_layer_idx": True}),
    "gpt1": ("OpenAIGPTConfig", {"vocab_size": VOCAB, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "gpt_bigcode": ("GPTBigCodeConfig", _GPT2),
    "opt": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 32}),
    "opt-350m": ("OPTConfig", {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gpt_neox": ("GPTNeoXConfig", _SMALL),
    "gpt_neox_sequential": ("GPTNeoXConfig", {**_SMALL, "use_parallel_residual": False}),
    "gptj": ("GPTJConfig", {**_GPT2, "rotary_dim": 4}),
    "codegen": ("CodeGenConfig", {**_GPT2, "rotary_dim": 4, "n_ctx": 64}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            **_OLD,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "window_size": 8,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]],
        },
    ),
    "llama": ("LlamaConfig", _GROUPED),
    "mistral": ("MistralConfig", {**_GROUPED, "sliding_window": 8}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen2_window": (
        "Qwen2Config",
        {**_GROUPED, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 16}),
    "qwen3_next": ("Qwen3NextConfig", {**_GROUPED, **_EXPERTS, **_LINEAR, "head_dim": 16}),
    "gemma": ("GemmaConfig", {**_GROUPED, "head_dim": 16}),
    "gemma2": (
        "Gemma2Config",
        {**_GROUPED, **_WINDOW, "head_dim": 16, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 16},
    ),
    "gemma3": ("Gemma3TextConfig", {**_GROUPED, **_WINDOW, "head_dim": 16, "query_pre_attn_scalar": 16}),
    "phi": ("PhiConfig", {**_SMALL, "partial_rotary_factor": 0.5}),
    "phi3": ("Phi3Config", _GROUPED),
    "stablelm": ("StableLmConfig", _GROUPED),
    "starcoder2": ("Starcoder2Config", _GROUPED),
    "cohere": ("CohereConfig", {**_GROUPED, "use_qk_norm": True}),
    "granite": (
        "GraniteConfig",
        {
            **_GROUPED,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
            "embedding_multiplier": 2.0,
            "logits_scaling": 2.0,
        },
    ),
    "olmo_clipped": ("OlmoConfig", {**_GROUPED, "clip_qkv": 0.3}),
    "olmo2": ("Olmo2Config", _GROUPED),
    "glm4": ("Glm4Config", {**_GROUPED, "head_dim": 8}),
    "bitnet": ("BitNetConfig", _GROUPED),
    "bloom": ("BloomConfig", {**_OLD, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "vocab_size": VOCAB}),
    "falcon": ("FalconConfig", _FALCON),
    "falcon_alibi": (
        "FalconConfig",
        {**_FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "falcon_40b": ("FalconConfig", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}),
    "falcon_11b": (
        "FalconConfig",
        {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    ),
    "mixtral": ("MixtralConfig", {**_GROUPED, "num_local_experts": 4}),
    "deepseek_v3": ("DeepseekV3Config", {**_SMALL, **_EXPERTS, **_LATENT}),
    "glm_moe_dsa": ("GlmMoeDsaConfig", {**_SMALL, **_EXPERTS, **_LATENT, **_SPARSE}),
    "gpt_oss": (
        "GptOssConfig",
        {**_GROUPED, **_WINDOW, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "lfm2": ("Lfm2Config", {**_GROUPED, "layer_types": ["conv", "full_attention"]}),
}
LATENT = {"deepseek_v3", "glm_moe_dsa"}  # keys and values come out of one latent: no q, k and v projections
ROUTED = {"mixtral", "gpt_oss", "deepseek_v3", "glm_moe_dsa", "qwen3_next"}  # mixtures of experts
POST_NORM = {"gpt1", "opt-350m"}  # the residual stream itself is normalised after every addition
WITHOUT_BRIDGE = {  # TransformerLens 4.3 can't boot or run these: compared with Hugging Face alone
    "opt-350m": "its FFN runs on [batch * query, d_model]",
    "falcon_40b": "it splits the fused projection into unequal parts",
    "falcon_11b": "it expects two norms where there is one",
    "falcon_alibi": "it adds ALiBi once more than the model does",
}
EAGER_IS_ANOTHER_MODEL = {  # no reference: Hugging Face's own eager attention computes other logits than its default
    "falcon_alibi": "transformers 5.23 adds ALiBi twice there, once in the mask and once in the scores"
}


def build(
    family: str,
    *,
    seed: int = 0,
    std: float = 0.1,
    dtype: torch.dtype = torch.float32,
    implementation: str | None = "eager",
) -> Any:
    """A random Hugging Face model of the family: every parameter drawn, norms and biases too.

    implementation: of attention; eager ones hand out their patterns, None is the family's default, as users load it.
    """
    import transformers

    name, options = FAMILIES[family]
    config = getattr(transformers, name)(**copy.deepcopy(options))
    torch.manual_seed(seed)
    given = {} if implementation is None else {"attn_implementation": implementation}
    hf = transformers.AutoModelForCausalLM.from_config(config, **given).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    for parameter in hf.parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(dtype) * std
        parameter.data.copy_(parameter.data * (parameter.dim() == 1) + noise)
    return hf.eval()


def load(family: str, *, tokenizer: Any = None, **options: Any) -> interp.HookedModel:
    """The same in memory, within reach of headscope: to be broken. Families as users have them: conftest.py."""
    return interp.load_model(build(family, **{"implementation": None, **options}), tokenizer=tokenizer, check=False)


def random_tokens(*, batch: int = 2, length: int = 24, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (batch, length), generator=generator)


def padded(tokens: torch.Tensor, side: str, *, width: int = 5) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tokens with `width` padding tokens on a side (of the first sequence alone), and their mask."""
    if side == "none":
        return tokens, None
    pads = tokens.new_zeros(1, width)
    first, more = tokens[:1], tokens[:1, :width]
    whole = torch.cat([tokens[1:], more.expand(len(tokens) - 1, -1)], dim=1)
    parts = [pads, first] if side == "left" else [first, pads]
    real = [part.new_full(part.shape, int(part is first)) for part in parts]
    mask = torch.cat([torch.cat(real, dim=1), torch.ones_like(whole)])
    return torch.cat([torch.cat(parts, dim=1), whole]), mask
