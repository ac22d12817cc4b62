"""Which tensors of a GGUF file no part of the converted model reads: transformers passes over them without a word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Where llama.cpp keeps the factors of scaled rotary positions (Llama 3.1 and later, Phi-3), and their angles: they
# belong to the configuration, and gguf_conversion.py vets the factors.
ROPE_TENSORS = ("rope_freqs", "rope_factors")
ROTARY = (*ROPE_TENSORS, "attn_rot_embd")


def unread_tensors(model: Any, architecture: str, names: Iterable[str]) -> list[str]:
    """The file's names that transformers has no place for: blocks beyond the configuration's, parts it does not know.

    architecture: by the name of the file, which decides how transformers renames tensors.
    """
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    read = get_gguf_hf_weights_map(model, TENSOR_PROCESSORS.get(architecture, TensorProcessor)())
    # Merged experts stand in the map without their suffix.
    return [
        name
        for name in names
        if name not in read and name.removesuffix(".weight") not in read and not any(part in name for part in ROTARY)
    ]
