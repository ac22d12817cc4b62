"""Backups against divergences by hand, and two heads that stand in for each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ablation.backups import backups
from ablation.references import Means, mean_of
from interp import HookedModel
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import documents
from tests.interp.families import load


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return load("llama", dtype=torch.float64)


def slow(
    model: HookedModel, document, gone: list[tuple[int, int]], head: tuple[int, int], means: Means | None
) -> Tensor:  # type: ignore[no-untyped-def]
    """KL(f without S || f without S and c) from whole runs with gates."""

    def run(heads: list[tuple[int, int]]) -> Tensor:
        mask = HeadMask.keep_all(2, 4).without(heads)
        tokens = torch.tensor([[*document.context, *document.target[:-1]]])
        with torch.no_grad(), model.gates(heads=mask, reference=means):
            return model(tokens)[0, len(document.context) - 1 :].double().log_softmax(-1)

    base, other = run(gone), run([*gone, head])
    return (base.exp() * (base - other)).sum(-1).mean()


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_backups_are_differences_of_divergences(model: HookedModel, kind: str) -> None:
    held = documents(3)
    means = mean_of(model, documents(5, seed=11, name="r")) if kind == "mean" else None
    gone = [(0, 1), (1, 2)]
    found = backups(model, held, gone, replacement=means, controls=2)
    assert found.scores.per_item is not None and found.alone.per_item is not None
    for row, document in enumerate(held):
        for head in ((0, 0), (1, 3)):
            lone = slow(model, document, [], head, means)
            assert float(found.alone.per_item[(row, *head)]) == pytest.approx(float(lone), abs=1e-6)
            rise = slow(model, document, gone, head, means) - lone
            assert float(found.scores.per_item[(row, *head)]) == pytest.approx(float(rise), abs=1e-6)
    assert bool(found.scores.mean[0, 1].isnan()) and bool(found.scores.mean[1, 2].isnan())
    control = found.controls[0]
    head = next(one for one in ((0, 0), (0, 2), (0, 3)) if one not in control and one not in found.controls[1])
    drawn = [
        torch.stack([slow(model, d, list(one), head, means) - slow(model, d, [], head, means) for d in held]).mean()
        for one in found.controls
    ]
    assert float(found.scores.null_mean[head]) == pytest.approx(float(torch.stack(drawn).mean()), abs=1e-5)
    assert {layer for layer, _ in control} == {0, 1}


def test_a_head_that_stands_in_is_found() -> None:
    """Heads 1.0 and 1.1 write the same, and a norm behind saturates: the second matters once the first is gone."""
    model = load("gpt2")
    with torch.no_grad():
        for head in (0, 1):
            rows = model.o_module(1).get_parameter("weight")[head * 8 : (head + 1) * 8]
            rows.copy_(torch.ones(8, 32) * torch.linspace(-1, 1, 32) * 40)
        attention = model.hf.transformer.h[1].attn.c_attn  # both read the same: a constant
        attention.weight[:, 64:80], attention.bias[64:80] = 0, 1
    found = backups(model, documents(4), [(1, 0)], replacement=None, controls=3)
    assert found.scores.top(1)[0][:2] == (1, 1)
    assert float(found.scores.mean[1, 1]) > 5 * float(found.alone.mean[1, 1])
    assert float(found.scores.mean[1, 1]) > float(found.scores.null_mean[1, 1])


def test_some_heads_and_few_documents(model: HookedModel) -> None:
    told: list[tuple[int, int]] = []
    options = {"candidates": [(1, 0), (0, 1)], "limit": 2, "controls": 0}
    found = backups(
        model, documents(4), [(0, 1)], replacement=None, progress=lambda *done: told.append(done), **options
    )
    assert int(found.scores.mean.isfinite().sum()) == 1 and found.scores.n == 2 and told == [(1, 2), (2, 2)]
    assert not found.scores.nulls and found.controls == ()


def test_heads_are_named_as_gates_take_them(model: HookedModel) -> None:
    for removed in ([(0.9, 1.2)], [(True, False)], 3):
        with pytest.raises(UsageError, match=r"is not a head|is no list of heads"):
            backups(model, documents(), removed, replacement=None)


def test_heads_that_are_not_there_are_refused(model: HookedModel) -> None:
    with pytest.raises(UsageError, match=r"head 2\.0 does not exist"):
        backups(model, documents(2), [(2, 0)], replacement=None)
    with pytest.raises(UsageError, match="no head is removed"):
        backups(model, documents(2), [], replacement=None)
    with pytest.raises(UsageError, match="all candidates are among the removed heads"):
        backups(model, documents(2), [(0, 1)], replacement=None, candidates=[(0, 1)])
