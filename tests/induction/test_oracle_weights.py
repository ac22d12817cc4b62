"""Scores made of weights, and the released code's, equal explicit matrices and plain loops (oracle_weights.py)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from induction import composition_scores, copying_score, ov_copying_score, prefix_matching_score
from induction.ov_circuit import effective_embedding, random_tokens
from interp.errors import RefusedModelError, UsageError
from tests.induction import oracle, oracle_weights, tiny
from tests.interp import families

CLOSE = {"rtol": 0, "atol": 1e-5}
EVERY = pytest.mark.parametrize("family", list(oracle.FAMILIES))


@lru_cache
def untouched(family: str) -> Any:
    return families.build(family)


@EVERY
@pytest.mark.parametrize("variant", ["", "raw"])
def test_ov_eigenvalues_of_the_whole_matrix(family: str, variant: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    tokens = random_tokens(model, 40, 0)
    if variant == "raw":
        embedding = oracle.array(hf.get_input_embeddings().weight)[tokens.numpy()]
    else:
        embedding = oracle_weights.effective_embedding(hf, parts, tokens, model.tokenizer.bos_token_id)
        np.testing.assert_allclose(effective_embedding(model, tokens).numpy(), embedding, rtol=0, atol=1e-5)
    wanted = [oracle_weights.ov_copying(hf, parts, layer, tokens, embedding) for layer in range(2)]
    found = ov_copying_score(model, variant=variant, tokens=40)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.mean.numpy(), wanted, rtol=0, atol=1e-5)
    assert np.std(wanted) > 0.02 and np.abs(wanted).max() <= 1


@EVERY
def test_composition_of_whole_matrices(family: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    first, second = (oracle_weights.circuits(hf, parts, layer) for layer in range(2))
    found = composition_scores(model)
    pairs = [(one, two) for one in range(4) for two in range(4)]
    some = composition_scores(model, kinds=("k", "q"), pairs=[((0, 3), (1, 2))])
    for kind in ("q", "k", "v"):
        wanted = {(one, two): oracle_weights.composition(first[one], second[two])[kind] for one, two in pairs}
        for (one, two), ratio in wanted.items():
            assert found.of((0, one), (1, two), kind) == pytest.approx(ratio, rel=1e-5)
            order = sorted((wanted[other, two] for other in range(4)), reverse=True)
            assert found.rank_of((0, one), (1, two), kind) == 1 + order.index(ratio)
    for kind in ("q", "k"):
        assert some.of((0, 3), (1, 2), kind) == found.of((0, 3), (1, 2), kind)
        assert some.rank_of((0, 3), (1, 2), kind) == found.rank_of((0, 3), (1, 2), kind)
    assert int(some.ratio.isfinite().sum()) == int(some.rank.isfinite().sum()) == 2
    assert int(found.ratio.isfinite().sum()) == 3 * 16


def test_two_random_matrices_compose_at_the_baseline() -> None:
    """Independent isotropic weights: the squared ratio is 1 on average, whatever the widths."""
    ratios = composition_scores(tiny.model("gpt_neox")).ratio
    assert ratios[ratios.isfinite()].square().mean().item() == pytest.approx(1.0, abs=0.15)


def test_pairs_that_do_not_exist_are_refused() -> None:
    model = tiny.model("llama")
    for pair, sentence in ((((1, 0), (1, 1)), "not in an earlier layer"), (((0, 4), (1, 1)), r"no head 0\.4")):
        with pytest.raises(UsageError, match=sentence):
            composition_scores(model, pairs=[pair])


@pytest.mark.parametrize("family", ["cohere", "deepseek_v3", "opt-350m", "bitnet"])
def test_composition_that_can_not_be_read_is_refused(family: str) -> None:
    with pytest.raises(RefusedModelError):
        composition_scores(tiny.model(family))


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_released_scores_equal_the_papers_loops(family: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    repeated, other = tiny.sequences(model), tiny.unrepeated(model)
    attention = oracle.watch(hf, parts, repeated.tokens).attention
    prefix = [
        [[oracle_weights.released_prefix(matrix, 7, row.tolist()) for matrix in layer[s]] for layer in attention]
        for s, row in enumerate(repeated.tokens)
    ]
    found = prefix_matching_score(model, repeated, variant="bansal_released")
    np.testing.assert_allclose(found.per_item.numpy(), prefix, **CLOSE)
    assert (found.mean > prefix_matching_score(model, repeated, draws=0).mean).all()
    copying = [[oracle_weights.released_copying(hf, parts, layer, row) for layer in range(2)] for row in other.tokens]
    found = copying_score(model, other, "bansal_released")
    np.testing.assert_allclose(found.per_item.numpy(), copying, **CLOSE)
    assert np.std(copying) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bloom", "opt-350m"])
def test_released_scores_exist_for_two_shapes_only(family: str) -> None:
    model = tiny.model(family)
    with pytest.raises(RefusedModelError, match="OPT and GPT-2 shapes only"):
        prefix_matching_score(model, tiny.sequences(model), variant="bansal_released")
    with pytest.raises(RefusedModelError, match="OPT and GPT-2 shapes only"):
        copying_score(model, tiny.unrepeated(model), "bansal_released")


def test_stopping_early_leaves_the_model_as_it_was() -> None:
    model = tiny.model("gemma3")
    tokens = torch.tensor([[1, 20, 30, 40]])
    before = model(tokens)
    ov_copying_score(model, tokens=10)
    assert torch.equal(model(tokens), before)
