"""TR and TL against projections by another route, nulls against draws by hand, and labels that span nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

import interp
from ablation.label_heads import LabelHeads, label_heads, permuted_places, removal_check, shadow
from interp import HookedModel
from interp.errors import RefusedModelError, UsageError
from interp.norms import probe
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.interp.families import build


def loaded(name: str = "llama") -> HookedModel:
    return interp.load_model(build(name), tokenizer=tokenizer(), check=False)


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return loaded()


def slow(model: HookedModel, tokens: Any, gold: int, layer: int, head: int) -> tuple[float, float, float]:
    """tr by least squares, tl from logits, share: one head of one document."""
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([tokens.context]), [("z", layer)])
    o = (cache["z", layer][0, -1, head] @ model.w_o(layer)[head]).double()
    hf = model.hf

    def linear(module: Any) -> torch.Tensor:
        found = probe(module, model.d_model, device=model.device, dtype=model.dtype)
        centre = torch.eye(model.d_model).double() - (1 / model.d_model if found.centres else 0)
        return torch.diag(found.gain.double()) @ centre

    n = linear(hf.get_submodule(str(model.layout.ln_final)))
    if model.layout.ln1_post:
        n = n @ linear(model.layout.inner(hf, layer, model.layout.ln1_post))
    labels = [choice[0] for choice in tokens.choices]
    u = n.T @ hf.get_submodule(model.layout.unembed).weight.detach().double()[labels].T
    solved = torch.linalg.lstsq(u, o[:, None]).solution
    tr = float((u @ solved).norm())
    others = [k for k in range(len(labels)) if k != gold]
    tl = float(torch.stack([o @ (u[:, gold] - u[:, k]) for k in others]).mean()) / tr
    return tr, tr / float(o.norm()), tl


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3"])
def test_scores_are_projections_on_the_labels_span(name: str) -> None:
    model, task = loaded(name), vector_task(lengths=(1, 2, 1), n_mean=4).mean
    found = label_heads(model, task, draws=4)
    documents = list(zip(task.documents, task.token_documents(model), strict=True))
    assert found.tr.per_item is not None and found.tl.per_item is not None and found.tr_share.per_item is not None
    for row, (document, tokens) in enumerate(documents):
        for layer, head in ((0, 1), (1, 2)):
            tr, share, tl = slow(model, tokens, document.gold, layer, head)
            assert float(found.tr.per_item[row, layer, head]) == pytest.approx(tr, rel=1e-4)
            assert float(found.tr_share.per_item[row, layer, head]) == pytest.approx(share, rel=1e-4)
            assert float(found.tl.per_item[row, layer, head]) == pytest.approx(tl, rel=1e-3, abs=1e-5)
    assert (found.tr.name, found.tl.name, found.tr_share.name) == ("tr", "tl", "tr_share")


def test_a_shadow_keeps_what_lies_in_the_span_and_forgets_the_rest() -> None:
    columns = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inside = 2 * columns[0] - columns[2]
    across = torch.linalg.svd(columns, full_matrices=True).Vh[3]
    found = shadow(torch.stack([inside, across, inside + 5 * across]), columns)
    expected = float(inside.norm())
    np.testing.assert_allclose(found, [expected, 0, expected], atol=1e-6)
    twice = shadow(inside[None], torch.cat([columns, columns[:1]]))  # a column too many: the pseudo-inverse
    assert float(twice) == pytest.approx(expected)


def planted(model: HookedModel, task: Any, strength: float) -> HookedModel:
    """A copy whose head 1.2 writes each document's gold label's row and nothing else, whatever it attends to."""
    module = model.o_module(1)
    width = model.d_value
    with torch.no_grad():
        seen, rows = [], []
        for document, tokens in zip(task.documents, task.token_documents(model), strict=True):
            _, cache = model.run_with_cache(torch.tensor([tokens.context]), [("z", 1)])
            seen.append(cache["z", 1][0, -1, 2].double())
            rows.append(model.hf.lm_head.weight[tokens.choices[document.gold][0]].double())
        weight = module.get_parameter("weight")
        solved = torch.linalg.lstsq(torch.stack(seen), torch.stack(rows)).solution
        weight[:, 2 * width : 3 * width] = strength * solved.T.float()
    return model


def test_a_head_that_writes_the_right_label_is_above_both_nulls() -> None:
    model = loaded()
    task = vector_task(lengths=(1, 1, 1), n_mean=7).mean
    planted(model, task, 3.0)
    found = label_heads(model, task, draws=400, by_frequency=range(3, 97))
    assert found.tr_share.top(1)[0][:2] == (1, 2) and float(found.tr_share.mean[1, 2]) > 0.95
    assert float(found.tr.p[1, 2]) < 0.02 and float(found.tl.p[1, 2]) < 0.02
    nulls = {score.name: score.provenance.get("null") for score in (found.tr, found.tl, found.tr_share)}
    assert nulls == {"tr": "frequency and length", "tl": "permuted labels", "tr_share": None}
    for score in (found.tr, found.tl):
        others = score.p.flatten()[[n for n in range(8) if n != 6]]
        assert float(others.median()) > 0.05
    document = task.documents[0]
    wrong = replace(document, gold=(document.gold + 1) % 3, right=((document.gold + 1) % 3,))
    against = label_heads(model, replace(task.select([0]), documents=(wrong,)), draws=50, by_frequency=range(3, 97))
    assert float(against.tl.mean[1, 2]) < 0 < float(found.tl.mean[1, 2])


@pytest.mark.parametrize("labels", [2, 4])
def test_the_null_of_tl_permutes_which_label_is_right(labels: int) -> None:
    """Beside all 720 permutations of the right places of six documents, each score by another route."""
    model, task = loaded("gemma3"), vector_task(lengths=(1,) * labels, n_mean=6).mean
    draws = 3000
    found = label_heads(model, task, draws=draws).tl
    golds = [document.gold for document in task.documents]
    p_values = []
    for layer, head in ((0, 1), (0, 3), (1, 0), (1, 2)):
        towards = np.array(
            [
                [slow(model, tokens, place, layer, head)[2] for place in range(labels)]
                for tokens in task.token_documents(model)
            ]
        )
        null = np.array([towards[np.arange(6), list(places)].mean() for places in permutations(golds)])
        score = towards[np.arange(6), golds].mean()
        p = float((null >= score - 1e-9).mean())
        assert float(found.null_mean[layer, head]) == pytest.approx(null.mean(), abs=4 * null.std() / draws**0.5)
        assert float(found.p[layer, head]) == pytest.approx(p, abs=4 * (p * (1 - p) / draws) ** 0.5 + 1 / draws)
        assert labels > 2 or abs(null.mean()) < 1e-9, "each place is right equally often: centred at 0"
        p_values.append(p)
    assert max(p_values) < 1 and min(p_values) > 2 / 720, "no p is at an end"


def test_places_move_only_among_documents_with_as_many_labels() -> None:
    draw = np.random.default_rng(0)
    places = permuted_places([2, 4, 2, 4, 4, 3], [0, 3, 1, 2, 3, 1], draw, 200)
    assert places.shape == (6, 200) and (places[5] == 1).all()
    for alike, held in (([0, 2], [0, 1]), ([1, 3, 4], [2, 3, 3])):
        assert (np.sort(places[alike], axis=0) == np.array(held)[:, None]).all()
        assert len(np.unique(places[alike], axis=1).T) == len(set(permutations(held)))


def test_where_one_place_is_always_right_nothing_is_shown(model: HookedModel) -> None:
    task = vector_task(lengths=(1, 1, 1), n_mean=4).mean
    first = replace(task, documents=tuple(replace(one, gold=0, right=(0,)) for one in task.documents))
    found = label_heads(model, first, draws=19).tl
    assert bool((found.p == 1).all()) and torch.equal(found.null_mean, found.mean)


def test_intervals_are_by_cluster_and_draws_are_seeded(model: HookedModel) -> None:
    task = vector_task(lengths=(1, 1, 1), n_mean=6).mean
    once, again, other = (label_heads(model, task, draws=20, seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(once.tr.null_mean, again.tr.null_mean, atol=0, rtol=0)
    assert not torch.equal(once.tr.null_mean, other.tr.null_mean)
    assert once.tr.n == 6 and bool((once.tr.ci_low <= once.tr.mean).all() & (once.tr.mean <= once.tr.ci_high).all())


def test_labels_that_span_no_space_of_their_own_are_left_out(model: HookedModel) -> None:
    shared = vector_task(lengths=(2, 2), shared_first=True, n_mean=2).mean
    with pytest.raises(UsageError, match="two of the 2 labels of words/mean/0 begin with the same token"):
        label_heads(model, shared)
    many = vector_task(lengths=(1,) * 4, n_mean=2).mean
    with pytest.raises(UsageError, match=r"has 4 labels, too many for heads of width 8 \(fewer than 4\)"):
        label_heads(model, many)
    good = vector_task("good", lengths=(1, 1), n_mean=3).mean
    mixed = replace(good, documents=(*good.documents, shared.documents[0]))
    found = label_heads(model, mixed, draws=3)
    assert found.tr.n == 3 and len(found.left_out) == 1 and "same token" in found.left_out[0]
    with pytest.raises(RefusedModelError, match="no direct attribution"):
        label_heads(loaded("gpt1"), good)
    with pytest.raises(UsageError, match="3 tokens are too few to draw random labels from"):
        label_heads(model, good, by_frequency=[5, 6, 7])


def test_the_check_removes_the_top_heads_and_layer_matched_ones(model: HookedModel) -> None:
    from ablation.evaluation import evaluate
    from interp.masks import HeadMask

    task = vector_task(lengths=(1, 1, 2), n_mean=6)
    scores: LabelHeads = label_heads(model, task.mean, draws=3)
    by_tr, by_tl = removal_check(model, task.queries, scores, controls=2)
    assert (by_tr.outcome, by_tl.outcome) == ("mass", "choice")
    for check, table in ((by_tr, scores.tr), (by_tl, scores.tl)):
        (head,) = check.heads  # 3% of 8 heads
        assert head == table.top(1)[0][:2] and check.rank.n_controls == 2
        mask = HeadMask.keep_all(2, 4).without([head])
        full, removed = evaluate(model, task.queries), evaluate(model, task.queries, heads=mask)
        drop = full.outcome(check.outcome).values - removed.outcome(check.outcome).values
        assert check.drop.value == pytest.approx(float(drop.mean()), abs=1e-6)
