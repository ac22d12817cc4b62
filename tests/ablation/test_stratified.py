"""Exact knock-outs of heads spread over a score, and their agreement with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ablation.importance import head_importance
from ablation.knock_out import KnockOut, knock_out
from ablation.stratified import check_by_knock_out, exact_agreement, stratified_heads
from interp.errors import UsageError
from interp.scores import HeadScores
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load


def scores_of(values: torch.Tensor) -> HeadScores:
    return HeadScores.from_items("importance", values[None])


def test_heads_are_spread_over_the_ranks_of_the_score() -> None:
    values = torch.arange(40.0).view(4, 10).flip(0)
    chosen = stratified_heads(scores_of(values), 10)
    assert chosen == tuple(sorted(chosen)) and len(set(chosen)) == 10
    assert sorted(float(values[head]) for head in chosen) == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]
    assert len(stratified_heads(scores_of(values), 100)) == 40


def test_layers_without_heads_are_left_out() -> None:
    values = torch.rand(3, 8)
    values[1] = torch.nan
    assert {layer for layer, _ in stratified_heads(scores_of(values))} == {0, 2}


def test_the_agreement_is_spearman_and_the_share_of_equal_signs() -> None:
    model, task = load("gpt2"), SmallTask(tuple(documents(6)))
    signed = head_importance(model, task, positions="signed", objective="choice")
    found = check_by_knock_out(model, task, signed)
    exact = knock_out(model, task, component="head").scores(outcome="choice").mean
    assert found.heads == tuple((layer, head) for layer in range(2) for head in range(4))
    np.testing.assert_allclose(found.exact, exact.flatten(), atol=1e-5)
    np.testing.assert_allclose(found.score, signed.mean.flatten())
    assert found.spearman == pytest.approx(spearmanr(signed.mean.flatten(), exact.flatten()).statistic)
    assert found.sign_agreement == float((signed.mean.sign() == exact.sign()).double().mean())


def test_first_order_scores_of_a_nearly_linear_model_agree() -> None:
    """Heads whose writing is small change the choice by their gradient: order and signs are the exact ones."""
    model, task = load("llama", std=0.1), SmallTask(tuple(documents(8)))
    for layer in range(2):
        model.o_module(layer).weight.data *= 1e-2
    signed = head_importance(model, task, positions="signed", objective="choice")
    found = check_by_knock_out(model, task, signed)
    assert found.spearman > 0.95 and found.sign_agreement == 1.0
    turned = replace(signed, mean=-signed.mean)
    assert check_by_knock_out(model, task, turned).sign_agreement == 0.0


def test_a_cost_of_zero_has_no_sign() -> None:
    model, task = load("gpt2"), SmallTask(tuple(documents(3)))
    knocked: KnockOut = knock_out(model, task, component="head")
    still = replace(knocked, removed=np.repeat(knocked.plain[None], 8, 0))
    found = exact_agreement(scores_of(torch.rand(2, 4)), still)
    assert np.isnan(found.sign_agreement) and np.isnan(found.spearman)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (torch.rand(1, 4), {}, "4 heads have a score"),
        (torch.rand(2, 4), {"n": 3}, "3 heads are too few"),
        (torch.rand(3, 4), {}, "of another model"),
    ],
)
def test_what_can_not_be_ranked_gets_a_sentence(values: torch.Tensor, options: dict[str, Any], words: str) -> None:
    model = load("gpt2")
    with pytest.raises(UsageError, match=words):
        if values.shape[0] == 1:
            stratified_heads(scores_of(values))
        check_by_knock_out(model, documents(2), scores_of(values), **options)
    with pytest.raises(UsageError, match="of the same model"):
        exact_agreement(scores_of(torch.rand(3, 4)), knock_out(model, documents(2), component="head"))
