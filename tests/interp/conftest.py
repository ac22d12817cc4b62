"""One tiny model a family and session, by the route that a user takes, and what others say about it; read-only."""

from __future__ import annotations

import inspect
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp import HookedModel
from tests.interp import families
from tests.interp.saved import save


@dataclass(frozen=True)
class Family:
    """A model saved and loaded by `load_model(folder)` with defaults, and what Hugging Face loads from that folder.

    hf: an object of its own, by the family's own default attention. eager: another, to read whole patterns from.
    """

    name: str
    model: HookedModel
    hf: Any
    eager: Any

    def untouched(self, tokens: Tensor, mask: Tensor | None = None, **options: Any) -> Any:
        """Hugging Face's own answer, with the positions that padding asks for."""
        return self._run(self.hf, tokens, mask, **options)

    def patterns(self, tokens: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Hugging Face's eager attention weights, of the layers that have some."""
        assert self.name not in families.EAGER_IS_ANOTHER_MODEL
        found = self._run(self.eager, tokens, mask, output_attentions=True).attentions
        return [pattern for pattern in found if pattern is not None]

    def _run(self, hf: Any, tokens: Tensor, mask: Tensor | None, **options: Any) -> Any:
        arguments = {} if mask is None else {"attention_mask": mask}
        if mask is not None and "position_ids" in inspect.signature(hf.forward).parameters:
            arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        with torch.no_grad():
            return hf(input_ids=tokens, use_cache=False, **arguments, **options)


@cache
def family_named(name: str) -> Family:
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), name)
        hf = AutoModelForCausalLM.from_pretrained(folder).eval()
        eager = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        return Family(name, interp.load_model(folder), hf, eager)


@pytest.fixture(params=sorted(families.FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return family_named(request.param)


@pytest.fixture
def llama() -> HookedModel:
    return family_named("llama").model
