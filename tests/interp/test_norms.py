"""What stands between the final norm and the unembedding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from interp.norms import is_read_by


class Between(nn.Module):
    """A norm, something behind it, an unembedding."""

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.change, self.unembed = nn.LayerNorm(8), change, nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.unembed(self.change(self.norm(x)))
        return found


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (nn.Identity(), True),
        (Times(0.1), True),
        (Times(-1.0), False),
        (nn.GELU(), False),
        (nn.Linear(8, 8), False),
        (nn.Linear(8, 6), False),
    ],
)
def test_only_a_positive_factor_may_stand_between(change: nn.Module, wanted: bool) -> None:
    model = Between(change)
    if isinstance(change, nn.Linear) and change.out_features == 6:
        model.unembed = nn.Linear(6, 5)
    rows = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(1))
    assert is_read_by(model.norm, model.unembed, lambda: model(rows)) is wanted


def test_a_stream_of_zeros_has_no_direction() -> None:
    """A padding token's embedding is 0: it says nothing, and nothing but it is no answer."""
    model = Between(nn.Identity())
    rows = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(1))
    rows[:, 0] = 0
    assert is_read_by(model.norm, model.unembed, lambda: model(rows))
    assert not is_read_by(model.norm, model.unembed, lambda: model(torch.zeros(1, 3, 8)))
    assert not is_read_by(model.norm, nn.Linear(8, 5), lambda: model(rows))


@pytest.mark.parametrize("family", ["llama", "gemma2", "cohere", "granite", "gpt2", "mpt", "phi"])
def test_families_unembed_their_final_norm(family: str) -> None:
    from tests.interp.conftest import family_named

    assert family_named(family).model.unembeds_final_norm
