"""Importance with objective `choice`: a finite difference of a gate, and a slow loop over every choice by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ablation.choice_batches import choice_batches
from ablation.engine.likelihood import log_likelihoods
from ablation.gate_gradients import NodeSums
from ablation.importance import head_importance, importance
from ablation.outcomes import Choices
from ablation.references import mean_of
from ablation.tasks.tokens import TokenDocument
from interp.errors import HeadscopeError, UsageError
from tests.ablation.documents import SmallTask, documents, partial
from tests.interp.families import FAMILIES, build, load

SERVED = ("gpt2", "opt", "gptj", "llama", "gemma2", "olmo2", "bloom", "mpt", "falcon", "mixtral", "gpt_oss")


def longrope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama with long rotary factors beyond 16 tokens: rows of unequal length must not run together."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [8.0] * 4,
        "original_max_position_embeddings": 16,
    }
    name, options = FAMILIES["llama"]
    monkeypatch.setitem(FAMILIES, "llama", (name, {**options, "rope_parameters": rope}))


def nested(n: int) -> list[TokenDocument]:
    """Documents whose first choice begins their last one."""
    return [replace(d, choices=(d.choices[0], d.choices[1], (*d.choices[0], 8))) for d in documents(n)]


def losses(
    model: Any, docs: list[TokenDocument], layer: int, head: int | None, gate: float, replacement: Any = None
) -> float:
    """The sum of -choice with one gate moved, through the engine of evaluation."""
    heads, ffns = torch.ones(model.n_layers, model.n_heads), torch.ones(model.n_layers)
    if head is None:
        ffns[layer] = gate
    else:
        heads[layer, head] = gate
    rows = log_likelihoods(model, docs, heads=heads.double(), ffns=ffns.double(), replacement=replacement)
    flat = torch.tensor([value for row in rows for value in row], dtype=torch.float64)
    choices = Choices.of(docs)
    return -float(choices.values("choice", choices.padded(flat)).sum())


@pytest.mark.parametrize("family", ["llama", "opt-350m", "gemma3", "gptj", "bloom"])
@pytest.mark.parametrize("kind", [documents, partial, nested])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_signed_importance_is_minus_the_slope_of_the_loss_in_the_gate(family: str, kind: Any, ablation: str) -> None:
    model, docs, step = load(family, dtype=torch.float64), kind(2), 3e-3
    replacement = mean_of(model, documents(5, seed=3, name="ref")) if ablation == "mean" else None
    found = importance(model, docs, objective="choice", replacement=replacement)
    scale = float(found.head_plain.abs().amax())
    for layer, head in ((0, 1), (1, 3), (1, None)):
        rise = [losses(model, docs, layer, head, 1 + sign * step, replacement) for sign in (1, -1)]
        slope = (rise[0] - rise[1]) / (2 * step)
        plain = found.ffn_plain[:, layer] if head is None else found.head_plain[:, layer, head]
        assert float(plain.sum()) == pytest.approx(slope, rel=2e-3, abs=2e-4 * scale)
    assert found.heads(positions="signed").variant == ("signed/choice" + "/mean" * (ablation == "mean"))


def slow_loop(family: str, docs: list[TokenDocument]) -> dict[str, torch.Tensor]:
    """Plain Hugging Face, a row a choice; gradients of one position are added over the choices that share it."""
    hf, model = build(family), load(family)
    modules = [hf.get_submodule(f"{model.layout.blocks}.{n}.{model.layout.o}") for n in range(model.n_layers)]
    found: dict[str, list[torch.Tensor]] = {"token": [], "signed": []}
    for d in docs:
        z: list[list[torch.Tensor]] = []
        scores = []
        for context, choice in zip(d.contexts, d.choices, strict=True):
            kept: list[torch.Tensor] = []
            handles = [m.register_forward_pre_hook(lambda m, a, kept=kept: kept.append(a[0])) for m in modules]
            logits = hf(input_ids=torch.tensor([[*context, *choice]]), use_cache=False).logits[0].log_softmax(-1)
            for handle in handles:
                handle.remove()
            scores.append(torch.stack([logits[len(context) + j - 1, t] for j, t in enumerate(choice)]).sum())
            z.append(kept)
        loss = torch.stack(scores).logsumexp(0) - scores[d.gold]
        grads = iter(torch.autograd.grad(loss, [value for kept in z for value in kept]))
        nodes: dict[tuple[int, ...], torch.Tensor] = {}
        for (context, choice), kept in zip(zip(d.contexts, d.choices, strict=True), z, strict=True):
            dots = [(v * next(grads)).detach().view(v.shape[1], model.n_heads, -1).sum(-1) for v in kept]
            for position in range(len(context) + len(choice)):
                beginning = (*context, *choice)[: position + 1]
                nodes[beginning] = nodes.get(beginning, 0) + torch.stack([part[position] for part in dots])
        together = torch.stack(list(nodes.values()))
        found["token"].append(together.abs().sum(0))
        found["signed"].append(-together.sum(0))
    return {name: torch.stack(values) for name, values in found.items()}


@pytest.mark.parametrize("family", SERVED)
def test_choice_importance_equals_a_slow_loop(family: str) -> None:
    docs = [*documents(), *partial()]
    expected, found = slow_loop(family, docs), importance(load(family), docs, objective="choice")
    for name, value in (("token", found.head_token), ("signed", -found.head_plain)):
        tolerance = 1e-4 * float(expected[name].abs().max())
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("family", ["llama", "bloom", "gemma2"])
def test_batches_recomputing_and_order_change_nothing(family: str) -> None:
    model, docs = load(family), documents(5)
    whole = importance(model, docs, objective="choice", batch_tokens=10_000)
    others = (
        importance(model, docs, objective="choice", batch_tokens=1),  # unshared rows: several passes a document
        importance(model, docs[::-1], objective="choice", batch_tokens=90),
        importance(model, docs, objective="choice", batch_tokens=1, recompute=True),
    )
    for place, other in enumerate(others):
        for name in ("head_token", "head_plain", "group_token", "ffn_token", "ffn_plain", "log_likelihoods"):
            value = getattr(other, name).flip(0) if place == 1 else getattr(other, name)
            torch.testing.assert_close(getattr(whole, name), value, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(whole.log_likelihoods, importance(model, docs).log_likelihoods, rtol=1e-4, atol=1e-5)


def test_rows_that_must_not_be_padded_are_run_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    longrope(monkeypatch)
    docs = documents(3)
    model, expected = load("llama"), slow_loop("llama", docs)
    batches = list(choice_batches(model, docs, rights=[(d.gold,) for d in docs], metric="acc", tokens=1000))
    assert max(len(batch.passes) for batch in batches) > 1
    found = importance(model, docs, objective="choice")
    torch.testing.assert_close(-found.head_plain, expected["signed"], rtol=1e-3, atol=1e-6)


def test_a_shared_prompt_is_run_once() -> None:
    docs = documents(2)
    rights = [(d.gold,) for d in docs]
    (tree,) = choice_batches(load("llama"), docs, rights=rights, metric="acc", tokens=10_000)
    alone = list(choice_batches(load("bloom"), docs, rights=rights, metric="acc", tokens=10_000))
    sizes = [sum(part.batch.tokens.numel() for batch in one for part in batch.passes) for one in ([tree], alone)]
    prompts = sum(len(d.context) for d in docs)
    assert sizes[0] < 2 * prompts < sizes[1]
    assert len(tree.owners) == sum(len(batch.owners) for batch in alone)


def test_all_right_answers_of_a_task_count() -> None:
    model, docs = load("llama", dtype=torch.float64), documents(2)

    class Several(type(docs[0])):  # type: ignore[misc]
        @property
        def right(self) -> tuple[int, ...]:
            return (0, 1)

    two = [Several(**{name: getattr(d, name) for name in d.__dataclass_fields__}) for d in docs]
    found = importance(model, SmallTask(tuple(two)), objective="choice")
    assert not torch.allclose(
        found.head_plain, importance(model, SmallTask(tuple(docs)), objective="choice").head_plain
    )
    heads, step, rise = torch.ones(2, 4).double(), 1e-3, []
    for sign in (1, -1):
        heads[1, 2] = 1 + sign * step
        rows = torch.tensor(log_likelihoods(model, docs, heads=heads), dtype=torch.float64)
        rise.append(float((rows.logsumexp(1) - rows[:, :2].logsumexp(1)).sum()))
    slope = (rise[0] - rise[1]) / (2 * step)
    assert float(found.head_plain[:, 1, 2].sum()) == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_frozen_norm_is_the_share_of_each_head_in_what_the_norm_gives() -> None:
    """Summed over heads it is the slope of -choice in a gate behind the norm (no head bias here)."""
    model, docs, step, rise = load("gemma3", dtype=torch.float64), documents(2), 1e-3, []
    frozen = importance(model, docs, objective="choice", frozen_norm=True)
    norm = model.layout.inner(model.hf, 1, model.layout.ln1_post)
    for sign in (1, -1):
        handle = norm.register_forward_hook(lambda module, args, out, m=1 + sign * step: out * m)
        rise.append(losses(model, docs, 0, 0, 1.0))
        handle.remove()
    assert float(frozen.head_plain[:, 1].sum()) == pytest.approx((rise[0] - rise[1]) / (2 * step), rel=1e-3)
    plain = importance(model, docs, objective="choice")
    assert not torch.allclose(frozen.head_plain, plain.head_plain)
    again = importance(model, docs, objective="choice", frozen_norm=True, recompute=True, batch_tokens=30)
    torch.testing.assert_close(again.head_token, frozen.head_token, rtol=1e-4, atol=1e-7)


def test_scores_say_which_objective_they_are_of() -> None:
    model, task = load("gpt2"), SmallTask(tuple(documents(4)))
    choice = head_importance(model, task, positions="signed", objective="choice")
    assert choice.variant == "signed/choice" and choice.provenance["objective"] == "choice"
    plain = head_importance(model, task, positions="signed", normalise="paper")
    assert plain.variant == "signed/paper" and plain.provenance["objective"] == "sum"
    assert not torch.allclose(choice.mean, plain.mean)


def test_signed_importance_is_positive_where_the_head_is_needed() -> None:
    """A gate turned down a little: the loss rises by that much of `signed`, and falls where it is negative."""
    model, docs, step = load("llama", dtype=torch.float64), documents(3), 1e-3
    for objective in ("sum", "choice"):
        signed = importance(model, docs, objective=objective).heads(positions="signed").per_item
        assert signed is not None
        total = importance(model, docs, objective=objective)
        raw = -total.head_plain.sum(0)
        for layer, head in ((0, 0), (0, 3), (1, 1), (1, 2)):
            rise = risen(model, docs, objective, layer, head, step)
            assert float(raw[layer, head]) == pytest.approx(rise / step, rel=2e-2, abs=1e-3 * float(raw.abs().max()))
            mean = float(signed.mean(0)[layer, head])
            assert abs(rise) < 1e-6 or (mean > 0) == (rise > 0)


def risen(model: Any, docs: list[TokenDocument], objective: str, layer: int, head: int, step: float) -> float:
    """By how much the loss rises when this head's gate goes from 1 to 1 - step."""
    if objective == "choice":
        return losses(model, docs, layer, head, 1 - step) - losses(model, docs, layer, head, 1.0)
    totals = []
    for gate in (1 - step, 1.0):
        heads = torch.ones(2, 4).double()
        heads[layer, head] = gate
        rows = log_likelihoods(model, docs, heads=heads)
        totals.append(-sum(row[d.gold] / len(d.target) for row, d in zip(rows, docs, strict=True)))
    return totals[0] - totals[1]


def test_what_has_no_choice_and_what_overflows_gets_a_sentence() -> None:
    model, docs = load("gpt2"), documents(2)
    with pytest.raises(UsageError, match="sum, choice"):
        importance(model, docs, objective="margin")
    with pytest.raises(UsageError, match="offers 1 choice"):
        importance(
            model, [replace(docs[0], contexts=docs[0].contexts[:1], choices=docs[0].choices[:1])], objective="choice"
        )
    with pytest.raises(HeadscopeError, match="which nodes"):
        NodeSums(1, owners=torch.zeros(3, dtype=torch.long)).add_ffn(0, torch.zeros(1, 3))
    model.hf.lm_head.weight.data[0] = torch.inf
    with pytest.raises(
        HeadscopeError, match=r"log-likelihood of document t/\d is no finite number: it overflows float32"
    ):
        importance(model, docs)
