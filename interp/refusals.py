"""What load_model refuses to serve, each with a sentence that says why and what to do."""

from __future__ import annotations

import os
import re
from typing import Any

import torch

from interp.architecture import linear_width
from interp.errors import HeadscopeError, ModelLoadError, RefusedModelError
from interp.memory import SMALLER, out_of_memory
from interp.model import HookedModel

_ENCODERS = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "esm",
        "flaubert",
        "ibert",
        "megatron-bert",
        "mobilebert",
        "modernbert",
        "mpnet",
        "nystromformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roformer",
        "squeezebert",
        "xlm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
        "yoso",
    }
)
_ATTENTION_FREE = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})
# What checkpoints hold and a text model leaves unread with reason, beside what its family in transformers names.
_IGNORED = re.compile(
    r"\.(attn|attention|self_attn|self_attention)\.(masked_)?bias$"  # the causal mask, as early versions saved it
    r"|rotary_emb\.|\.inv_freq$|position_ids$"  # computed anew
    r"|(^|\.)(vision|visual|audio|image|speech)|mm_projector|multi_modal_projector"  # parts for images and sound
    r"|(^|\.)mtp"  # further tokens at once
    r"|^(v_head|value_head|score|classifier|reward_head)\."  # heads of a training run, or of a classifier
)
_PLAIN = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # float8 has its scale elsewhere
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def wrong_kind(config: Any, source: Any) -> None:
    """Encoder-only, encoder-decoder and attention-free models are not served."""
    named = " ".join(getattr(config, "architectures", None) or ())
    if getattr(config, "is_encoder_decoder", False):
        raise RefusedModelError(
            f"{str(source)!r} ({config.model_type}) is an encoder-decoder model; headscope serves "
            "decoder-only causal language models"
        )
    if "Classification" in named:
        raise RefusedModelError(
            f"{str(source)!r} ({config.model_type}) is a classifier ({named}): it predicts no next "
            "token; give a causal language model"
        )
    if config.model_type in _ENCODERS or "MaskedLM" in named:
        raise RefusedModelError(
            f"{str(source)!r} ({config.model_type}) is an encoder-only model: its heads look both "
            "ways, so prefix matching does not exist for it; give a causal language model"
        )
    if config.model_type in _ATTENTION_FREE:
        raise RefusedModelError(
            f"{str(source)!r} ({config.model_type}) is a state-space or recurrent model: it has no "
            "attention heads to score"
        )


def headless(hf: Any) -> None:
    """A model without unembedding (AutoModel gives them)."""
    if hf.get_output_embeddings() is None:
        raise RefusedModelError(
            f"{type(hf).__name__} has no unembedding and predicts no token: load it by "
            "transformers.AutoModelForCausalLM in place of AutoModel"
        )


def pickled_weights(folder: str, source: Any) -> None:
    """A folder without safetensors."""
    files = os.listdir(folder) if os.path.isdir(folder) else [".safetensors"]
    if any(name.endswith(".safetensors") for name in files):
        return
    pickled = sorted(name for name in files if name.endswith(_PICKLES))
    if pickled:
        raise _pickled(source, pickled[0])
    raise ModelLoadError(f"the folder {str(source)!r} holds no weights (*.safetensors)")


def _pickled(source: Any, file: str) -> RefusedModelError:
    return RefusedModelError(
        f"{str(source)!r} holds pickled weights only ({file}). Pickles can run any code, so they "
        "are refused unless you ask for them: allow_pickle=True (--allow-pickle)"
    )


def incomplete_weights(missing: Any, source: Any) -> None:
    """Weights the checkpoint does not hold would be drawn at random, and every number would be noise."""
    if missing:
        raise ModelLoadError(
            f"the weights of {str(source)!r} are incomplete: {len(missing)} are not there "
            f"({', '.join(sorted(missing)[:3])}, ...). The checkpoint is damaged or of another model"
        )


def unread_weights(unexpected: Any, source: Any) -> None:
    """Weights of the checkpoint that no part of the model reads: a config.json of fewer layers, or of another model."""
    unread = sorted(name for name in unexpected if not _IGNORED.search(name))
    if unread:
        names, more = ", ".join(unread[:3]), ", ..." if len(unread) > 3 else ""
        raise ModelLoadError(
            f"{len(unread)} weights of {str(source)!r} are read by no part of the model that its config.json describes "
            f"({names}{more}): the configuration has fewer layers than the weights, or is of another model. "
            "Give the config.json that was saved with the weights"
        )


def damaged_weights(hf: Any, source: Any) -> None:
    """NaN or infinity in a weight; offloaded weights are left to the self-check, which sees them in the logits."""
    for name, parameter in hf.named_parameters():
        if not parameter.is_meta and not bool(torch.isfinite(parameter.sum(dtype=torch.float32))):
            if bool(torch.isfinite(parameter).all()):
                continue
            raise ModelLoadError(f"{str(source)!r} holds NaN or infinite weights ({name}): the checkpoint is damaged")


def other_heads(model: HookedModel) -> None:
    """Heads that can't be told apart: none, of different widths, or in a quantised projection."""
    if not model.attention_layers:
        raise RefusedModelError(f"{model.layout.architecture} has no layer with softmax attention: there is no head")
    quantised(model)
    for layer in model.attention_layers:
        width = linear_width(model.o_module(layer))
        if width != model.n_heads * model.d_value:
            raise RefusedModelError(
                f"layer {layer} has heads of another number or width ({width} instead of "
                f"{model.n_heads} x {model.d_value}): models whose layers differ are not served"
            )
    for name in ("ln1", "ln2", "ln1_post", "ln2_post"):
        inside = getattr(model.layout, name)
        if inside and not any(model.layout.inner(model.hf, layer, inside) for layer in range(model.n_layers)):
            raise RefusedModelError(
                f"{model.layout.architecture} should have a norm {inside!r} in its blocks and has "
                "none: its layout is not the one TransformerLens describes"
            )


def shared_parts(model: HookedModel) -> None:
    """One module in two layers: what is held on it in one layer would be held in the other too."""
    for told, modules in _parts(model).items():
        first: dict[int, int] = {}
        for layer, module in modules:
            if first.setdefault(id(module), layer) != layer:
                raise RefusedModelError(
                    f"layers {first[id(module)]} and {layer} share one {told}, so that neither can be read or removed "
                    "alone: give each layer a module of its own, copy.deepcopy of it for example"
                )


def _parts(model: HookedModel) -> dict[str, list[tuple[int, torch.nn.Module]]]:
    """Every layer's block, attention and FFN."""
    layout, hf, layers = model.layout, model.hf, range(model.n_layers)
    attention = ((layer, layout.inner(hf, layer, layout.attn)) for layer in layers)
    return {
        "block": [(layer, layout.block(hf, layer)) for layer in layers],
        "attention": [(layer, module) for layer, module in attention if module is not None],
        "FFN": [(layer, module) for layer in layers for module in layout.ffn_modules(hf, layer)],
    }


def unlike_unembedding(model: HookedModel) -> None:
    """An unembedding of another dtype than the blocks, where the model does not cast between the two."""
    dtype = model.hf.get_submodule(model.layout.unembed).weight.dtype
    if dtype == model.dtype:
        return
    try:
        with torch.no_grad():
            model(torch.zeros(1, 2, dtype=torch.long))
    except RuntimeError as error:
        raise RefusedModelError(
            f"{model.layout.architecture} does not run with an unembedding in {dtype} behind blocks in {model.dtype}: "
            f"cast the whole model, for example by model.to({model.dtype})"
        ) from error


def quantised(model: HookedModel) -> None:
    """Projections of attention, or an unembedding, that hold no matrix of numbers: packed integers and the like."""
    places = {"o": "output projection", "q": "q projection", "k": "k projection", "v": "v projection", "qkv": "q, k, v"}
    modules = [
        (f"layer {layer} keeps its {told}", model.layout.inner(model.hf, layer, getattr(model.layout, name)))
        for layer in model.attention_layers
        for name, told in places.items()
    ]
    modules.append(("the model keeps its unembedding", model.hf.get_submodule(model.layout.unembed)))
    for place, module in modules:
        weight = getattr(module, "weight", None)
        if module is None or (isinstance(weight, torch.Tensor) and weight.dtype in _PLAIN and weight.dim() == 2):
            continue
        form = weight.dtype if isinstance(weight, torch.Tensor) else f"a {type(module).__name__} without a matrix"
        raise RefusedModelError(
            f"{place} in a quantised form ({form}), from which no head can be told: load a checkpoint in float32, "
            "bfloat16 or float16"
        )


def explained(error: Exception, source: Any, what: str) -> HeadscopeError:
    """Turn what transformers raised into one sentence with a next step."""
    text = str(error)
    if short := out_of_memory(error):
        return ModelLoadError(f"the {what} of {str(source)!r} can't be loaded: {short}. {SMALLER}")
    if "trust_remote_code" in text:
        return RefusedModelError(
            f"{str(source)!r} wants to run Python code of its own. headscope refuses that unless "
            "you ask for it: pass trust_remote_code=True (--trust-remote-code) if you trust its "
            "authors"
        )
    if "Unrecognized configuration class" in text or "Unrecognized model" in text:
        return RefusedModelError(f"{str(source)!r} is not a causal language model that transformers knows")
    if any(part in text for part in ("use_safetensors", "model.safetensors")):
        return RefusedModelError(
            f"{str(source)!r} has no safetensors weights. Pickled weights can run any code, so "
            "they are refused unless you ask for them: allow_pickle=True (--allow-pickle)"
        )
    if "does not recognize this architecture" in text:
        return RefusedModelError(
            f"{str(source)!r} is of a kind that this version of transformers does not know; a newer one may"
        )
    if "ignore_mismatched_sizes" in text:
        return ModelLoadError(
            f"the weights of {str(source)!r} have other shapes than its config.json says: the folder "
            "holds files of two models"
        )
    first = text.strip().splitlines()[0].rstrip(".") if text.strip() else type(error).__name__
    if type(error).__name__ == "SafetensorError":
        return ModelLoadError(
            f"the weights of {str(source)!r} are damaged or not whole ({first}): fetch or save them again"
        )
    return ModelLoadError(
        f"could not read the {what} of {str(source)!r}: {first}. Give `smollm2-135m`, a hub id, a "
        "folder or a .gguf file; a hub id needs network or a filled cache"
    )
