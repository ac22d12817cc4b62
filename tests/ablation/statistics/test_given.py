"""Tables of scores in every form that people have them in give the same numbers; what is no table is told so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ablation import statistics
from ablation.statistics import overlap, retention, spearman, spearman_within_layers
from interp.errors import UsageError
from interp.scores import FFNScores, HeadScores

A, B = (
    HeadScores.from_items("own", items) for items in torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(3))
)
FORMS: tuple[Callable[[HeadScores], Any], ...] = (
    lambda scores: scores,
    lambda scores: scores.mean,
    lambda scores: scores.mean.clone().requires_grad_(),
    lambda scores: scores.mean.tolist(),
)
COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "spearman": statistics.spearman,
    "within": statistics.spearman_within_layers,
    "kendall": statistics.kendall,
    "released": statistics.bansal_released,
    "overlap": lambda a, b: overlap(a, b, percents=(10, 30)).share.tolist(),
    "retention": lambda a, b: retention(a, b, null_mean=b).raw.tolist(),
    "permutation": lambda a, b: statistics.permutation_test(a, b, level="global"),
    "partial": lambda a, b: statistics.partial_spearman_within_layers(a, b, [a]),
}


@pytest.mark.parametrize("name", COMPARED)
def test_every_form_gives_the_numbers_of_the_array(name: str) -> None:
    wanted = COMPARED[name](A.mean.numpy(), B.mean.numpy())
    for form in FORMS:
        assert str(COMPARED[name](form(A), form(B))) == str(wanted)


def test_half_precision_is_read_as_it_is() -> None:
    halves = [scores.mean.bfloat16() for scores in (A, B)]
    assert spearman(*halves) == spearman(*(half.double().numpy() for half in halves))


@pytest.mark.parametrize("given", [None, 3.0, "0.1,0.2", ["a"], [[1.0], [1.0, 2.0]], {"a": 1.0}])
@pytest.mark.parametrize("name", COMPARED)
def test_what_is_no_table_is_refused(name: str, given: Any) -> None:
    with pytest.raises(UsageError, match=r"is no table of scores: give scores, their mean, or an array"):
        COMPARED[name](given, A)


def test_ffns_count_as_one_head_a_layer() -> None:
    ffns, other = (FFNScores.from_items("own", items) for items in torch.rand(2, 5, 3))
    wanted = spearman(ffns.mean.numpy()[:, None], other.mean.numpy()[:, None])
    assert spearman(ffns, other) == spearman(ffns.mean, other.mean) == wanted and wanted.n_heads == 3
    assert spearman_within_layers(ffns, ffns).layers_used == 0


def test_percents_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxtyping import config

    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    for percents in ((10.5,), "10,20", (True,)):
        for compare in (overlap, retention):
            with pytest.raises(UsageError, match="percents are whole numbers"):
                compare(A, B, percents=percents)  # type: ignore[operator]
    assert overlap(A, B, percents=np.array([10, 20])).percent.tolist() == [10, 20]
