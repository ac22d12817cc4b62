"""Checks of what is read: logits, attention rows, padding, the residual stream."""

from __future__ import annotations

from typing import Any

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from interp.architecture import linear_weight
from interp.attention.rows import AttentionRows, blocks
from interp.checks.choices import held
from interp.checks.rest import PRECISE, Rest
from interp.checks.result import Check, is_precise, relative
from interp.model import HookedModel

PADDING = 3
ADD_UP = "heads and FFN add up to the residual stream"


def logits_are_finite(logits: Float[Tensor, "batch query vocab"]) -> Check:
    """No NaN and no infinity: catches what the weights' own check can't see, offloaded ones included."""
    bad = int((~torch.isfinite(logits)).sum())
    return Check("logits are finite", bad == 0, float(bad), f"{bad} of {logits.numel()} are not" if bad else "all are")


def same_as_untouched(rest: Rest) -> Check:
    """Logits while attention is listened to equal those of the model at rest, which runs Hugging Face's code alone."""
    model, heard = rest.model, []
    with model.watch_attention(lambda layer, rows: heard.append(layer)), held(model, rest.choices):
        watched = model(rest.tokens)
    difference = relative(watched, rest.plain)
    silent = sorted(set(model.attention_layers) - set(heard))
    own = model.hf.config._attn_implementation
    detail = f"watched, against its own {own!r} attention"
    if silent:
        detail = f"layers that were never heard: {silent}"
    elif own == "eager" and model.caught == "sdpa":
        detail += "; its default is 'sdpa': load it without attn_implementation"
    return Check("logits equal the untouched model's", difference < rest.limit and not silent, difference, detail)


def looks_back_only(rest: Rest) -> Check:
    """The last token changes nothing before it."""
    other = rest.tokens.clone()
    other[:, -1] = rest.tokens[:, 0]
    known = torch.arange(rest.tokens.shape[1])
    known[-1] = -1
    with held(rest.model, rest.choices, known):
        difference = relative(rest.model(other)[:, :-1], rest.plain[:, :-1])
    return Check("the model looks back only", difference < rest.limit, difference, "last token exchanged")


def padding_changes_nothing(rest: Rest) -> Check:
    """Padding on either side, with its mask, changes neither the logits of real tokens nor their attention."""
    model = rest.model
    real = rest.tokens[0, : rest.tokens.shape[1] - PADDING]
    length = len(real)
    pads = real.new_zeros(PADDING)
    padded = torch.stack([torch.cat([pads, real]), torch.cat([real, pads])])
    mask = torch.stack([torch.cat([pads, torch.ones_like(real)]), torch.cat([torch.ones_like(real), pads])])
    known, nobody = torch.arange(length), torch.full((PADDING,), -1)
    alone: dict[int, Tensor] = {}
    with (
        model.watch_attention(lambda layer, rows: alone.__setitem__(layer, rows.block(0, length)[0])),
        held(model, rest.choices, known),
    ):
        model.run(real[None])
    apart = [0.0]

    def compare(layer: int, rows: AttentionRows) -> None:
        both = rows.block(0, length + PADDING)
        for row, first in ((0, PADDING), (1, 0)):
            inside = both[row, :, first : first + length, first : first + length]
            apart.append(_largest(inside - alone[layer]))

    with model.watch_attention(compare), held(model, rest.choices, torch.cat([nobody, known, known, nobody])):
        logits = model(padded, mask)
    expected, attention = rest.plain[0, :length], max(apart)
    moved = max(relative(logits[0, PADDING:], expected), relative(logits[1, :length], expected))
    passed = moved < rest.limit and attention < (PRECISE if is_precise(model) else 0.2)
    detail = f"logits {moved:.2g}, attention {attention:.2g}"
    return Check("padding changes nothing", passed, max(moved, attention), detail)


def rows_sum_to_one(rest: Rest) -> Check:
    """Attention rows sum to 1, or below 1 where the family has a sink."""
    model, sums = rest.model, {}

    def add(layer: int, rows: AttentionRows) -> None:
        sums[layer] = torch.cat([reduce(p, "b h q k -> b h q", "sum") for _, _, p in blocks(rows)], -1)

    with model.watch_attention(add):
        model.run(rest.tokens)
    sink = {layer for layer in sums if _sinks(model, layer) is not None}
    off = {layer: off_one(model, layer, own) for layer, own in sums.items()}
    where = max(off, key=lambda layer: off[layer])
    note = f"sinks in {len(sink)} layers, whose rows sum below 1; " if sink else ""
    limit = 1e-4 if is_precise(model) else 2e-2
    return Check("attention rows sum to 1", off[where] < limit, off[where], f"{note}worst in layer {where}")


def off_one(model: HookedModel, layer: int, sums: Float[Tensor, "*row"]) -> float:
    """How far the sums of a layer's rows of attention are from 1 at most: above it, where a sink takes a part."""
    off = sums - 1
    return _largest(off if _sinks(model, layer) is None else off.clamp_min(0))


def projections_are_their_weights(rest: Rest, layers: tuple[int, ...]) -> Check:
    """The projections of attention are the matrices and biases that scores are made from, and nothing is added."""
    model, generator, worst = rest.model, torch.Generator().manual_seed(0), (0.0, "none")
    limit = max(PRECISE, 16 * torch.finfo(model.dtype).eps)
    for layer in layers:
        for name in ("q", "k", "v", "qkv", "o"):
            module = model.layout.inner(model.hf, layer, getattr(model.layout, name))
            if module is None:
                continue
            weight, bias = linear_weight(module), getattr(module, "bias", None)
            x = torch.randn(1, 4, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
            by_hand = nn.functional.linear(x, weight, None if bias is None else bias.to(weight.device))
            worst = max(worst, (relative(module(x), by_hand), f"{name} of layer {layer}"))
    return Check("projections are their weights", worst[0] < limit, worst[0], f"worst: {worst[1]}")


def _sinks(model: HookedModel, layer: int) -> nn.Parameter | None:
    """What takes attention and gives no value, where the family has it: rows then sum to less than 1."""
    return getattr(model.layout.inner(model.hf, layer, model.layout.attn), "sinks", None)


def _largest(difference: Tensor) -> float:
    """Largest magnitude; infinite where something is NaN."""
    largest = float(difference.abs().max())
    return largest if largest == largest else float("inf")


def parts_add_up(rest: Rest, layers: tuple[int, ...]) -> Check:
    """What heads and FFN write is what the residual stream gains: the heads through the norms that stand behind them.

    A norm or a factor that the layout misses, or has in another place, shows here. Families that normalise the stream
    are left out.
    """
    model = rest.model
    placed = [layer for layer in layers if layer in model.ffn_layers]
    if model.layout.post_norm or not placed:
        return Check(ADD_UP, True, 0.0, "left out: the stream is normalised, or has no FFN behind attention")
    points = ["resid_pre", "z", "mlp_out", "resid_post", *([] if model.parallel else ["resid_mid"])]
    _, found = model.run_with_cache(rest.tokens, [(point, layer) for layer in placed for point in points])
    worst = max((_apart(model, found, layer), layer) for layer in placed)
    return Check(ADD_UP, worst[0] < rest.limit, worst[0], f"worst in layer {worst[1]}")


def _apart(model: HookedModel, found: Any, layer: int) -> float:
    """How far one layer is from adding up; where the FFN stands beside attention, both together."""
    heads, ffn = _written(model, found, layer), found["mlp_out", layer].double()
    before, after = (found[name, layer].double() for name in ("resid_pre", "resid_post"))
    if model.parallel:
        return _off(model, before, heads + ffn, after)
    middle = found["resid_mid", layer].double()
    return max(_off(model, before, heads, middle), _off(model, middle, ffn, after))


def _off(model: HookedModel, before: Tensor, added: Tensor, after: Tensor) -> float:
    """Beyond what adding to the stream rounds away: single dimensions of it can be thousands of times larger."""
    rounding = 4 * torch.finfo(model.dtype).eps * (before.abs() + added.abs() + after.abs())
    difference = (after - before - added).abs() - rounding
    return relative(difference.clamp_min(0) + added, added)


def _written(model: HookedModel, found: Any, layer: int) -> Tensor:
    """The output projection of z, its norm if there is one, and the family's factor."""
    z = found["z", layer]
    written = model.o_module(layer)(z.flatten(2).to(model.dtype))
    norm = model.layout.inner(model.hf, layer, model.layout.ln1_post)
    written = written if norm is None else norm(written)
    return written.double() * model.layout.residual_scale
