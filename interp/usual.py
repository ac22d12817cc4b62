"""What people who come from TransformerLens try first: a cache of the usual places, a few tokens more, and its names.

1. A cache without names holds USUAL, while it fits into MOST bytes.
2. `generate` runs the whole text again for every token, so that gates, edits and patches stand at every position as
   they do in a single run; it is for a few dozen tokens.
3. A name that only TransformerLens has is answered with where it is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError
from interp.inputs import read
from interp.overflow import refuse_broken_logits
from interp.tokenizing import Given, to_string
from interp.whole import whole_number

if TYPE_CHECKING:
    from interp.model import HookedModel

Tokens = Int[Tensor, "batch query"]
USUAL = ("resid_pre", "resid_post", "z", "mlp_out", "pattern")
MOST = 2 << 30
BRIDGE = "model.bridge() is TransformerLens's own view of the same weights, and has all of its names"
ELSEWHERE = {
    "cfg": "the sizes are model.n_layers, n_heads, d_head, d_model, vocab_size, max_length, and model.config",
    "run_with_hooks": "write `with model.edit('z', change, layer=3): model(tokens)`",
    "hooks": "write `with model.edit('z', change, layer=3): model(tokens)`",
    "add_hook": "write `with model.edit('z', change, layer=3): model(tokens)`",
    "W_O": "W_O of a layer is model.w_o(layer), [head d_value d_model]",
    **{f"W_{name}": f"W_{name} of a layer is model.w_qkv(layer, '{name.lower()}')" for name in "QKV"},
    "W_U": "the unembedding is model.hf.get_output_embeddings().weight, [vocab d_model]",
    "W_E": "the embedding is model.hf.get_input_embeddings().weight, [vocab d_model]",
    "blocks": "the modules are those of model.hf",
    "from_pretrained": "load by interp.load_model('gpt2')",
    "to_single_token": "write model.to_tokens(text), and look at its last column",
}


def names(model: HookedModel, tokens: Tokens) -> list[str]:
    """The usual places of this model. Raises UsageError where they would take more memory than MOST."""
    found = [name for name in USUAL if name != "mlp_out" or model.ffn_layers]
    batch, length = tokens.shape
    wide = (3 if "mlp_out" in found else 2) * model.d_model + model.n_heads * (model.d_value + length)
    size = batch * length * wide * model.n_layers * model.dtype.itemsize
    if size > MOST:
        raise UsageError(
            f"{', '.join(found)} of {batch} x {length} tokens take {size / 2**30:.1f} GiB, more than is kept unasked "
            f"({MOST >> 30} GiB): name what you want, for example names=['z', ('pattern', 3)]"
        )
    return found


def generate(
    model: HookedModel, start: Given, max_new_tokens: int, *, temperature: float, seed: int
) -> Int[Tensor, "batch longer"] | str:
    """`start` and at most so many tokens more; a text comes back for a text.

    temperature: 0 takes the likeliest token, above it tokens are drawn, seeded. It ends at the model's end of text, and
    where its context is full. Raises UsageError for more than one sequence and values out of range, HeadscopeError
    where the logits are no finite numbers.
    """
    if whole_number(max_new_tokens, "max_new_tokens") < 1 or not 0 <= temperature < inf:
        raise UsageError(
            f"max_new_tokens is 1 or more and temperature 0 or more, got {max_new_tokens} and {temperature}"
        )
    tokens = read(model, start).to(model.device)
    if tokens.dim() != 2 or len(tokens) != 1:
        raise UsageError(
            f"one sequence at a time is written on, [1 query], got shape {tuple(tokens.shape)}: call generate for each"
        )
    stream, endings = torch.Generator().manual_seed(seed), ends(model)
    for _ in range(max_new_tokens):
        if model.max_length is not None and tokens.shape[1] >= model.max_length:
            break
        with torch.no_grad():
            last = model(tokens)[0, -1].float().cpu()
        refuse_broken_logits(model, last[None], tokens[0].tolist(), start=tokens.shape[1] - 1)
        following = _next(last, temperature, stream)
        tokens = torch.cat([tokens, torch.tensor([[following]], device=tokens.device)], dim=1)
        if following in endings:
            break
    return to_string(model, tokens) if isinstance(start, str) else tokens


def _next(logits: Tensor, temperature: float, stream: torch.Generator) -> int:
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=stream))


def ends(model: HookedModel) -> set[int]:
    """The ids that end a text, by the model's own settings for generation or by its configuration."""
    told: Any = getattr(getattr(model.hf, "generation_config", None), "eos_token_id", None)
    told = getattr(model.config, "eos_token_id", None) if told is None else told
    return set() if told is None else set(told if isinstance(told, list | tuple) else [told])


def way_to(name: str, there: Sequence[str]) -> str:
    """What to say about an attribute that a model does not have."""
    told = f"a HookedModel has no {name!r}"
    if name in ELSEWHERE:
        return f"{told}: {ELSEWHERE[name]}; {BRIDGE}"
    near = get_close_matches(name, [other for other in there if not other.startswith("_")], n=3, cutoff=0.75)
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return f"{told}{hint}; {BRIDGE}"
