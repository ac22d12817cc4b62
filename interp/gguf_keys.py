"""What a GGUF file says of its model beside the weights, held against the configuration that transformers makes of it.

transformers reads some keys of each architecture and drops the others without a word, so that its own defaults stand in
their place: soft-caps, windows, rotary bases, the scale of attention. Here every key of the file is compared. What
differs is set where the configuration has a place for it, and refused where it has none. What llama.cpp derives and no
file says (Gemma's scale of attention, the base of its windowed layers) is derived in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Keys behind the architecture's name (gguf.constants.Keys), and where configurations keep the same number.
NAMES: Mapping[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "block_count": ("num_hidden_layers", "n_layer"),
    "embedding_length": ("hidden_size", "n_embd"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim"),
    "vocab_size": ("vocab_size",),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads"),
    "attention.key_length": ("head_dim",),
    "attention.value_length": ("v_head_dim", "head_dim"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps", "layer_norm_epsilon"),
    "attention.layer_norm_epsilon": ("layer_norm_epsilon", "layer_norm_eps", "norm_epsilon", "norm_eps"),
    "attention.sliding_window": ("sliding_window",),
    "attention.clamp_kqv": ("clip_qkv",),
    "attention.scale": ("attention_multiplier",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "embedding_scale": ("embedding_multiplier",),
    "residual_scale": ("residual_multiplier",),
    "logit_scale": ("logits_scaling", "logit_scale"),
    "use_parallel_residual": ("use_parallel_residual",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "leading_dense_block_count": ("first_k_dense_replace",),
    "shortconv.l_cache": ("conv_L_cache",),
}
# They decide no number, or only together with others: the gating function is an enum, the layout one of the tensors.
WITHOUT_EFFECT = ("tensor_data_layout", "expert_gating_func", "attention.causal", "pooling_type", "rope.scaling.")
OPTIONAL = ("feed_forward_length", "expert_feed_forward_length", "attention.value_length", "vocab_size")
LARGE_GEMMA = {"gemma2": 46, "gemma3": 62}  # blocks of the 27B models, whose scale is by width a head (llama-model.cpp)
WITH_WINDOW = (*LARGE_GEMMA, "gemma4", "phi3", "gpt-oss")  # a window even where the file names none
WINDOWED_BASE = 10000.0  # of Gemma 3's windowed layers


@dataclass(frozen=True)
class KeyDifference:
    """A key whose value is not that of the configuration, which has no place for it."""

    key: str
    said: Any

    def __str__(self) -> str:
        return f"{self.key} = {self.said}, and the configuration has no such number"


def settle(config: Any, architecture: str, keys: Mapping[str, Any]) -> list[KeyDifference]:
    """Give the configuration what the file says; what could not be given is returned.

    keys: those of the file that begin with the architecture's name, without it.
    """
    special: Mapping[str, Callable[[Any, Any], bool]] = {
        "rope.freq_base": lambda config, value: _set_base(config, "full_attention", value),
        "rope.freq_base_swa": lambda config, value: _set_base(config, "sliding_attention", value),
        "rope.dimension_count": _set_rotary_width,
        "attention.sliding_window_pattern": _has_pattern,
    }
    left: list[KeyDifference] = []
    for key, value in {**_derived(config, architecture, keys), **keys}.items():
        if key.startswith(WITHOUT_EFFECT):
            continue
        if key not in special:
            left += _compare(config, key, value)
        elif not special[key](config, value):
            left.append(KeyDifference(key, value))
    return left


def _derived(config: Any, architecture: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """What llama.cpp takes where a file says nothing."""
    found: dict[str, Any] = {}
    if hasattr(config, "sliding_window") and architecture not in WITH_WINDOW:  # Mistral's default is transformers' own
        found["attention.sliding_window"] = 0
    if architecture in LARGE_GEMMA:
        large = keys.get("block_count") == LARGE_GEMMA[architecture]
        width = keys["embedding_length"] // keys["attention.head_count"] if large else config.head_dim
        config.query_pre_attn_scalar = width
    if architecture == "gemma3":
        found["rope.freq_base_swa"] = WINDOWED_BASE
    return found


def _compare(config: Any, key: str, value: Any) -> Iterator[KeyDifference]:
    if isinstance(value, list):
        if len(set(value)) > 1:  # by layer: transformers reads LFM2's; widths would not fit their tensors
            if key not in ("attention.head_count_kv", "feed_forward_length"):
                yield KeyDifference(key, value)
            return
        value = value[0]
    name = next((name for name in NAMES.get(key, ()) if hasattr(config, name)), None)
    if name is None:
        if not _is_neutral(key, value):
            yield KeyDifference(key, value)
    elif not _same(getattr(config, name), value):
        setattr(config, name, None if name == "sliding_window" and not value else value)


def _is_neutral(key: str, value: Any) -> bool:
    """Nothing is lost with a number that a family derives, or that is 0, 1 or off."""
    return key in OPTIONAL or key in ("attention.head_count_kv", "attention.key_length") or value in (0, 1, "", False)


def _same(held: Any, said: Any) -> bool:
    """A GGUF file keeps float32; no window is None there, and 0 here."""
    if held is None or said is None:
        return not held and not said
    return math.isclose(float(held), float(said), rel_tol=1e-6)


def _rope(config: Any, kind: str) -> dict[str, Any] | None:
    """The rotary parameters of a kind of layer; the only ones, where there are no kinds."""
    told = getattr(config, "rope_parameters", None)
    if not isinstance(told, dict):
        return None
    by_kind = any(isinstance(value, dict) for value in told.values())
    return told.get(kind) if by_kind else told if kind == "full_attention" else None


def _set_base(config: Any, kind: str, value: float) -> bool:
    told = _rope(config, kind)
    if told is None:
        return False
    if not _same(told.get("rope_theta"), value):
        told["rope_theta"] = float(value)
    return True


def _set_rotary_width(config: Any, value: int) -> bool:
    """How many dimensions of a head are rotated."""
    told, width = _rope(config, "full_attention"), getattr(config, "head_dim", None)
    width = width or config.hidden_size // config.num_attention_heads
    if told is None:
        return False
    share = told.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", 1.0))
    if int(width * share) != value:
        if "partial_rotary_factor" not in told:
            return False
        told["partial_rotary_factor"] = value / width
    return True


def _has_pattern(config: Any, value: Any) -> bool:
    """Which layers have a window: every n-th has none, or one flag a layer."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return False
    windowed = value if isinstance(value, list) else [(n + 1) % int(value) != 0 for n in range(len(kinds))]
    return [kind == "sliding_attention" for kind in kinds] == [bool(flag) for flag in windowed]
