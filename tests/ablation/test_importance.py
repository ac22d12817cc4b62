"""Gradient importance: equal to Method 3.1 written as loops, to a finite difference, to the paper's formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ablation.importance import Importance, ffn_importance, head_importance, importance
from ablation.orders import iterative_order
from ablation.references import DocumentSamples, mean_of
from ablation.replacement import Placement
from ablation.tasks.tokens import TokenDocument
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import documents
from tests.interp.families import FAMILIES, build, load

SERVED = ("gpt2", "opt", "opt-350m", "gptj", "llama", "gemma2", "olmo2", "bloom", "mpt", "falcon", "mixtral", "gpt_oss")


def slow_loop(family: str, docs: list[TokenDocument]) -> dict[str, torch.Tensor]:
    """Method 3.1 with plain Hugging Face: eager attention, one document at a time, every logit, no gate and no sum."""
    hf, model = build(family), load(family)
    o_modules = [hf.get_submodule(name) for name in _names(model, hf, model.layout.o)]
    ffn_modules = [hf.get_submodule(name) for name in _names(model, hf, model.layout.ffn_out)]
    found: dict[str, list[Any]] = {"head": [], "ffn": []}
    for document in docs:
        z, out = [None] * len(o_modules), [None] * len(ffn_modules)
        handles = [m.register_forward_pre_hook(_keep_input(z, k)) for k, m in enumerate(o_modules)]
        handles += [m.register_forward_hook(_keep_output(out, k)) for k, m in enumerate(ffn_modules)]
        ids = torch.tensor([[*document.context, *document.target]])
        logits = hf(input_ids=ids, use_cache=False).logits[0]
        loss = torch.zeros(())
        for j, target in enumerate(document.target):
            loss = loss - logits[len(document.context) + j - 1].log_softmax(-1)[target] / len(document.target)
        grads = torch.autograd.grad(loss, [*z, *out])
        for handle in handles:
            handle.remove()
        dots = [
            value.reshape(-1, value.shape[-1]) * grad.reshape(-1, value.shape[-1])
            for value, grad in zip([*z, *out], grads, strict=True)
        ]
        heads = [d.detach().view(len(d), model.n_heads, -1).sum(-1) for d in dots[: len(z)]]
        found["head"].append(torch.stack(heads))
        found["ffn"].append(torch.stack([d.detach().sum(-1) for d in dots[len(z) :]]))
    result = {}
    for kind, per_document in found.items():
        result[f"{kind} token"] = torch.stack([d.abs().sum(1) for d in per_document])
        result[f"{kind} document"] = torch.stack([d.sum(1).abs() for d in per_document])
        result[f"{kind} signed"] = torch.stack([-d.sum(1) for d in per_document])
    groups = [d.unflatten(-1, (model.n_kv_heads, -1)).sum(-1) for d in found["head"]]
    return {**result, "group token": torch.stack([d.abs().sum(1) for d in groups])}


def _names(model: Any, hf: Any, inner: str) -> list[str]:
    return [f"{model.layout.blocks}.{layer}.{inner}" for layer in range(model.n_layers)]


def _keep_input(store: list[Any], place: int) -> Any:
    def hook(module: Any, args: Any) -> None:
        store[place] = args[0]

    return hook


def _keep_output(store: list[Any], place: int) -> Any:
    def hook(module: Any, args: Any, output: Any) -> Any:
        store[place] = output[0] if isinstance(output, tuple) else output
        copy = store[place].clone()  # Falcon goes on to add attention's output in place.
        return (copy, *output[1:]) if isinstance(output, tuple) else copy

    return hook


def raw(found: Importance, kind: str, positions: str) -> torch.Tensor:
    """Per-document scores without the division."""
    if kind == "group":
        return found.group_token
    token, plain = (found.head_token, found.head_plain) if kind == "head" else (found.ffn_token, found.ffn_plain)
    return {"token": token, "document": plain.abs(), "signed": -plain}[positions]


@pytest.mark.parametrize("family", SERVED)
def test_importance_equals_a_slow_loop(family: str) -> None:
    docs = documents()
    expected = slow_loop(family, docs)
    found = importance(load(family), docs)
    for name, value in expected.items():
        torch.testing.assert_close(raw(found, *name.split()), value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_batches_and_order_change_nothing() -> None:
    model, docs = load("llama"), documents(5)
    whole = importance(model, docs, batch_tokens=10_000)
    single = importance(model, docs, batch_tokens=1)
    turned = importance(model, docs[::-1], batch_tokens=40)
    for name in ("head_token", "head_plain", "group_token", "ffn_token", "ffn_plain", "log_likelihoods"):
        torch.testing.assert_close(getattr(whole, name), getattr(single, name), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(getattr(whole, name), getattr(turned, name).flip(0), rtol=1e-4, atol=1e-6)


def test_batches_change_nothing_where_the_longest_row_decides_on_the_rotary_embedding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Long rotary factors beyond 16 tokens, as in Phi-3 beyond 4,096; some documents are shorter, some longer."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [8.0] * 4,
        "original_max_position_embeddings": 16,
    }
    name, options = FAMILIES["llama"]
    monkeypatch.setitem(FAMILIES, "llama", (name, {**options, "rope_parameters": rope}))
    model, docs = load("llama"), documents(5)
    lengths = [len(d.context) + len(d.target) for d in docs]
    assert min(lengths) <= 16 < max(lengths)
    whole, single = (importance(model, docs, batch_tokens=tokens).head_token for tokens in (10_000, 1))
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("family", "frozen_norm"), [("llama", False), ("gemma2", True), ("falcon", False)])
def test_recomputed_blocks_give_the_same_scores(family: str, frozen_norm: bool) -> None:
    model, docs = load(family), documents()
    kept = importance(model, docs, frozen_norm=frozen_norm, recompute=False)
    again = importance(model, docs, frozen_norm=frozen_norm, recompute=True)
    assert torch.equal(kept.head_plain, again.head_plain)
    assert torch.equal(kept.ffn_token, again.ffn_token)


def test_pieces_put_together_are_the_whole() -> None:
    model, docs = load("llama"), documents(5)
    whole = importance(model, docs)
    pieces = [importance(model, part).pieces() for part in (docs[:2], docs[2:])]
    again = Importance.assembled(pieces, documents=whole.documents, clusters=whole.clusters)
    for name, value in whole.pieces().items():
        torch.testing.assert_close(getattr(again, name), value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(again.heads().ci_low, whole.heads().ci_low)
    with pytest.raises(UsageError, match="of 2 documents, but 5 are named"):
        Importance.assembled(pieces[:1], documents=whole.documents)


def test_uniform_divides_by_all_positions_but_one_a_document() -> None:
    model, docs = load("gpt2"), documents()
    found = importance(model, docs)
    scores = head_importance(model, docs)
    total = sum(len(d.context) + len(d.target) - 1 for d in docs)
    torch.testing.assert_close(scores.mean, found.head_token.sum(0) / total)
    assert scores.per_item is not None
    torch.testing.assert_close(scores.per_item.mean(0), scores.mean)
    assert scores.n == len(docs)


def test_paper_normalisation_is_the_papers_formula_on_opt() -> None:
    """Every layer by the number of predicted positions, the last one by the number of target tokens."""
    model, docs = load("opt"), documents()
    expected = slow_loop("opt", docs)["head token"].sum(0)
    positions = sum(len(d.context) + len(d.target) - 1 for d in docs)
    targets = sum(len(d.target) for d in docs)
    scores = head_importance(model, docs, normalise="paper").mean
    torch.testing.assert_close(scores[:-1], expected[:-1] / positions, rtol=1e-4, atol=0)
    torch.testing.assert_close(scores[-1], expected[-1] / targets, rtol=1e-4, atol=0)


def test_layer_l2_gives_every_layer_norm_one() -> None:
    model, docs = load("gpt2"), documents()
    scores, uniform = head_importance(model, docs, normalise="layer_l2").mean, head_importance(model, docs).mean
    torch.testing.assert_close(scores.norm(dim=-1), torch.ones(model.n_layers))
    torch.testing.assert_close(scores, uniform / uniform.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize("family", ["llama", "opt-350m", "gemma3", "gptj"])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_signed_importance_is_minus_the_slope_of_the_loss_in_the_gate(family: str, ablation: str) -> None:
    model, docs = load(family, dtype=torch.float64), documents(2)
    means = mean_of(model, documents(5, seed=3, name="ref")) if ablation == "mean" else None
    found = importance(model, docs, replacement=means)
    for layer, head in ((0, 1), (1, 3), (1, None)):
        rise = [_loss(model, docs, layer, head, 1 + sign * 1e-2, means) for sign in (1, -1)]
        slope = (rise[0] - rise[1]) / 2e-2
        plain = found.ffn_plain[:, layer] if head is None else found.head_plain[:, layer, head]
        assert float(plain.sum()) == pytest.approx(slope, rel=5e-3, abs=1e-6)


class Quarter:
    """What stands in is a quarter of what was there: three quarters are lost."""

    name, by_position = "mean", True

    def placed(self, placement: Placement) -> Quarter:
        return self

    def z(self, layer: int, z: torch.Tensor) -> torch.Tensor:
        return z / 4

    ffn = z


@pytest.mark.parametrize(("family", "frozen_norm"), [("llama", False), ("gemma3", True), ("falcon", False)])
@pytest.mark.parametrize("objective", ["sum", "choice"])
def test_what_stays_does_not_count(family: str, frozen_norm: bool, objective: str) -> None:
    """However positions are summed, and behind a frozen norm too."""
    model, docs = load(family), documents(3)
    how: dict[str, Any] = {"objective": objective, "frozen_norm": frozen_norm}
    whole, part = importance(model, docs, **how), importance(model, docs, replacement=Quarter(), **how)
    for name in ("head_token", "head_plain", "group_token", "ffn_token", "ffn_plain"):
        torch.testing.assert_close(getattr(part, name), 0.75 * getattr(whole, name), rtol=1e-4, atol=1e-6)


def test_removal_by_another_document_has_no_gradient_score() -> None:
    model, docs = load("llama"), documents(2)
    with pytest.raises(UsageError, match="by zero or by the mean, not by resample: knock the heads out"):
        importance(model, docs, replacement=DocumentSamples(model, tuple(documents(5, seed=3)), 0))


def _loss(model: Any, docs: list[TokenDocument], layer: int, head: int | None, gate: float, means: Any = None) -> float:
    heads, ffns = torch.ones(model.n_layers, model.n_heads), torch.ones(model.n_layers)
    if head is None:
        ffns[layer] = gate
    else:
        heads[layer, head] = gate
    total = 0.0
    for d in docs:
        with torch.no_grad(), model.gates(heads=heads.double(), ffns=ffns.double(), reference=means):
            logits = model(torch.tensor([[*d.context, *d.target]]))[0].log_softmax(-1)
        log_p = [logits[len(d.context) + j - 1, target] for j, target in enumerate(d.target)]
        total -= float(torch.stack(log_p).mean())
    return total


@pytest.mark.parametrize("family", ["gemma3", "olmo2"])
def test_behind_an_rms_norm_signed_scores_cancel_and_the_frozen_ones_do_not(family: str) -> None:
    model, docs = load(family, dtype=torch.float64), documents()
    for module in model.hf.modules():  # An epsilon lets the scale through.
        for name in ("eps", "variance_epsilon"):
            if hasattr(module, name):
                setattr(module, name, 0.0)
    found, frozen = importance(model, docs), importance(model, docs, frozen_norm=True)
    scale = found.head_plain.abs().amax()
    assert float(found.head_plain.sum(-1).abs().max()) < 1e-3 * float(scale)
    assert float(frozen.head_plain.sum(-1).abs().max()) > 0.1 * float(scale)
    assert "post_norm" in found.provenance


@pytest.mark.parametrize("family", ["gemma3", "olmo2"])
def test_frozen_norm_is_the_share_of_each_head_in_what_the_norm_gives(family: str) -> None:
    """Summed over heads it is the gradient of a gate behind the norm, which no norm rescales (no head bias here)."""
    model, docs = load(family, dtype=torch.float64), documents(1)
    frozen = importance(model, docs, frozen_norm=True)
    norm = model.layout.inner(model.hf, 1, model.layout.ln1_post)
    step, losses = 1e-2, []
    for sign in (1, -1):
        handle = norm.register_forward_hook(lambda module, args, out, m=1 + sign * step: out * m)
        losses.append(_loss(model, docs, 0, 0, 1.0))
        handle.remove()
    slope = (losses[0] - losses[1]) / (2 * step)
    assert float(frozen.head_plain[0, 1].sum()) == pytest.approx(slope, rel=1e-3)


def test_a_layer_without_heads_left_has_frozen_scores_of_0() -> None:
    model, docs = load("gemma3"), documents(2)
    mask = HeadMask.keep_all(model.n_layers, model.n_heads).without([(1, head) for head in range(model.n_heads)])
    with model.gates(heads=mask):
        frozen = importance(model, docs, frozen_norm=True)
    assert bool((frozen.head_plain[:, 1] == 0).all()) and bool(frozen.head_plain.isfinite().all())
    order = iterative_order(model, docs, component="head", percents=(50, 90), frozen_norm=True)
    assert bool(order.ranking.scores.isfinite().all())


def test_frozen_norm_changes_nothing_without_a_norm_behind_the_heads() -> None:
    model, docs = load("llama"), documents()
    torch.testing.assert_close(importance(model, docs).head_plain, importance(model, docs, frozen_norm=True).head_plain)


def test_a_kv_group_is_one_gate() -> None:
    model, docs = load("llama"), documents()
    found = importance(model, docs)
    signed = found.heads(positions="signed").mean
    groups = found.kv_groups(positions="signed")
    torch.testing.assert_close(groups.mean, signed.view(2, 2, 2).sum(-1))
    assert groups.variant == "signed" and groups.n_kv_heads == 2 and groups.provenance["heads_per_group"] == 2
    joint = found.head_plain.view(-1, 2, 2, 2).sum(-1).abs().sum(0) / (found.lengths - 1).sum()
    torch.testing.assert_close(found.kv_groups(positions="document").mean, joint)
    token = found.kv_groups(positions="token").mean
    single = found.heads(positions="token").mean.view(2, 2, 2)
    assert bool((token <= single.sum(-1) + 1e-6).all())
    assert bool((token >= (single[..., 0] - single[..., 1]).abs() - 1e-6).all())


def test_gold_log_likelihoods_come_with_it() -> None:
    model, docs = load("qwen2"), documents()
    found = importance(model, docs)
    for row, d in enumerate(docs):
        logits = model(torch.tensor([[*d.context, *d.target]]))[0].log_softmax(-1)
        expected = sum(float(logits[len(d.context) + j - 1, t]) for j, t in enumerate(d.target))
        assert float(found.log_likelihoods[row]) == pytest.approx(expected, rel=1e-5)


def test_a_removed_head_has_no_importance_and_changes_that_of_others() -> None:
    model, docs = load("llama"), documents()
    mask = torch.ones(2, 4)
    mask[0, 2] = 0
    with model.gates(heads=mask):
        gated = importance(model, docs)
    assert not gated.head_token[:, 0, 2].any()
    assert not torch.allclose(gated.head_token[:, 1], importance(model, docs).head_token[:, 1])


def test_parameters_stay_frozen_and_hooks_are_gone() -> None:
    model = load("llama")
    importance(model, documents())
    assert all(p.grad is None and not p.requires_grad for p in model.hf.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_progress_is_told_in_documents() -> None:
    told: list[tuple[int, int]] = []
    importance(load("gpt2"), documents(4), batch_tokens=30, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize(
    ("options", "words"),
    [({"positions": "tokens"}, "token, document, signed"), ({"normalise": "l2"}, "uniform, paper, layer_l2")],
)
def test_unknown_names_are_refused_before_the_model_runs(options: dict[str, str], words: str) -> None:
    for call in (head_importance, ffn_importance):
        with pytest.raises(UsageError, match=words):
            call(load("gpt2"), None, **options)


def test_no_documents_and_one_ffn_a_layer_are_refused() -> None:
    with pytest.raises(UsageError, match="limit of 0"):
        head_importance(load("gpt2"), [])
    with pytest.raises(UsageError, match="one FFN"):
        ffn_importance(load("gpt2"), documents(), normalise="layer_l2")
