"""One tiny model a family and session, and what TransformerLens says about it; read-only."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from interp import HookedModel
from tests.interp import families


@dataclass(frozen=True)
class Family:
    """A model of ours and an untouched Hugging Face model with the same weights."""

    name: str
    model: HookedModel
    hf: Any

    def untouched(self, tokens: Tensor, mask: Tensor | None = None, **options: Any) -> Any:
        """Hugging Face's own answer, with the positions that padding asks for."""
        arguments = {} if mask is None else {"attention_mask": mask}
        if mask is not None and "position_ids" in inspect.signature(self.hf.forward).parameters:
            arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        with torch.no_grad():
            return self.hf(input_ids=tokens, use_cache=False, **arguments, **options)


@cache
def family_named(name: str) -> Family:
    return Family(name, families.load(name), families.build(name))


@pytest.fixture(params=sorted(families.FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return family_named(request.param)


@pytest.fixture
def llama() -> HookedModel:
    return family_named("llama").model
