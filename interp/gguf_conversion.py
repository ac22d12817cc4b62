"""A `.gguf` file as an ordinary Hugging Face folder: weights dequantised to float32, with their tokenizer and config.

transformers converts; here is refused what it would get wrong without a word (one part of a split file, an adapter,
missing and unread tensors, scaled rotary positions that it leaves out), the configuration is given what it dropped
(gguf_keys.py), and the tokenizer is mended where the file names a pre-tokenizer that transformers takes for GPT-2's.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.cache import facts_of, kept_folder, sha256_of
from interp.errors import ModelLoadError, RefusedModelError, quoted
from interp.gguf_keys import settle
from interp.gguf_tensors import ROPE_TENSORS, unread_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Pre-tokenizers of byte-level BPE files by llama.cpp's names (llama-vocab.cpp): these put each digit apart before
# GPT-2's rule ...
DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
# ... and these are GPT-2's rule itself.
GPT2_RULE = frozenset({"gpt-2", "phi-2", "roberta-bpe", "mpt", "olmo", "jais", "trillion", "exaone4"})


# Part of a converted folder's name: those of an earlier conversion are not used.
CONVERSION = 3


@dataclass(frozen=True)
class GGUFHeader:
    """What the file says about itself, without its tensors' values."""

    architecture: str
    kind: str
    parts: int
    tokens: int
    pre_tokenizer: str | None
    tensor_types: dict[str, int]
    tensors: tuple[str, ...] = ()
    scaled_rope: str = ""
    file_type: str | None = None
    keys: Mapping[str, Any] = field(default_factory=dict)

    @property
    def quantisation(self) -> str:
        """The file's own type (`Q4_K_M`); where it names none, the one that holds most of the weights."""
        return self.file_type or max(self.tensor_types, key=lambda name: self.tensor_types[name])


def converted_gguf(path: Path | str) -> Path:
    """Folder with the file's model in float32, its tokenizer and its config; converted once, kept by the file's hash.

    Raises ModelLoadError for a file that is not there or no GGUF file, RefusedModelError for one that can't be served.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelLoadError(f"There is no file {path}. Expected a .gguf file with a causal language model.")
    digest = sha256_of(path)
    folder = kept_folder(
        f"gguf-{digest[:16]}-{CONVERSION}", lambda folder: {"gguf_sha256": digest, **convert(path, folder)}
    )
    if note := facts_of(folder).get("tokenizer_note"):
        warnings.warn(note, stacklevel=2)
    return folder


def weights_note(folder: Path | str) -> str | None:
    """What tables and reports have to say of converted weights; None for others.

    The file's type, and what its weights are kept in: `Q4_K_M, dequantised to float32 (85% Q4_K, 15% Q6_K)`.
    """
    facts = facts_of(Path(folder))
    counts, name = facts.get("tensor_types"), facts.get("quantisation")
    if not (
        isinstance(name, str) and isinstance(counts, dict) and all(type(n) is int and n > 0 for n in counts.values())
    ):
        return None  # of another kind of folder
    types = {kind: count for kind, count in counts.items() if kind != "F32"}
    if not types:
        return None
    told = f"{name}, dequantised to float32"
    if [*types] == [name]:
        return told
    whole = sum(types.values())
    mix = sorted(types.items(), key=lambda one: -one[1])
    return f"{told} ({', '.join(f'{100 * count / whole:.0f}% {kind}' for kind, count in mix)})"


def convert(path: Path, folder: Path) -> Mapping[str, Any]:
    """Write the model of a GGUF file into the folder; returns what there is to know about the conversion."""
    header = read_header(path)
    model = _read_model(path, header)
    with _quiet():
        model.save_pretrained(folder)
        _read_tokenizer(path, getattr(model.config, "max_position_embeddings", None)).save_pretrained(folder)
    note = mend_tokenizer(folder / "tokenizer.json", header)
    return {"quantisation": header.quantisation, "tensor_types": header.tensor_types, "tokenizer_note": note}


def read_header(path: Path) -> GGUFHeader:
    """Read and vet the file's own description of itself."""
    from gguf import GGUFReader

    try:
        header = _described(GGUFReader(path))
    except (ValueError, TypeError, OSError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise ModelLoadError(
            f"{path} can't be read as a GGUF file ({quoted(error)}): fetch it again, or name another"
        ) from error
    _vet(path, header)
    return header


def _described(reader: Any) -> GGUFHeader:
    """What the file says about itself; any kind of error where it is damaged."""

    def value(name: str, default: Any = None) -> Any:
        found = reader.get_field(name)
        return default if found is None else found.contents()

    sizes: Counter[str] = Counter()
    scaled = [] if value(f"{value('general.architecture')}.rope.scaling.type", "none") == "none" else ["rope.scaling"]
    for tensor in reader.tensors:
        if tensor.name.startswith(ROPE_TENSORS) and bool((tensor.data != 1).any()):
            scaled.append(tensor.name)
        sizes[tensor.tensor_type.name] += int(tensor.n_elements)
    architecture = value("general.architecture", "unnamed")
    own, kind = f"{architecture}.", value("general.type", "model")
    if not (isinstance(architecture, str) and isinstance(kind, str)):
        raise ValueError("its architecture and type must be text")
    return GGUFHeader(
        architecture=architecture,
        kind=kind,
        parts=int(value("split.count", 1)),
        tokens=len(value("tokenizer.ggml.tokens", ())),
        pre_tokenizer=value("tokenizer.ggml.pre") if value("tokenizer.ggml.model") == "gpt2" else None,
        tensor_types=dict(sizes),
        tensors=tuple(tensor.name for tensor in reader.tensors),
        scaled_rope=", ".join(scaled),
        file_type=_type_named(value("general.file_type")),
        keys={name.removeprefix(own): value(name) for name in reader.fields if name.startswith(own)},
    )


def _vet(path: Path, header: GGUFHeader) -> None:
    if header.kind != "model" or not header.tensor_types:
        raise RefusedModelError(f"{path} holds no model but: {header.kind}. Name a .gguf file with a whole model.")
    if header.parts > 1:
        raise RefusedModelError(
            f"{path} is one part of {header.parts}; only models in one file are read. "
            "Join the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf"
        )


def _type_named(number: Any) -> str | None:
    """`Q4_K_M` for llama.cpp's number of a mix; None for none, and for one that this version of gguf does not know."""
    from gguf import LlamaFileType

    known = {kind.value: kind.name for kind in LlamaFileType}
    name = known.get(number, "GUESSED")
    return None if name == "GUESSED" else name.removeprefix("MOSTLY_").removeprefix("ALL_")


def _read_config(path: Path, header: GGUFHeader) -> Any:
    """transformers' configuration with what it dropped; refused is what has no place in it."""
    from transformers import AutoConfig, LlamaConfig

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    if header.architecture == "llama" and config.model_type == "mistral":
        # By the file's title alone; gguf has no weights by that name, and no window that this file does not name.
        told = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "sliding_window")}
        config = LlamaConfig(**told)
    if lost := settle(config, header.architecture, header.keys):
        raise RefusedModelError(
            f"{path} says {'; '.join(map(str, lost))}: it would be lost in the conversion of a {header.architecture} "
            "file, and the model would be another one. Take the model's own checkpoint in place of the .gguf file."
        )
    return config


def _read_model(path: Path, header: GGUFHeader) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    try:
        with _quiet():
            config = _read_config(path, header)
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent,
                config=config,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
    except (ValueError, KeyError, NotImplementedError, RuntimeError, OSError) as error:
        raise RefusedModelError(f"{path}: transformers can't convert a {header.architecture} file: {error}") from error
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "mismatched_keys") if info[kind]}
    if wrong:
        raise RefusedModelError(
            f"{path}: this {header.architecture} file lacks weights, or they have other shapes: {wrong}"
        )
    if unread := unread_tensors(model, header.architecture, header.tensors):
        names, more = ", ".join(unread[:3]), ", ..." if len(unread) > 3 else ""
        raise RefusedModelError(
            f"{path}: {len(unread)} of its tensors are read by no part of the model that the file describes "
            f"({names}{more}): it says fewer blocks than it holds, or holds parts that transformers does not know. "
            "Take the model's own checkpoint in place of the .gguf file."
        )
    if header.scaled_rope and _rope_kind(model.config) == "default":
        raise RefusedModelError(
            f"{path} scales its rotary positions ({header.scaled_rope}), which is lost in the conversion of a "
            f"{header.architecture} file, so that long texts would be read at other positions than in training. Take "
            "the model's own checkpoint in place of the .gguf file."
        )
    for name in ("quantization_config", "_model_name_or_path"):  # Leftovers, which would go into config.json.
        vars(model.config).pop(name, None)
    return model


def _rope_kind(config: Any) -> str:
    """`default` where positions are not scaled."""
    told = getattr(config, "rope_parameters", None) or {}
    return str(told.get("rope_type", "default"))


def _read_tokenizer(path: Path, context: int | None) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        raise RefusedModelError(f"{path}: transformers can't convert the tokenizer of this file: {error}") from error
    for name in ("is_local", "local_files_only"):  # How it was loaded, which would go into tokenizer_config.json.
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.model_max_length = context or tokenizer.model_max_length
    return tokenizer


def mend_tokenizer(file: Path, header: GGUFHeader) -> str | None:
    """Make a tokenizer.json that of the GGUF file; a sentence where its pre-tokenizer is not known, else None.

    1. Tokens that the file does not have go: transformers adds GPT-2's `<|endoftext|>`, which the model has no row for.
    2. Digits stand apart where the file says so by its pre-tokenizer's name.
    """
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < header.tokens]
    rule, name, note = tokenizer["pre_tokenizer"] or {}, header.pre_tokenizer, None
    # GPT-2's rule, which is transformers' answer to all names.
    if name is not None and rule.get("type") == "ByteLevel":
        if name in DIGITS_APART:
            digits = {"type": "Digits", "individual_digits": True}
            tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, rule]}
        elif name not in GPT2_RULE:
            note = (
                f"This GGUF file names the pre-tokenizer {name!r}, which is not known here: text is split by GPT-2's "
                "rule, and some words may get other tokens than in training. Random token sequences are the same."
            )
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return note


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars, which belong to the command line."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
