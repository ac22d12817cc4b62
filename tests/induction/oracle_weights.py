"""Slow versions of Method 2.3, 2.5 and of the released code's scores: explicit matrices and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.induction.oracle import Array, Family, array, linear_norm, matrix, part


def projections(hf: Any, family: Family, layer: int) -> dict[str, tuple[Array, Array]]:
    """W [out in] and bias of q, k and v, for every query head side by side: [heads * width, d_model]."""
    config, attention = hf.config, part(hf, family, layer, family.attention)
    heads, d_model = config.num_attention_heads, config.hidden_size
    if hasattr(attention, "c_attn"):  # GPT-2: all queries, all keys, all values
        weights, biases = np.split(matrix(attention.c_attn), 3), np.split(array(attention.c_attn.bias), 3)
        return dict(zip("qkv", zip(weights, biases, strict=True), strict=True))
    if hasattr(attention, "query_key_value"):  # Bloom: query, key and value of head 0, of head 1, ...
        module = attention.query_key_value
        weight = matrix(module).reshape(heads, 3, -1, d_model)
        bias = array(module.bias).reshape(heads, 3, -1)
        return {name: (weight[:, n].reshape(-1, d_model), bias[:, n].reshape(-1)) for n, name in enumerate("qkv")}
    found = {}
    for name in "qkv":
        module = getattr(attention, f"{name}_proj")
        weight = matrix(module).reshape(-1, width(hf), d_model)
        bias = np.zeros(weight.shape[:2]) if module.bias is None else array(module.bias).reshape(weight.shape[:2])
        each = heads // len(weight)  # query heads that share it
        found[name] = (weight.repeat(each, 0).reshape(-1, d_model), bias.repeat(each, 0).reshape(-1))
    return found


def width(hf: Any) -> int:
    return getattr(hf.config, "head_dim", None) or hf.config.hidden_size // hf.config.num_attention_heads


def effective_embedding(hf: Any, family: Family, tokens: torch.Tensor, bos: int) -> Array:
    """The stream after block 0 at position 1 behind BOS, nothing entering block 0's output projection."""
    handle = part(hf, family, 0, family.o).register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    with torch.no_grad():
        pairs = torch.stack([torch.full_like(tokens, bos), tokens], 1)
        states = hf(pairs, output_hidden_states=True, use_cache=False).hidden_states
    handle.remove()
    return array(states[1][:, 1])


def ov_copying(hf: Any, family: Family, layer: int, tokens: torch.Tensor, embedding: Array) -> list[float]:
    """Eigenvalues of the whole token x token matrix M, one value a head; its rows are centred over the tokens."""
    x = torch.tensor(embedding, dtype=torch.float32)
    if family.before is not None:
        norm = part(hf, family, layer, family.before)
        with torch.no_grad():
            x = norm(x) - norm(torch.zeros_like(x))  # without its bias
    values, size = projections(hf, family, layer)["v"][0], width(hf)
    output = matrix(part(hf, family, layer, family.o)).T
    unembed = array(hf.get_output_embeddings().weight)[tokens.numpy()]
    unembed = np.array([row - sum(unembed) / len(unembed) for row in unembed])
    scores = []
    for head in range(hf.config.num_attention_heads):
        rows = slice(head * size, (head + 1) * size)
        r = array(x) @ values[rows].T @ output[rows]
        if family.post is not None:
            r = linear_norm(part(hf, family, layer, family.post), family.norms)(r)
        eigenvalues = np.linalg.eigvals(linear_norm(hf.get_submodule(family.final), family.norms)(r) @ unembed.T)
        scores.append(eigenvalues.sum().real / np.abs(eigenvalues).sum())
    return scores


def circuits(hf: Any, family: Family, layer: int) -> list[dict[str, Array]]:
    """W_QK and W_OV of every head, d_model x d_model, gains and centring folded in."""
    found, size = projections(hf, family, layer), width(hf)
    attention = part(hf, family, layer, family.attention)
    output = matrix(part(hf, family, layer, family.o))
    heads = []
    for head in range(hf.config.num_attention_heads):
        rows = slice(head * size, (head + 1) * size)
        folded = {name: found[name][0][rows] for name in "qkv"}
        for name in "qk":
            norm = getattr(attention, f"{name}_norm", None)
            if norm is not None:
                folded[name] = _qk_gain(hf, norm, family.norms, name, head)[:, None] * folded[name]
        if family.before is not None:
            norm = linear_norm(part(hf, family, layer, family.before), family.norms)
            folded = {name: value @ norm(np.eye(value.shape[1])).T for name, value in folded.items()}
        written = output[:, rows]
        if family.post is not None:
            written = linear_norm(part(hf, family, layer, family.post), family.norms)(written.T).T
        ov = {"ov": written @ folded["v"], "reads_ov": output[:, rows] @ folded["v"]}
        heads.append({"qk": folded["q"].T @ folded["k"], **ov})
    return heads


def _qk_gain(hf: Any, norm: Any, kind: str, name: str, head: int) -> Array:
    gain, size = linear_norm(norm, kind).gain, width(hf)
    if len(gain) == size:
        return gain
    each = 1 if name == "q" else hf.config.num_attention_heads // hf.config.num_key_value_heads
    return gain.reshape(-1, size)[head // each]


def composition(earlier: dict[str, Array], later: dict[str, Array]) -> dict[str, float]:
    """Elhage's three ratios, in units of 1 / sqrt(d_model)."""
    written = earlier["ov"]
    reading = {"q": later["qk"].T, "k": later["qk"], "v": later["reads_ov"]}
    size, baseline = np.linalg.norm, len(written) ** -0.5
    return {kind: size(read @ written) / (size(read) * size(written) * baseline) for kind, read in reading.items()}


def released_prefix(attention: Array, length: int, tokens: list[int]) -> float:
    """Step back from i by the block's length for as long as a position is there, the front token's included."""
    total = 0.0
    for i in range(length + 1, len(tokens)):
        p = i - length
        while p >= 0:
            total += attention[i, p + 1]
            p -= length
    return total / (len(tokens) - 1 - length)


def released_copying(hf: Any, family: Family, layer: int, tokens: torch.Tensor) -> list[float]:
    """One sequence: raw embeddings, the query's own value, probabilities over the whole vocabulary, BOS included."""
    with torch.no_grad():
        embedded = hf(tokens[None], output_hidden_states=True, use_cache=False).hidden_states[0][0]
        x = array(part(hf, family, layer, str(family.before))(embedded))
    found, size = projections(hf, family, layer), width(hf)
    module = part(hf, family, layer, family.o)
    output, bias = matrix(module), array(module.bias)
    unembed, ids = array(hf.get_output_embeddings().weight), tokens.tolist()
    scores = []
    for head in range(hf.config.num_attention_heads):
        rows = slice(head * size, (head + 1) * size)
        q, k, v = (x @ found[name][0][rows].T + found[name][1][rows] for name in "qkv")
        ratios = []
        for i in range(1, len(ids)):
            best = max(range(i + 1), key=lambda j: (q[i] @ k[j], -j))
            exponents = unembed @ (output[:, rows] @ v[i] + bias)
            probabilities = np.exp(exponents - exponents.max())
            probabilities /= probabilities.sum()
            seen = probabilities[ids[: i + 1]]
            raised = np.maximum(seen - seen.mean(), 0)
            ratios.append(raised[best] / raised.sum() if raised.sum() > 0 else 0.0)
        scores.append(float(np.mean(ratios)))
    return scores
