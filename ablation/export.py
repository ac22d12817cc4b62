"""The pruned model as an ordinary Hugging Face checkpoint, for anything that reads one.

A removed head's rows of W_O are set to zero (the bias of the output projection belongs to no head and stays). A removed
FFN's last linear is set to zero, weight and bias; where a norm stands behind it, or a mixture of experts has no single
last linear, all of the FFN's weights and the norm's bias are. Key-value groups that every layer has lost can be cut
out, so that the checkpoint is smaller (cutting.py). Before anything is kept the changed model is compared with the
gated one. The model in memory is as it was when this returns. Only zero ablation can be written as weights of the same
architecture.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from torch import Tensor

from ablation.cutting import Cut, cut_weights, plan_cut
from ablation.provenance import model_mark
from interp import hooks
from interp.errors import RefusedModelError, StoreError, UsageError
from interp.leftovers import left_behind, mark
from interp.masks import FFNMask, FFNs, HeadMask, Heads, ffn_mask, head_mask
from interp.offload import is_offloaded

if TYPE_CHECKING:
    from interp.model import HookedModel

RECORD = "pruned.json"
LENGTH = 16


def export(
    model: HookedModel,
    heads: Heads | None,
    ffns: FFNs | None,
    out_dir: str | Path,
    *,
    ablation: str = "zero",
    cut: bool = False,
) -> Path:
    """Write the model without the components whose mask is 0, or that are listed; returns the folder.

    cut: make the q, k, v and output projections smaller by the key-value groups that every layer has lost. The folder
    must not exist or be empty; it appears complete or not at all. Raises UsageError for another ablation, a mask that
    does not fit or nothing that could be cut, RefusedModelError where the changed weights would not be the gated model,
    StoreError where the folder can't be written.
    """
    if ablation != "zero":
        raise UsageError(
            f"a model pruned with {ablation!r} ablation can't be written as an ordinary checkpoint: its "
            "removed components still give something. Export with ablation='zero', or evaluate with gates"
        )
    heads, ffns = head_mask(heads, model.n_layers, model.n_heads), ffn_mask(ffns, model.n_layers)
    removed_heads = _removed(heads, (model.n_layers, model.n_heads), "heads")
    removed_ffns = [place[0] for place in _removed(ffns, (model.n_layers,), "ffns")]
    if is_offloaded(model.hf):
        raise RefusedModelError("weights that are offloaded can't be changed: load the model into memory to export it")
    if missing := sorted({layer for layer, _ in removed_heads} - set(model.attention_layers)):
        raise UsageError(f"the mask removes heads of layers {missing}, which have no attention heads")
    target = Path(out_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreError(f"{str(target)!r} is there already and is not an empty folder: give another one")
    smaller = plan_cut(model, removed_heads) if cut else None
    with zeroed(model, removed_heads, removed_ffns) as difference:
        record: dict[str, Any] = {
            "model": model_mark(model),
            "ablation": ablation,
            "largest_difference": difference,
            "removed_heads": [f"{layer}.{head}" for layer, head in removed_heads],
            "removed_ffns": removed_ffns,
        }
        _write(model, target, record, smaller)
    return target


@contextmanager
def zeroed(model: HookedModel, heads: Sequence[Sequence[int]], ffns: Sequence[int]) -> Iterator[float]:
    """The model with these components' weights set to zero, for as long as the context lasts.

    Gives the largest difference of its logits from the gated model's, in units of their spread.
    """
    gated = _logits(model, heads, ffns)
    outputs = [model.o_module(layer).get_parameter("weight") for layer in sorted({layer for layer, _ in heads})]
    whole = [weight for layer in ffns for weight in ffn_weights(model, layer)]
    kept = [(weight, weight.detach().clone()) for weight in (*outputs, *whole)]
    try:
        with torch.no_grad():
            for layer, head in heads:
                hooks.o_rows(model.o_module(layer), model.n_heads)[head].zero_()
            for weight in whole:
                weight.zero_()
        yield _difference(model, _logits(model), gated, "zeroed")
    finally:
        for weight, value in kept:
            weight.data.copy_(value)


def ffn_weights(model: HookedModel, layer: int) -> list[Tensor]:
    """What to set to zero so that the FFN adds nothing."""
    layout = model.layout
    last = layout.inner(model.hf, layer, layout.ffn_out)
    if last is None:
        raise RefusedModelError(f"layer {layer} of {layout.architecture} has no FFN to remove")
    if layout.ffn_out == layout.ln2_post:
        whole = layout.inner(model.hf, layer, layout.ffn)
        bias = getattr(last, "bias", None)
        return [*(whole.parameters() if whole is not None else ()), *([bias] if isinstance(bias, Tensor) else [])]
    beside = layout.inner(model.hf, layer, layout.ffn_beside)
    return [*last.parameters(), *(beside.parameters() if beside is not None else ())]


def _removed(mask: HeadMask | FFNMask | Tensor | None, shape: tuple[int, ...], what: str) -> list[tuple[int, ...]]:
    """Places whose mask is 0."""
    if mask is None:
        return []
    values = mask if isinstance(mask, Tensor) else mask.values
    if tuple(values.shape) != shape:
        raise UsageError(
            f"the mask over {what} has shape {tuple(values.shape)}, but this model's is {shape}: it was "
            "made for another model"
        )
    if not bool(((values == 0) | (values == 1)).all()):
        raise UsageError(
            f"the mask over {what} must hold 1 (keep) or 0 (remove) to be exported, got "
            f"{sorted({round(float(v), 3) for v in values.flatten() if v not in (0, 1)})[:3]}"
        )
    return [tuple(place) for place in (values == 0).nonzero().tolist()]


def _difference(model: HookedModel, found: Tensor, gated: Tensor, how: str) -> float:
    """Largest difference in units of the logits' spread; refuses one that is more than rounding."""
    difference = float((found - gated).abs().max() / gated.std().clamp_min(1e-12))
    if not difference < (1e-3 if model.dtype.itemsize >= 4 else 0.2):
        raise RefusedModelError(
            f"{model.layout.architecture} with {how} weights is not the model with removed components (logits differ "
            f"by {difference:.2g}): it can't be exported" + (" with a cut: leave the cut out" if how == "cut" else "")
        )
    return difference


def _logits(model: HookedModel, heads: Sequence[Sequence[int]] = (), ffns: Sequence[int] = ()) -> Tensor:
    """Logits of a few spread-out tokens, with these components gated to 0."""
    head_mask, ffn_mask = torch.ones(model.n_layers, model.n_heads), torch.ones(model.n_layers)
    for layer, head in heads:
        head_mask[layer, head] = 0.0
    ffn_mask[list(ffns)] = 0.0
    with torch.no_grad(), model.gates(heads=head_mask, ffns=ffn_mask if ffns else None):
        return model(_tokens(model)).double().cpu()


def _tokens(model: HookedModel) -> Int[Tensor, "one query"]:
    length = min(LENGTH, model.max_length or LENGTH)
    return (torch.arange(1, length + 1) * max(1, model.vocab_size // (length + 1)))[None] % model.vocab_size


def _save(model: HookedModel, folder: Path, record: dict[str, Any], cut: Cut | None) -> None:
    """The weights; a smaller model is loaded again from what was written, by plain transformers, and compared."""
    if cut is None:
        model.hf.save_pretrained(folder)
        return
    weights = cut_weights(model, cut)
    model.hf.save_pretrained(folder, state_dict=weights)
    cut.config.architectures = model.hf.config.architectures
    cut.config.save_pretrained(folder)
    try:
        small = type(model.hf).from_pretrained(folder, dtype=model.dtype).eval()
        with torch.no_grad():
            found = small(input_ids=_tokens(model), use_cache=False).logits.double()
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RefusedModelError(
            f"{model.layout.architecture} does not run with fewer key-value groups ({reason}): it can't be exported "
            "with a cut; leave the cut out"
        ) from error
    sizes = {"parameters_left": small.num_parameters(), "parameters": model.hf.num_parameters()}
    record["largest_difference"] = _difference(model, found, _logits(model), "cut")
    record["cut"] = {**cut.record(), **sizes}


def _sweep(target: Path) -> None:
    """Take away the folders that killed exports to this target left."""
    begin = f".{target.name}."
    for path in target.parent.iterdir():
        if path.name.startswith(begin) and left_behind(path.name.removeprefix(begin)):
            shutil.rmtree(path, ignore_errors=True)


def _write(model: HookedModel, target: Path, record: dict[str, Any], cut: Cut | None) -> None:
    """Into a folder beside the target, which takes its name when all is there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        made = target.with_name(f".{target.name}.{mark()}")
        made.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(f"{str(target)!r} can't be written ({error.strerror}): give another folder") from error
    try:
        _save(model, made, record, cut)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(made)
        (made / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        made.chmod(0o755)
        if target.exists():
            target.rmdir()
        made.rename(target)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{str(target)!r} can't be written ({error}): make room or give another folder") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
