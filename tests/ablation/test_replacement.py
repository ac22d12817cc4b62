"""Replacements: means against a loop, alignment from the context's end, and the same answer on any route."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ablation.backups import backups
from ablation.engine.likelihood import log_likelihoods
from ablation.evaluation import evaluate
from ablation.importance import importance
from ablation.knock_out import knock_out
from ablation.last_position import without_at_last
from ablation.pruning import prune
from ablation.references import DocumentSamples, Means, make_replacement, mean_of
from ablation.replacement import At, Placement, Sparing
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask
from interp.scores import HeadScores
from tests.ablation.documents import SmallTask, documents, partial
from tests.interp.families import build, load


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom", "gemma2"])
@pytest.mark.parametrize("shared", [False, True])
def test_means_are_over_positions_from_1_on_and_position_0_has_its_own(family: str, shared: bool) -> None:
    """Every document counts, also where it shares its beginning with others, begins one of them, or is one of them."""
    model, references = load(family), documents(6, name="r")
    if shared:
        prompt = references[0].context
        references = [replace(d, contexts=(prompt + d.contexts[0],) * 3) for d in references]
        references[4] = replace(references[5], contexts=(references[5].context[:-2],) * 3, choices=((1,),) * 3)
        references[4] = replace(references[4], choices=((references[5].context[-2],),) * 3, gold=0)
        references[3] = replace(references[2], id="twice")
    told: list[tuple[int, int]] = []
    means = make_replacement(model, "mean", references, minimum=6)
    again = mean_of(model, references[::-1], progress=lambda done, total: told.append((done, total)))
    assert isinstance(means, Means) and means.n_documents == 6 and told[-1] == (6, 6)
    torch.testing.assert_close(again.z_rest, means.z_rest)
    first, rest, out = [], [], []
    for d in references:
        tokens = torch.tensor([[*d.context, *d.target]])
        _, cache = model.run_with_cache(tokens, ["z", "mlp_out"])
        first.append(cache["z", 1][0, 0])
        rest += list(cache["z", 1][0, 1:])
        out += list(cache["mlp_out", 0][0, 1:])
    torch.testing.assert_close(means.z_first[1], torch.stack(first).mean(0))
    torch.testing.assert_close(means.z_rest[1], torch.stack(rest).mean(0))
    torch.testing.assert_close(means.ffn_rest[0], torch.stack(out).mean(0))


def test_whole_sequences_need_no_placement() -> None:
    model, docs = load("llama"), documents(4, name="r")
    means = make_replacement(model, "mean", docs, minimum=4)
    assert isinstance(means, Means)
    tokens = torch.tensor([[*docs[0].context, *docs[0].target]])
    mask = HeadMask.keep_all(2, 4).without([(0, 1)])
    placed = means.placed(Placement.whole(["x"], [len(docs[0].context)], tokens.shape[1]))
    with torch.no_grad():
        with model.gates(heads=mask, reference=means):
            direct = model(tokens)
        with model.gates(heads=mask, reference=placed):
            told = model(tokens)
    assert torch.equal(direct, told)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma2"])
@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_evaluation_and_knock_out_agree(family: str, ablation: str) -> None:
    """Two routes: packed or cached prefixes from block 0 on, and a resumed run with a mask a row."""
    model, docs = load(family), [*documents(4), *partial(2)]
    references = documents(6, seed=8, name="r")
    replacement = make_replacement(model, ablation, references, evaluated=docs, minimum=6, seed=3)
    heads = knock_out(model, docs, component="head", replacement=replacement)
    ffns = knock_out(model, docs, component="ffn", replacement=replacement, positions=["all"])
    task = SmallTask(tuple(docs))
    for row, removal in enumerate(heads.removals):
        mask = HeadMask.keep_all(2, 4).without([(removal.layer, removal.head)])
        found = evaluate(model, task, heads=mask, replacement=replacement).log_likelihoods
        np.testing.assert_allclose(heads.removed[row], np.concatenate(found), atol=2e-5)
    for row, removal in enumerate(ffns.removals):
        mask = FFNMask.keep_all(2).without([removal.layer])
        found = evaluate(model, task, ffns=mask, replacement=replacement).log_likelihoods
        np.testing.assert_allclose(ffns.removed[row], np.concatenate(found), atol=2e-5)


def test_resampled_documents_are_aligned_at_the_end_of_the_context() -> None:
    model, references = load("gpt2"), documents(1, name="r")
    other = references[0]  # 7 tokens of context, then the target
    resampled = DocumentSamples(model, tuple(references))
    length = len(other.context) + len(other.target)
    same = resampled.aligned(0, torch.arange(length), len(other.context))
    assert same.tolist() == list(range(length))
    longer = resampled.aligned(0, torch.arange(12), 10)
    assert longer[0] == 0 and longer[9] == 6 and longer[10] == 7  # last of the context, first of the target
    assert longer.min() == 0 and longer[1:].min() == 1 and longer.max() <= length - 1


def test_which_document_stands_in_depends_on_seed_and_name_alone() -> None:
    model, references = load("gpt2"), tuple(documents(20, name="r"))
    names = [f"d{n}" for n in range(40)]
    chosen = [DocumentSamples(model, references, 1).chosen(name) for name in names]
    assert chosen == [DocumentSamples(model, references, 1).chosen(name) for name in names]
    assert chosen != [DocumentSamples(model, references, 2).chosen(name) for name in names]
    assert len(set(chosen)) > 10
    assert all(references[DocumentSamples(model, references, 1).chosen(d.id)].id != d.id for d in references)


def test_only_a_few_resampled_documents_are_held() -> None:
    model, references = load("gpt2"), tuple(documents(20, name="r"))
    resampled = DocumentSamples(model, references)
    for place in range(20):
        resampled.activations(place)
    assert list(resampled.kept) == list(range(12, 20))


def test_sparing_leaves_positions_as_they_are() -> None:
    value = torch.ones(2, 3, 4)
    placement = Placement(("a", "b"), torch.tensor([[0, 1, 2], [5, 6, 7]]), torch.tensor([2, 7]))
    later = At("later").placed(placement).ffn(0, value)
    assert later[0, 0].eq(1).all() and later[0, 1:].eq(0).all() and later[1].eq(0).all()
    last = At("last").placed(placement).ffn(0, value)
    assert last[..., 0].tolist() == [[1, 0, 1], [1, 0, 1]]
    assert isinstance(At("last").placed(placement), Sparing)
    with pytest.raises(UsageError, match="no positions to remove at"):
        At("all")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize(("positions", "ablation"), [("last", "zero"), ("last", "mean"), ("later", "mean")])
def test_removal_at_some_positions_is_what_plain_hooks_make_of_it(family: str, positions: str, ablation: str) -> None:
    """Every choice by itself through Hugging Face, one head's z changed in front of the output projection."""
    model, hf, docs = load(family), build(family), [*documents(3), *partial(2)]
    references = documents(6, seed=8, name="r")
    means = make_replacement(model, "mean", references, minimum=6) if ablation == "mean" else None
    mask = HeadMask.keep_all(2, 4).without([(1, 2)])
    way = At(positions, means)
    assert way.name == f"{ablation}/{positions}"
    found = evaluate(model, SmallTask(tuple(docs)), heads=mask, replacement=way).log_likelihoods
    module = hf.get_submodule(f"{model.layout.blocks}.1.{model.layout.o}")
    part = slice(2 * model.d_value, 3 * model.d_value)
    for d, row in zip(docs, found, strict=True):
        for context, choice, value in zip(d.contexts, d.choices, row, strict=True):

            def change(module: Any, args: Any, end: int = len(context)) -> Any:
                z = args[0].clone()
                places = [end - 1] if positions == "last" else range(1, z.shape[1])
                z[:, places, part] = 0.0 if means is None else means.z_rest[1, 2]
                return (z, *args[1:])

            handle = module.register_forward_pre_hook(change)
            with torch.no_grad():
                log_p = hf(input_ids=torch.tensor([[*context, *choice]])).logits[0].double().log_softmax(-1)
            handle.remove()
            expected = sum(float(log_p[len(context) + j - 1, token]) for j, token in enumerate(choice))
            assert value == pytest.approx(expected, abs=2e-5)


def test_a_placement_can_be_repeated() -> None:
    placement = Placement.whole(["a", "b"], [2, 3], 4).repeated(2)
    assert placement.documents == ("a", "a", "b", "b") and placement.context_lengths.tolist() == [2, 2, 3, 3]


def test_references_longer_than_the_context_are_refused() -> None:
    model = load("gpt2")
    (long,) = documents(1)
    long = replace(long, contexts=((5,) * (int(model.max_length or 0) + 1),) * 3)
    with pytest.raises(UsageError, match="its context holds"):
        mean_of(model, [long])


def test_too_few_and_shared_references_are_refused() -> None:
    model, docs = load("gpt2"), documents(70)
    with pytest.raises(UsageError, match="zero, mean, resample"):
        make_replacement(model, "noise", docs)
    with pytest.raises(UsageError, match="got 63"):
        make_replacement(model, "mean", docs[:63])
    with pytest.raises(UsageError, match="at once"):
        make_replacement(model, "resample", docs, evaluated=[replace(docs[3])])
    with pytest.raises(UsageError, match="'x', a copy of 't/3'"):
        make_replacement(model, "mean", docs, evaluated=[replace(docs[3], id="x")])
    assert make_replacement(model, "zero") is None


# --- what is evaluated must not stand in for itself -------------------------------------------------------------------

WAYS: dict[str, Callable[..., Any]] = {
    "evaluate": lambda model, docs, way: evaluate(model, SmallTask(docs), heads=[(0, 1)], replacement=way),
    "log_likelihoods": lambda model, docs, way: log_likelihoods(model, docs, heads=[(0, 1)], replacement=way),
    "prune": lambda model, docs, way: prune(model, SmallTask(docs), ORDER, percents=(0, 25), replacement=way),
    "importance": lambda model, docs, way: importance(model, docs, replacement=way),
    "knock_out": lambda model, docs, way: knock_out(model, docs, component="ffn", replacement=way),
    "at the last position": lambda model, docs, way: without_at_last(model, docs, [((0, 1),)], way),
    "backups": lambda model, docs, way: backups(model, docs, [(0, 1)], replacement=way, controls=0),
}
ORDER = HeadScores.from_items("importance", torch.arange(8.0).reshape(1, 2, 4))
REFERENCES = tuple(documents(6, seed=8, name="r"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("copied", [False, True])
def test_a_replacement_made_of_what_is_evaluated_is_refused(way: str, copied: bool) -> None:
    """By its id, and by its text under another id: one such document among others is enough."""
    model = load("llama")
    means = mean_of(model, REFERENCES)
    leaked = replace(REFERENCES[4], id="other") if copied else replace(REFERENCES[4], contexts=((5, 6),) * 3)
    told = "'other', a copy of 'r/4'" if copied else "'r/4'"
    with pytest.raises(UsageError, match=rf"^1 documents are reference and evaluated at once \(such as {told}\)"):
        WAYS[way](model, (*documents(2), leaked), means)
    assert WAYS[way](model, tuple(documents(2)), means)


@pytest.mark.parametrize("way", ["evaluate", "knock_out"])
@pytest.mark.parametrize("at", ["", "later"])
def test_resampled_documents_and_single_positions_are_looked_at_too(way: str, at: str) -> None:
    model = load("llama")
    samples: Any = DocumentSamples(model, REFERENCES)
    with pytest.raises(UsageError, match="reference and evaluated at once"):
        WAYS[way](model, REFERENCES[:1], At(at, samples) if at else samples)
