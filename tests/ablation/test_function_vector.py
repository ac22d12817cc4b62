"""The vector: what heads write, added where it says, kept with its model, and tested against layer-matched ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import interp
from ablation.function_vector import FunctionVector, vector_test, written
from ablation.function_vectors import FunctionVectors, function_vectors
from interp import HookedModel
from interp.errors import RefusedModelError, StoreError, UsageError
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.interp.families import build

TOKENS = torch.tensor([[1, 5, 8, 13, 21]])


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return interp.load_model(build("llama"), tokenizer=tokenizer(), check=False)


@pytest.fixture(scope="module")
def vectors(model: HookedModel) -> FunctionVectors:
    return function_vectors(model, vector_task(pools=("a", "b"), n_queries=15))


@pytest.mark.parametrize("name", ["llama", "gemma3", "granite", "opt"])
def test_it_is_what_the_heads_write_into_the_stream(name: str) -> None:
    """Read off the stream of a run in which all heads have their means: with these heads less without them.

    Behind a norm the scale is held at what all heads have, so that half the heads and the other half add up.
    """
    model = interp.load_model(build(name), tokenizer=tokenizer(), check=False)
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(model.n_layers, model.n_heads, model.d_value, generator=generator)
    heads = [(1, 0), (1, 3)]
    rest = [(1, 1), (1, 2)]
    parts = [written(model, chosen, means) for chosen in (heads, rest, heads + rest)]
    torch.testing.assert_close(parts[0] + parts[1], parts[2], atol=1e-5, rtol=0)
    whole = {(1, head): means[1, head][None] for head in range(4)}
    module = model.o_module(1)
    bias = 0.0 if getattr(module, "bias", None) is None else module.bias.detach()
    with torch.no_grad(), model.patched(whole, positions=[-1]):
        _, cache = model.run_with_cache(TOKENS, [("resid_pre", 1), ("resid_mid", 1)])
    added = (cache["resid_mid", 1] - cache["resid_pre", 1])[0, -1]
    if name == "opt":
        added = added - bias
    torch.testing.assert_close(parts[2], added, atol=2e-5, rtol=0)


def test_a_vector_s_value_by_hand(model: HookedModel, vectors: FunctionVectors) -> None:
    vector = vectors.vector(2, function="words/b")
    assert vector.heads == tuple((head.layer, head.head) for head in vectors.scores.top(2))
    expected = sum(vectors.means["words/b"][head] @ model.w_o(head[0])[head[1]] for head in vector.heads)
    torch.testing.assert_close(vector.value(model), expected, atol=1e-5, rtol=0)


def test_it_is_added_at_one_position_in_front_of_one_block(model: HookedModel, vectors: FunctionVectors) -> None:
    vector = vectors.vector(2, function="words/a")
    with torch.no_grad():
        _, plain = model.run_with_cache(TOKENS, ["resid_pre"])
        with vector.added(model, 1, scale=0.5):
            _, moved = model.run_with_cache(TOKENS, ["resid_pre"])
    difference = (moved["resid_pre"] - plain["resid_pre"])[:, 0]
    torch.testing.assert_close(difference[1, -1], 0.5 * vector.value(model), atol=1e-5, rtol=0)
    assert float(difference[0].abs().max()) == float(difference[1, :-1].abs().max()) == 0
    with pytest.raises(UsageError, match="block 2 does not exist"), vector.added(model, 2):
        pass


def test_it_is_saved_and_loaded_for_its_model_only(
    model: HookedModel, vectors: FunctionVectors, tmp_path: Path
) -> None:
    vector = vectors.vector(3, function="words/a")
    vector.save(tmp_path / "fv.safetensors")
    again = FunctionVector.load(tmp_path / "fv.safetensors", model)
    assert (again.function, again.heads) == ("words/a", vector.heads)
    torch.testing.assert_close(again.value(model), vector.value(model), atol=0, rtol=0)
    other = interp.load_model(build("llama", seed=1), tokenizer=tokenizer(), check=False)
    with pytest.raises(
        UsageError, match=r"made on LlamaForCausalLM, weights \w{12}, and this model is .* means nothing"
    ):
        FunctionVector.load(tmp_path / "fv.safetensors", other)
    with pytest.raises(UsageError, match="means nothing in another model"):
        vector.value(other)
    (tmp_path / "text").write_text("no vector")
    with pytest.raises(StoreError, match="holds no function vector"):
        FunctionVector.load(tmp_path / "text", model)


def test_vectors_that_there_are_not_are_refused(vectors: FunctionVectors) -> None:
    with pytest.raises(UsageError, match="there are 2 functions: name one of words/a, words/b"):
        vectors.vector(2)
    with pytest.raises(UsageError, match="no function 'words/c'"):
        vectors.vector(2, function="words/c")
    with pytest.raises(UsageError, match=r"no head is an FV head here.*vector\(10\)"):
        vectors.vector(function="words/a")
    bitnet = interp.load_model(build("bitnet"), tokenizer=tokenizer(), check=False)
    with pytest.raises(RefusedModelError, match="a norm between its heads"):
        written(bitnet, [(0, 0)], torch.zeros(2, 4, bitnet.d_value))


def test_the_test_is_adding_it_and_reading_choice(model: HookedModel, vectors: FunctionVectors) -> None:
    task = vector_task(pools=("a", "b"), n_queries=15)
    found = vector_test(model, vectors, task, k=1, controls=3)
    assert [test.layer for test in found] == [0, 1]  # L/4 and L/3 are block 0 of two
    for test in found:
        assert test.tested.shape == (15,) and test.controls.shape == (3, 15)
        for row in (0, 9):
            document = task.plain.documents[row]
            tokens = task.plain.token_documents(model)[row]
            vector = vectors.vector(1, function=task.function_of(document))
            values = []
            for added in (False, True):
                ll = []
                for choice in tokens.choices:
                    ids = torch.tensor([[*tokens.context, *choice]])
                    with torch.no_grad():
                        if added:
                            with vector.added(model, test.layer, position=len(tokens.context) - 1):
                                logits = model(ids)
                        else:
                            logits = model(ids)
                    part = logits[0, len(tokens.context) - 1 : -1].double().log_softmax(-1)
                    ll.append(part[range(len(choice)), list(choice)].sum())
                values.append(float(ll[document.gold] - torch.stack(ll).logsumexp(0)))
            assert float(test.plain[row]) == pytest.approx(values[0], abs=1e-5)
            assert float(test.tested[row]) == pytest.approx(values[1] - values[0], abs=1e-5)
        assert test.raised.value == pytest.approx(float(test.tested.mean()))
        assert test.more_than_controls.value == pytest.approx(float(test.tested.mean() - test.controls.mean()))
        assert test.rank.n_controls == 3
        assert test.rank.at_least_as_large == int((np.asarray(test.controls).mean(1) >= test.tested.mean()).sum())
