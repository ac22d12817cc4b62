"""load_model: a hub id, a folder, a GGUF file, the embedded model or a loaded Hugging Face model -> HookedModel.

Weights are frozen and in eval mode. Refused, each with a sentence: what is not a causal language model, what has no
tokenizer, what holds NaN, pickled weights and remote code unless asked for by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interp.architecture import read_layout
from interp.attention import door
from interp.errors import HeadscopeError, ModelLoadError, RefusedModelError, UsageError
from interp.model import HookedModel
from interp.selfcheck import verify

DEFAULT_MODEL = "smollm2-135m"
EMBEDDED = (DEFAULT_MODEL,)


def load_model(
    source: str | Path | nn.Module = DEFAULT_MODEL,
    *,
    tokenizer: Any = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    wheel: str | Path | None = None,
    offload_folder: str | Path | None = None,
    max_memory: Mapping[Any, Any] | None = None,
    check: bool = True,
) -> HookedModel:
    """Load a causal language model with its heads within reach.

    source: `smollm2-135m` (embedded), a hub id, a folder, a .gguf file, or a Hugging Face model already in memory.
    dtype: a torch dtype or its name; unset, float32 on the CPU and the checkpoint's own on a GPU.
    device: cpu, cuda, or `auto` to spread over devices, memory and (with offload_folder) disk by accelerate.
    check: whether the self-check runs (selfcheck.py).
    Raises ModelLoadError, RefusedModelError, UsageError or SelfCheckError, each saying what to do next.
    """
    if isinstance(source, nn.Module):
        return wrap(source, tokenizer, {"source": type(source).__name__}, check=check)
    device = str(device) if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    folder, provenance = _resolve(str(source), wheel)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _config(folder, source, options)
    _refuse_wrong_kind(config, source)
    _refuse_pickle(folder, source, allow_pickle)
    tokenizer = tokenizer or _tokenizer(folder, source, options)
    hf = _weights(folder, source, config, {
        **options,
        "dtype": _dtype(dtype, device),
        "use_safetensors": None if allow_pickle else True,
        **_placement(device, offload_folder, max_memory),
    })  # fmt: skip
    if device != "auto":
        hf = hf.to(device)
    found = {"revision": getattr(hf.config, "_commit_hash", None) or revision, **provenance}
    return wrap(hf, tokenizer, found, check=check)


def wrap(hf: Any, tokenizer: Any, provenance: Mapping[str, Any], *, check: bool = True) -> HookedModel:
    """A HookedModel over a Hugging Face model in memory, through the attention interface where its family has one."""
    _refuse_wrong_kind(hf.config, provenance.get("source", type(hf).__name__))
    hf.eval().requires_grad_(False)
    layout = read_layout(hf)
    _refuse_nan(hf, provenance.get("source", layout.architecture))
    told = {**provenance, "architecture": layout.architecture, "dtype": str(hf.dtype).removeprefix("torch.")}
    model = HookedModel(hf, tokenizer, layout, eager=not _through_the_door(hf), provenance=told)
    _refuse_other_heads(model)
    if not _answers(model):
        hf.set_attn_implementation("eager")
        model = HookedModel(hf, tokenizer, layout, eager=True, provenance=told)
    if check:
        verify(model)
    return model


def _through_the_door(hf: Any) -> bool:
    door.register()
    try:
        hf.set_attn_implementation(door.NAME)
    except (ValueError, KeyError):
        hf.set_attn_implementation("eager")
        return False
    return True


def _answers(model: HookedModel) -> bool:
    """Whether every attention layer calls our attention function (some families ignore it without an error)."""
    if model.eager:
        return True
    heard: set[int] = set()
    tokens = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    try:
        with torch.no_grad(), model.watch_attention(lambda layer, rows: heard.add(layer)):
            model.run(tokens)
    except KeyError:
        return False
    return heard == set(model.attention_layers)


def _resolve(source: str, wheel: str | Path | None) -> tuple[str, dict[str, Any]]:
    """Where the model's files are: a folder or a hub id."""
    from interp.embedded import converted_gguf, embedded_model

    if source in EMBEDDED:
        told = {"source": source, "quantization": "Q4_1, dequantised to float32"}
        return str(embedded_model(source, wheel=wheel)), told
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelLoadError(f"there is no file {source!r}")
        return str(converted_gguf(path)), {"source": path.name, "quantization": "GGUF, dequantised"}
    if path.is_dir():
        return str(path), {"source": path.resolve().name}
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise ModelLoadError(f"there is no folder {source!r}")
    return source, {"source": source}


def _config(folder: str, source: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if os.path.isdir(folder) and not os.path.isfile(os.path.join(folder, "config.json")):
        raise ModelLoadError(f"the folder {str(source)!r} holds no config.json: it is not a saved Hugging Face model")
    try:
        return AutoConfig.from_pretrained(folder, **options)
    except Exception as error:
        raise _explained(error, source, "configuration") from error


def _tokenizer(folder: str, source: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json", "spiece.model", "vocab.txt")
    if os.path.isdir(folder) and not any(os.path.isfile(os.path.join(folder, name)) for name in names):
        raise ModelLoadError(f"the folder {str(source)!r} has no tokenizer (none of {', '.join(names[:3])}, ...): save "
                             "the model's tokenizer into it")
    try:
        return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        raise _explained(error, source, "tokenizer") from error


def _weights(folder: str, source: Any, config: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(folder, config=config, **options)
    except Exception as error:
        raise _explained(error, source, "weights") from error


def _explained(error: Exception, source: Any, what: str) -> HeadscopeError:
    """Turn what transformers raised into one sentence with a next step."""
    text = str(error)
    if "trust_remote_code" in text:
        return RefusedModelError(f"{str(source)!r} wants to run Python code of its own. headscope refuses that unless "
                                 "you ask for it: pass trust_remote_code=True (--trust-remote-code) if you trust its "
                                 "authors")
    if "Unrecognized configuration class" in text or "Unrecognized model" in text:
        return RefusedModelError(f"{str(source)!r} is not a causal language model that transformers knows")
    if "safetensors" in text and ("use_safetensors" in text or "model.safetensors" in text or "does not appear" in text):
        return RefusedModelError(f"{str(source)!r} has no safetensors weights. Pickled weights can run any code, so they "
                                 "are refused unless you ask for them: allow_pickle=True (--allow-pickle)")
    first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
    return ModelLoadError(f"could not read the {what} of {str(source)!r}: {first}. Give `smollm2-135m`, a hub id, a "
                          "folder or a .gguf file; a hub id needs network or a filled cache")


def _refuse_wrong_kind(config: Any, source: Any) -> None:
    """Encoder-only, encoder-decoder and attention-free models are not served."""
    named = " ".join(getattr(config, "architectures", None) or ())
    if getattr(config, "is_encoder_decoder", False):
        raise RefusedModelError(f"{str(source)!r} ({config.model_type}) is an encoder-decoder model; headscope serves "
                                "decoder-only causal language models")
    bidirectional = config.model_type in _ENCODERS and not getattr(config, "is_decoder", False)
    if bidirectional or any(part in named for part in ("MaskedLM", "SequenceClassification", "TokenClassification")):
        raise RefusedModelError(f"{str(source)!r} ({config.model_type}) is an encoder-only model: its heads look both "
                                "ways, so prefix matching does not exist for it; give a causal language model")
    if config.model_type in _ATTENTION_FREE:
        raise RefusedModelError(f"{str(source)!r} ({config.model_type}) is a state-space or recurrent model: it has no "
                                "attention heads to score")


_ENCODERS = frozenset({
    "albert", "bert", "camembert", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm",
    "flaubert", "ibert", "megatron-bert", "mobilebert", "modernbert", "mpnet", "nystromformer", "rembert", "roberta",
    "roberta-prelayernorm", "roformer", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso",
})  # fmt: skip
_ATTENTION_FREE = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})


def _refuse_pickle(folder: str, source: Any, allowed: bool) -> None:
    if allowed or not os.path.isdir(folder):
        return
    files = os.listdir(folder)
    if any(name.endswith(".safetensors") for name in files):
        return
    pickled = sorted(name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickled:
        raise RefusedModelError(f"{str(source)!r} holds pickled weights only ({pickled[0]}). Pickles can run any code, "
                                "so they are refused unless you ask for them: allow_pickle=True (--allow-pickle)")
    raise ModelLoadError(f"the folder {str(source)!r} holds no weights (*.safetensors)")


def _refuse_nan(hf: Any, source: Any) -> None:
    for name, parameter in hf.named_parameters():
        if not parameter.is_meta and not bool(torch.isfinite(parameter.sum(dtype=torch.float32))):
            if bool(torch.isfinite(parameter).all()):
                continue
            raise ModelLoadError(f"{str(source)!r} holds NaN or infinite weights ({name}): the checkpoint is damaged")


def _refuse_other_heads(model: HookedModel) -> None:
    if not model.attention_layers:
        raise RefusedModelError(f"{model.layout.architecture} has no layer with softmax attention: there is no head")
    for layer in model.attention_layers:
        weight = model.o_module(layer).weight
        assert isinstance(weight, torch.Tensor)
        conv = type(model.o_module(layer)).__name__ == "Conv1D"
        width = weight.shape[0] if conv else weight.shape[1]
        if weight.dim() == 2 and width != model.n_heads * model.d_value:
            raise RefusedModelError(f"layer {layer} has heads of another number or width ({width} instead of "
                                    f"{model.n_heads} x {model.d_value}): models whose layers differ are not served")


def _dtype(dtype: str | torch.dtype | None, device: str) -> Any:
    if dtype is None:
        return torch.float32 if device == "cpu" else "auto"
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(dtype, dtype), None)
    if not isinstance(found, torch.dtype):
        raise UsageError(f"{dtype!r} is not a dtype: give float32, bfloat16, float16 or float64")
    return found


def _placement(device: str, folder: str | Path | None, max_memory: Mapping[Any, Any] | None) -> dict[str, Any]:
    if device != "auto":
        try:
            torch.device(device)
        except RuntimeError as error:
            raise UsageError(f"{device!r} is not a device: give cpu, cuda, cuda:1 or auto") from error
        return {}
    placed: dict[str, Any] = {"device_map": "auto"}
    if max_memory is not None:
        placed["max_memory"] = dict(max_memory)
    if folder is not None:
        placed |= {"offload_folder": str(folder), "offload_state_dict": True}
    return placed
