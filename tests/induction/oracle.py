"""Slow versions of Method 2, written from its text: plain loops over whole eager attention matrices.

Nothing here comes from the packages under test. A Hugging Face model is run with `output_attentions`, the input of its
output projections is caught by a hook, and every step behind that is NumPy in float64: head results r = z W_O, norms as
Method 2.2 has them, logits of every token of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Array = np.ndarray
Pairs = dict[int, list[int]]


@dataclass(frozen=True)
class Family:
    """Where a family keeps its parts, and what kind of norms it has (`layer`, `rms`, or `rms1`: times 1 + weight)."""

    blocks: str
    attention: str
    o: str
    final: str
    norms: str
    before: str | None
    post: str | None = None


_LLAMA = Family("model.layers", "self_attn", "self_attn.o_proj", "model.norm", "rms", "input_layernorm")
FAMILIES = {
    "gpt2": Family("transformer.h", "attn", "attn.c_proj", "transformer.ln_f", "layer", "ln_1"),
    "opt": Family(
        "model.decoder.layers",
        "self_attn",
        "self_attn.out_proj",
        "model.decoder.final_layer_norm",
        "layer",
        "self_attn_layer_norm",
    ),
    "bloom": Family(
        "transformer.h", "self_attention", "self_attention.dense", "transformer.ln_f", "layer", "input_layernorm"
    ),
    "llama": _LLAMA,
    "gpt_oss": _LLAMA,
    "olmo2": Family(
        "model.layers", "self_attn", "self_attn.o_proj", "model.norm", "rms", None, "post_attention_layernorm"
    ),
    "gemma3": Family(
        "model.layers",
        "self_attn",
        "self_attn.o_proj",
        "model.norm",
        "rms1",
        "input_layernorm",
        "post_attention_layernorm",
    ),
}


@dataclass(frozen=True)
class Linear:
    """A norm without its scalar and its bias: centring, then the gain."""

    gain: Array
    centres: bool

    def __call__(self, x: Array) -> Array:
        return self.gain * (x - x.mean(-1, keepdims=True) if self.centres else x)


@dataclass(frozen=True)
class Seen:
    """One run: attention[layer][sequence, head, query, key] and z[layer][sequence, query, head, width]."""

    attention: list[Array]
    z: list[Array]
    tokens: list[list[int]]


@dataclass(frozen=True)
class Logits:
    """Logits [query column] of some tokens, read by token id: the whole vocabulary of a real model is too wide."""

    values: Array
    tokens: list[int]

    def __getitem__(self, at: tuple[int, list[int]]) -> Array:
        query, ids = at
        found: Array = self.values[query, [self.tokens.index(token) for token in ids]]
        return found


def array(tensor: Any) -> Array:
    return tensor.detach().double().numpy()


def part(hf: Any, family: Family, layer: int, name: str) -> Any:
    return hf.get_submodule(f"{family.blocks}.{layer}.{name}")


def matrix(module: Any) -> Array:
    """[out in], whichever way the module keeps it."""
    weight = array(module.weight)
    return weight.T if type(module).__name__ == "Conv1D" else weight


def linear_norm(module: Any, kind: str) -> Linear:
    return Linear(array(module.weight) + (kind == "rms1"), kind == "layer")


def watch(hf: Any, family: Family, tokens: torch.Tensor) -> Seen:
    """Run the model with eager attention and keep everything."""
    layers, heads, found = hf.config.num_hidden_layers, hf.config.num_attention_heads, {}
    handles = [
        part(hf, family, layer, family.o).register_forward_pre_hook(
            lambda module, args, layer=layer: found.__setitem__(layer, args[0])
        )
        for layer in range(layers)
    ]
    with torch.no_grad():
        attention = hf(tokens, output_attentions=True, use_cache=False).attentions
    for handle in handles:
        handle.remove()
    z = [array(found[layer]).reshape(*tokens.shape, heads, -1) for layer in range(layers)]
    return Seen([array(matrix) for matrix in attention], z, tokens.tolist())


def logits(hf: Any, family: Family, seen: Seen, layer: int, sequence: int) -> list[Logits]:
    """Direct effect of every head on every token of the sequence."""
    heads, width = seen.z[layer].shape[2:]
    output = matrix(part(hf, family, layer, family.o)).T.reshape(heads, width, -1)
    ids = sorted(set(seen.tokens[sequence]))
    unembed = array(hf.get_output_embeddings().weight[ids])
    found = []
    for head in range(heads):
        r = seen.z[layer][sequence, :, head] @ output[head]
        if family.post is not None:
            r = linear_norm(part(hf, family, layer, family.post), family.norms)(r)
        values = linear_norm(hf.get_submodule(family.final), family.norms)(r) @ unembed.T
        found.append(Logits(values, ids))
    return found


def reach(hf: Any, layer: int) -> Callable[[int, int], bool]:
    """Whether a query of this layer can see a key."""
    kinds = getattr(hf.config, "layer_types", None) or ["full_attention"] * hf.config.num_hidden_layers
    window = hf.config.sliding_window if kinds[layer] == "sliding_attention" else None
    return lambda query, key: key <= query and (window is None or query - key < window)


def copies(tokens: list[int]) -> Pairs:
    """P(i) for every i that has one; position 0 is not content."""
    found = {i: [p for p in range(1, i) if tokens[p] == tokens[i]] for i in range(1, len(tokens))}
    return {i: earlier for i, earlier in found.items() if earlier}


def prefix_matching(attention: Array, pairs: Pairs, reaches: Callable[[int, int], bool]) -> tuple[float, float]:
    """Method 2.1 for one head, [query key]; and `olsson`. Queries without a target in reach leave the mean."""
    total, queries, count = 0.0, 0, 0
    for i, earlier in pairs.items():
        targets = [p + 1 for p in earlier if reaches(i, p + 1)]
        total += sum(attention[i, key] for key in targets)
        count += len(targets)
        queries += bool(targets)
    return (total / queries, total / count) if queries else (np.nan, np.nan)


def duplicate_token(attention: Array, pairs: Pairs) -> float:
    return float(np.mean([sum(attention[i, p] for p in earlier) for i, earlier in pairs.items()]))


def previous_token(attention: Array, distance: int = 1) -> float:
    """From the second content token on. Another distance is its null: what it has more, at queries that have both."""
    own = np.mean([attention[i, i - 1] for i in range(2, len(attention))])
    more = [attention[i, i - distance] - attention[i, i - 1] for i in range(1 + distance, len(attention))]
    return float(own + np.mean(more))


def wrong_copies(tokens: list[int], length: int, further: int) -> Pairs:
    """N1: copies of the token `further` places on in the block, in repeats before the query's."""
    found: Pairs = {}
    for i in range(1 + length, len(tokens)):
        place, own = (i - 1) % length, 1 + (i - 1) // length * length
        wrong = tokens[1 + (place + further) % length]
        found[i] = [p for p in range(1, own) if tokens[p] == wrong]
    return found


def copying(attention: Array, logits: Logits, tokens: list[int], replace: Any = None) -> dict[str, float]:
    """Method 2.2 for one head of an unrepeated sequence; `replace(j, size)` names another place for the null."""
    found: dict[str, list[float]] = {"argmax": [], "attended": [], "on_content": [], "on_itself": []}
    for i in range(2, len(tokens)):
        places = list(range(1, i + 1))
        values = logits[i, [tokens[p] for p in places]]
        rho = np.maximum(values - values.mean(), 0)
        weights = attention[i, places]
        best = int(np.argmax(weights))
        at = [n if replace is None else replace(n, len(places)) for n in range(len(places))]
        whole = rho.sum()
        found["argmax"].append(rho[at[best]] / whole if whole > 0 else 0.0)
        found["attended"].append(sum(weights[n] * rho[at[n]] for n in range(len(places))) / whole if whole > 0 else 0.0)
        found["on_content"].append(weights.sum())
        found["on_itself"].append(float(places[best] == i))
    return {name: float(np.mean(values)) for name, values in found.items()}


def direct_effect(logits: Logits, tokens: list[int], length: int, further: int = 0) -> dict[str, float]:
    """`successor`, `signed` and its AUC for one head; `further` places on for N1."""
    block = tokens[1 : 1 + length]
    found: dict[str, list[float]] = {"successor": [], "signed": [], "signed_auc": []}
    for i in range(1 + length, len(tokens)):
        values = logits[i, block]
        target = values[((i - 1) % length + 1 + further) % length]
        rho = np.maximum(values - values.mean(), 0)
        found["successor"].append(max(target - values.mean(), 0) / rho.sum() if rho.sum() > 0 else 0.0)
        found["signed"].append((target - values.mean()) / values.std() if values.std() > 0 else 0.0)
        others = (np.sum(values < target) - np.sum(values > target)) / (length - 1)  # 2 AUC - 1
        found["signed_auc"].append(others)
    return {name: float(np.mean(values)) for name, values in found.items()}


def p_values(observed: Array, draws: Array, *, two_sided: bool = False) -> tuple[Array, Array]:
    """Per head and against the maximum over heads, [layer head] (Method 2.7)."""
    centre = draws.mean(0)
    alone, family = np.zeros_like(observed), np.zeros_like(observed)
    for at in np.ndindex(*observed.shape):
        score = abs(observed[at] - centre[at]) if two_sided else observed[at]
        for draw in draws:
            seen = np.abs(draw - centre) if two_sided else draw
            alone[at] += seen[at] >= score
            family[at] += seen.max() >= score
    return (1 + alone) / (len(draws) + 1), (1 + family) / (len(draws) + 1)
