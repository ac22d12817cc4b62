"""Key-value groups that are gone from every layer, cut out of the weights (Method 4, the kv group as a unit).

A configuration has one number of heads for all layers, so what can be cut is as many groups from each layer as every
layer has lost: with groups removed unevenly that is the fewest any layer has lost, and the rest stays as zeros. (Orders
that take groups evenly are in orders.py.) Some families ask for more, such as a width that the number of heads
divides: the most groups that the configuration takes are cut.
A group's rows of the q, k and v projections, its columns of the output projection, and whatever else of the attention
has a size that goes with heads (biases, sinks, norms by head) are a block each: with the heads of a group side by side,
every such size falls into as many equal blocks as there are groups. Whether the smaller model is the gated one is
checked by loading it (export.py): where a norm runs over all heads together (OLMo 2, BitNet) it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from interp.errors import RefusedModelError, UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(frozen=True)
class Cut:
    """Which groups of each layer leave, the smaller configuration, and the shapes of its weights."""

    groups: Mapping[int, tuple[int, ...]]
    n_groups: int
    config: Any
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def per_layer(self) -> int:
        return len(next(iter(self.groups.values())))

    def record(self) -> dict[str, Any]:
        """What the exported folder says of it; groups have their numbers in the whole model."""
        text = self.config.get_text_config()
        return {
            "groups_per_layer": self.per_layer,
            "groups": [f"{layer}.{group}" for layer, held in self.groups.items() for group in held],
            "heads_left": text.num_attention_heads,
            "kv_heads_left": text.num_key_value_heads,
        }


def removed_groups(model: HookedModel, heads: Sequence[Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """The groups of each attention layer all of whose heads are removed."""
    width, gone = model.n_heads // model.n_kv_heads, {(layer, head) for layer, head in heads}
    return {
        layer: tuple(
            group
            for group in range(model.n_kv_heads)
            if all((layer, head) in gone for head in range(group * width, (group + 1) * width))
        )
        for layer in model.attention_layers
    }


def plan_cut(model: HookedModel, heads: Sequence[Sequence[int]]) -> Cut:
    """The largest cut that these removed heads allow.

    Raises UsageError where a layer keeps all its groups, or would keep none, and RefusedModelError for a family whose
    configuration can't say it.
    """
    text = model.config
    if model.layout.qkv is not None or None in (model.layout.q, model.layout.k, model.layout.v):
        raise RefusedModelError(
            f"{model.layout.architecture} makes q, k and v in one projection or through a latent one, which can't be "
            "cut by group: export without cutting, which sets the removed heads' weights to zero"
        )
    if getattr(text, "num_key_value_heads", None) is None:
        raise RefusedModelError(
            f"the configuration of {model.layout.architecture} has no num_key_value_heads to make smaller: export "
            "without cutting, which sets the removed heads' weights to zero"
        )
    groups = removed_groups(model, heads)
    whole = [layer for layer, held in groups.items() if not held]
    if whole:
        raise UsageError(
            f"{len(whole)} of {len(groups)} layers (such as {whole[0]}) keep all of their key-value groups, and a "
            "configuration has one number of groups for all layers: nothing can be cut. Remove groups evenly "
            "(orders.even_over_layers), or export without cutting, which sets weights to zero"
        )
    most, reason = min(min(len(held) for held in groups.values()), model.n_kv_heads - 1), ""
    for count in range(most, 0, -1):
        config, reason = _smaller(model, count)
        if config is not None:
            shapes = _shapes(model, config)
            return Cut({layer: held[:count] for layer, held in groups.items()}, model.n_kv_heads, config, shapes)
    raise RefusedModelError(
        f"{model.layout.architecture} has no configuration with fewer key-value groups ({reason}): export without "
        "cutting, which sets the removed heads' weights to zero"
    )


def cut_weights(model: HookedModel, cut: Cut) -> dict[str, Tensor]:
    """The weights of the smaller model. Raises RefusedModelError where a size does not fall into groups."""
    attention = {
        f"{model.layout.blocks}.{layer}.{model.layout.attn}.": [g for g in range(cut.n_groups) if g not in held]
        for layer, held in cut.groups.items()
    }
    found: dict[str, Tensor] = {}
    for name, weight in model.hf.state_dict().items():
        wanted = cut.shapes.get(name)
        left = next((left for prefix, left in attention.items() if name.startswith(prefix)), None)
        found[name] = weight if wanted is None or left is None else _without(weight, wanted, left, cut.n_groups)
        if wanted is not None and tuple(found[name].shape) != wanted:
            raise RefusedModelError(
                f"{name} of {model.layout.architecture} can't be cut from {tuple(weight.shape)} to {wanted}: export "
                "without cutting, which sets the removed heads' weights to zero"
            )
    return found


def _without(weight: Tensor, wanted: tuple[int, ...], left: Sequence[int], n_groups: int) -> Tensor:
    """Of every dimension that has to be smaller, the blocks of the groups that are left."""
    for dimension, size in enumerate(wanted):
        if weight.shape[dimension] != size and weight.shape[dimension] % n_groups == 0:
            width = weight.shape[dimension] // n_groups
            places = torch.cat([torch.arange(group * width, (group + 1) * width) for group in left])
            weight = weight.index_select(dimension, places.to(weight.device))
    return weight.contiguous()


def _smaller(model: HookedModel, count: int) -> tuple[Any, str]:
    """The configuration with `count` groups less, or None and why the family refuses it."""
    groups = model.n_kv_heads - count
    fewer = {
        "num_key_value_heads": groups,
        "num_attention_heads": groups * (model.n_heads // model.n_kv_heads),
        "head_dim": model.d_head,
    }
    whole = model.hf.config
    told = whole.to_dict()
    nested = next((key for key in getattr(whole, "sub_configs", {}) if getattr(whole, key, None) is model.config), None)
    if nested is not None:
        told[nested] = {**told[nested], **fewer}
    else:
        told.update(fewer)
    try:
        return type(whole).from_dict(told), ""
    except Exception as error:  # a configuration class checks what it likes, and says so in its own way
        return None, str(error).strip().splitlines()[-1]


def _shapes(model: HookedModel, config: Any) -> dict[str, tuple[int, ...]]:
    """The smaller model's weights, built without memory."""
    with torch.device("meta"):
        small = type(model.hf)(config)
    return {name: tuple(weight.shape) for name, weight in small.state_dict().items()}
