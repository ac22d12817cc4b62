"""A number that is no number stops the run where it appears, and is named; small float16 gradients do not vanish."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ablation.engine.likelihood import log_likelihoods
from ablation.function_vector import vector_test
from ablation.function_vectors import function_vectors
from ablation.gate_gradients import GateSums
from ablation.importance import importance
from ablation.knock_out import knock_out
from ablation.label_heads import label_heads
from ablation.loss_scaling import POWERS, LossScaling
from ablation.patching import patch
from interp.errors import HeadscopeError
from interp.model import HookedModel
from interp.overflow import first_overflow
from tests.ablation.documents import SmallTask, documents
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.interp.families import load
from tests.interp.overflowing import overflow_on

RARE = 50  # the token on which the model overflows
HALF = torch.float16


def overflowing(layer: int, dtype: torch.dtype = HALF) -> HookedModel:
    """Sound on every token but RARE, where the stream, near the largest float16, goes beyond it behind `layer`."""
    return overflow_on(load("llama", dtype=dtype), RARE, layer)


def with_rare(n: int = 3) -> list[Any]:
    """Sound documents, and a last one whose prompt ends in the token RARE."""
    *sound, last = [
        replace(
            d,
            contexts=tuple(tuple(3 + t % 40 for t in c) for c in d.contexts),
            choices=tuple(tuple(3 + t % 40 for t in c) for c in d.choices),
        )
        for d in documents(n)
    ]
    context = (*last.contexts[0], RARE)
    return [*sound, replace(last, contexts=(context,) * len(last.contexts))]


def where(layer: int) -> str:
    return rf"it begins in the residual stream behind layer {layer}\. Load the model with dtype float32"


@pytest.mark.parametrize("layer", [0, 1])
def test_an_overflow_is_traced_to_its_layer_and_document(layer: int) -> None:
    model, docs = overflowing(layer), with_rare()
    sound = docs[:-1]
    assert first_overflow(model, sound[0].contexts[0]) == ""
    task = SmallTask(tuple(docs))
    calls: list[Any] = [
        lambda: importance(model, docs),
        lambda: importance(model, docs, objective="choice"),
        lambda: log_likelihoods(model, docs),
        lambda: knock_out(model, task, component="ffn"),
    ]
    for call in calls:
        with pytest.raises(
            HeadscopeError, match=rf"document t/2 is no finite number: it overflows float16; {where(layer)}"
        ):
            call()
    assert importance(model, sound).head_token.isfinite().all()
    assert importance(overflowing(layer, torch.float32), docs).head_token.isfinite().all(), "float32 has the range"


def test_a_head_whose_result_overflows_is_named() -> None:
    model = load("llama", dtype=HALF)
    with torch.no_grad():
        value = model.hf.model.layers[1].self_attn.v_proj.weight
        width = value.shape[0] // model.n_kv_heads
        value[-width:] = torch.finfo(HALF).max
    share = model.n_heads // model.n_kv_heads
    assert first_overflow(model, (3, 4, 5)) == f"head 1.{model.n_heads - share}"


def in_words(token: int, dtype: torch.dtype = HALF) -> HookedModel:
    """The same for another token, with a tokenizer."""
    return overflow_on(load("llama", dtype=dtype, tokenizer=tokenizer()), token)


def read_by(task: Any) -> dict[str, set[int]]:
    """Every token that a document of the task has, in front of its answer."""
    model = load("llama", tokenizer=tokenizer())
    return {tokens.id: set(tokens.context) for tokens in task.token_documents(model)}


@pytest.mark.parametrize("part", ["mean", "queries"])
def test_function_vectors_name_head_document_and_dtype(part: str) -> None:
    task = vector_task(n_queries=15)
    means, queries = ({**read_by(task.mean), **read_by(task.null)}, read_by(task.queries))
    here, elsewhere = (means, queries) if part == "mean" else (queries, means)
    seen = set().union(*elsewhere.values())
    document, rare = next((name, min(own - seen)) for name, own in here.items() if own - seen)
    document = next(name for name, own in here.items() if rare in own)
    what = {"mean": "the output at the end of", "queries": "the effect of a mean on"}[part]
    told = rf"^{what} document {document} of head \d\.\d is no finite number: it overflows float16, and \d+ others"
    with pytest.raises(HeadscopeError, match=told + rf".*{where(0)}"):
        function_vectors(in_words(rare), task)
    found = function_vectors(in_words(rare, torch.float32), task)
    assert found.scores.mean.isfinite().all(), "float32 has the range"


def test_a_vector_that_goes_beyond_the_range_names_its_prompt() -> None:
    """Prompts and means are sound; what is added is not."""
    task, model = vector_task(n_queries=15), load("llama", dtype=HALF, tokenizer=tokenizer())
    found = function_vectors(model, task)
    huge = replace(found, means={name: mean * 1e12 for name, mean in found.means.items()})
    with pytest.raises(HeadscopeError, match=r"behind a vector of document words/queries/0 is no finite .* float16\."):
        vector_test(model, huge, task, k=1, controls=2)


def test_label_heads_name_head_document_and_dtype() -> None:
    task = vector_task(lengths=(1, 2, 1)).mean
    own = read_by(task)
    document, rare = next((name, min(tokens - {1})) for name, tokens in list(own.items())[2:])
    document = next(name for name, tokens in own.items() if rare in tokens)
    told = rf"^the output at the end of document {document} of head 1\.0 is no finite number: it overflows float16"
    with pytest.raises(HeadscopeError, match=told + rf".*{where(0)}"):
        label_heads(in_words(rare), task, draws=2)
    found = label_heads(in_words(rare, torch.float32), task, draws=2)
    assert all(scores.mean.isfinite().all() for scores in (found.tr, found.tl, found.tr_share))


SOUND = [3, 8, 13, 21]
OVERFLOWS: list[tuple[dict[str, str], str]] = [
    ({"method": "exact"}, "the effect of a patch of head"),
    ({"method": "exact", "component": "ffn"}, "the effect of a patch of the FFN of layer"),
    ({"method": "attribution"}, "the effect of a patch of head"),
    ({"method": "ig"}, "the effect of a patch of head"),
    ({"method": "direct"}, "what is written to the logits of head"),
]


@pytest.mark.parametrize("rare", ["clean", "corrupt"])
@pytest.mark.parametrize(("how", "told"), OVERFLOWS, ids=["-".join(how.values()) for how, _ in OVERFLOWS])
def test_an_effect_that_is_no_number_is_named_and_traced(how: dict[str, str], told: str, rare: str) -> None:
    prompts = {"clean": SOUND, "corrupt": [4, *SOUND[1:]]}
    prompts[rare] = [*SOUND[:-1], RARE]
    with pytest.raises(
        HeadscopeError,
        match=rf"^{told} \d.* is no finite number: it overflows float16(, and \d others with it)?; {where(0)}",
    ):
        patch(overflowing(0), **prompts, answer=[7], other=[9], **how)
    sound = patch(overflowing(0, torch.float32), **prompts, answer=[7], other=[9], **how)
    assert sound.mean.isfinite().all(), "float32 has the range"


@pytest.mark.parametrize("objective", ["sum", "choice"])
def test_float16_gradients_do_not_vanish(objective: str) -> None:
    """Those of a model whose logits hardly depend on its heads: without a factor they are below float16's smallest."""
    models = {dtype: load("llama", dtype=dtype) for dtype in (HALF, torch.float32)}
    for model in models.values():
        with torch.no_grad():
            model.hf.lm_head.weight.mul_(2.0**-10)
            model.hf.model.norm.weight.mul_(2.0**-11)
    docs = documents(3)
    half, whole = (importance(models[dtype], docs, objective=objective) for dtype in (HALF, torch.float32))
    assert float(whole.head_plain.abs().max()) > 0
    for name in ("head_token", "group_token", "ffn_token"):
        found, expected = getattr(half, name), getattr(whole, name)
        assert float((found - expected).abs().max()) < 0.05 * float(expected.max()), name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ablation.loss_scaling.POWERS", (0,))
        lost = importance(models[HALF], docs, objective=objective)
    assert float((lost.head_token - whole.head_token).abs().max()) > 0.2 * float(whole.head_token.max())


def sums_of(factor: float, most: float) -> GateSums:
    """Sums of 1 times the factor that overflow where it is more than `most`."""
    value = factor if factor <= most else torch.inf
    return GateSums(1, head_token={0: torch.full((1, 1), value)})


def test_the_factor_is_the_largest_that_does_not_overflow_and_never_rises() -> None:
    scaling, tried = LossScaling(HALF), []

    def backward(most: float) -> Any:
        def run(factor: float) -> Any:
            tried.append(factor)
            return sums_of(factor, most), None

        return run

    for most in (100.0, 1e9):
        assert float(scaling.run(backward(most))[0].head_token[0]) == 1.0
    assert not scaling.run(backward(0.5))[0].finite(), "what overflows at 1 is for the caller to refuse"
    assert tried == [*(2.0**k for k in (15, 12, 9, 6)), 2.0**6, 2.0**6, 2.0**3, 1.0]
    assert POWERS[-1] == 0 and LossScaling(torch.float32).powers == LossScaling(torch.bfloat16).powers == [0]
