"""Knock-out: equal to evaluating the model with the component's weights zeroed, one request at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config

from ablation.engine.likelihood import log_likelihoods
from ablation.evaluation import evaluate
from ablation.importance import head_importance
from ablation.knock_out import KnockOut, estimate_knock_out, knock_out
from ablation.outcomes import OUTCOMES
from ablation.references import DocumentSamples, make_replacement
from ablation.replacement import Deferred
from ablation.tasks.spread import spread_places
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import SmallTask, documents, partial
from tests.interp.families import build, load

SERVED = (
    "gpt2",
    "opt",
    "opt-350m",
    "gptj",
    "llama",
    "mistral",
    "gemma2",
    "gemma3",
    "olmo2",
    "bloom",
    "falcon",
    "mixtral",
    "gpt_oss",
)


def scored(hf: Any, docs: list[Any]) -> np.ndarray:
    """Every request by itself, through plain Hugging Face."""
    found = []
    for d in docs:
        for context, choice in zip(d.contexts, d.choices, strict=True):
            with torch.no_grad():
                logits = hf(input_ids=torch.tensor([[*context, *choice]]), use_cache=False).logits[0].double()
            log_p = logits.log_softmax(-1)
            found.append(sum(float(log_p[len(context) + j - 1, token]) for j, token in enumerate(choice)))
    return np.array(found)


@contextmanager
def zeroed(hf: Any, model: Any, layer: int, head: int | None) -> Iterator[None]:
    """The head's rows of W_O, or all weights and biases of the FFN, set to zero."""
    layout = model.layout
    names = [layout.o] if head is not None else [layout.ffn] if layout.ffn else ["fc1", "fc2"]
    modules = [hf.get_submodule(f"{layout.blocks}.{layer}.{name}") for name in names]
    kept = [(p, p.detach().clone()) for module in modules for p in module.parameters()]
    if head is None:
        for p, _ in kept:
            p.data.zero_()
    else:
        weight, width = modules[0].weight.data, model.d_value
        part = slice(head * width, (head + 1) * width)
        (weight[part] if type(modules[0]).__name__ == "Conv1D" else weight[:, part]).zero_()
    try:
        yield
    finally:
        for p, value in kept:
            p.data.copy_(value)


def check_every_component(found: KnockOut, expected: Callable[[Any], np.ndarray]) -> None:
    assert found.removals
    for row, removal in enumerate(found.removals):
        if not removal.spare:
            np.testing.assert_allclose(found.removed[row], expected(removal), atol=2e-5, err_msg=str(removal))


@pytest.mark.parametrize("component", ["head", "ffn"])
@pytest.mark.parametrize("family", SERVED)
def test_knock_out_is_evaluating_with_zeroed_weights(family: str, component: str) -> None:
    model, hf, docs = load(family), build(family), [*documents(), *partial()]
    found = knock_out(model, docs, component=component)
    np.testing.assert_allclose(found.plain, scored(hf, docs), atol=2e-5)

    def expected(removal: Any) -> np.ndarray:
        with zeroed(hf, model, removal.layer, removal.head):
            return scored(hf, docs)

    check_every_component(found, expected)
    assert np.abs(found.removed - found.plain).max() > 1e-3  # something was removed at all


def test_position_0_can_be_spared() -> None:
    model, hf, docs = load("llama"), build("llama"), documents()
    found = knock_out(model, docs, component="ffn")
    for row, removal in enumerate(found.removals):
        if not removal.spare:
            continue
        module = hf.get_submodule(f"model.layers.{removal.layer}.mlp")
        handle = module.register_forward_hook(lambda m, a, out: torch.cat([out[:, :1], 0 * out[:, 1:]], 1))
        np.testing.assert_allclose(found.removed[row], scored(hf, docs), atol=2e-5)
        handle.remove()
    every, later = (found.scores(positions=name).mean for name in ("all", "later"))
    assert not torch.allclose(every, later)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_heads_can_spare_position_0_too(family: str) -> None:
    model, hf, docs = load(family), build(family), [*documents(), *partial()]
    found = knock_out(model, docs, component="head", positions=("all", "later"))
    assert len(found.removals) == 16
    for row, removal in enumerate(found.removals):
        if not removal.spare:
            continue
        module = hf.get_submodule(f"{model.layout.blocks}.{removal.layer}.{model.layout.o}")
        part = slice(removal.head * model.d_value, (removal.head + 1) * model.d_value)

        def silence(module: Any, args: Any, part: slice = part) -> Any:
            z = args[0].clone()
            z[:, 1:, part] = 0
            return (z,)

        handle = module.register_forward_pre_hook(silence)
        np.testing.assert_allclose(found.removed[row], scored(hf, docs), atol=2e-5)
        handle.remove()
    every, later = (found.scores(outcome="choice", positions=name) for name in ("all", "later"))
    assert later.variant == "choice/later" and not torch.allclose(every.mean, later.mean)


def test_the_heads_of_a_kv_group_are_removed_together() -> None:
    model, docs = load("llama"), documents()
    found = knock_out(model, docs, component="kv_group")
    scores = found.scores()
    assert scores.mean.shape == (2, 2)
    mask = HeadMask.keep_all(2, 4).without([(1, 2), (1, 3)])
    expected = np.concatenate(log_likelihoods(model, docs, heads=mask))
    np.testing.assert_allclose(found.removed[3], expected, atol=2e-5)


@pytest.mark.parametrize("component", ["head", "ffn"])
@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_a_replaced_component_is_what_plain_hooks_make_of_it(ablation: str, component: str) -> None:
    """The replacement is written again from Method 3.3, on whole sequences and Hugging Face's modules."""
    model, hf, docs, references = load("llama"), build("llama"), documents(), documents(5, seed=8, name="r")
    replacement = make_replacement(model, ablation, references, evaluated=docs, minimum=5)
    found = knock_out(model, docs, component=component, replacement=replacement)
    place = "self_attn.o_proj" if component == "head" else "mlp"
    activations = {
        (r, layer): activation(hf, f"model.layers.{layer}.{place}", reference)
        for r, reference in enumerate(references)
        for layer in range(2)
    }
    for row, removal in enumerate(found.removals):
        rows = []
        for d in docs:
            for context, choice in zip(d.contexts, d.choices, strict=True):
                if ablation == "mean":
                    values = [activations[r, removal.layer] for r in range(len(references))]
                    first = torch.stack([v[0] for v in values]).mean(0)
                    rest = torch.cat([v[1:] for v in values]).mean(0)
                    other = torch.stack([first, *[rest] * (len(context) + len(choice) - 1)])
                else:
                    r = replacement.chosen(d.id)
                    length, end = len(references[r].context) + len(references[r].target), len(references[r].context)
                    index = [0] + [
                        (i - len(context) + end - 1) % (length - 1) + 1 for i in range(1, len(context) + len(choice))
                    ]
                    other = activations[r, removal.layer][index]
                with replaced(hf, removal, other, spare=removal.spare):
                    rows.append(scored(hf, [type("D", (), {"contexts": [context], "choices": [choice]})])[0])
        np.testing.assert_allclose(found.removed[row], rows, atol=2e-5)


def activation(hf: Any, name: str, document: Any) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    module = hf.get_submodule(name)
    handle = module.register_forward_hook(lambda m, a, out: seen.append(a[0] if name.endswith("o_proj") else out))
    with torch.no_grad():
        hf(input_ids=torch.tensor([[*document.context, *document.target]]), use_cache=False)
    handle.remove()
    return seen[0][0]


@contextmanager
def replaced(hf: Any, removal: Any, other: torch.Tensor, *, spare: bool) -> Iterator[None]:
    start = 1 if spare else 0
    if removal.head is None:
        module = hf.get_submodule(f"model.layers.{removal.layer}.mlp")
        handle = module.register_forward_hook(lambda m, a, out: torch.cat([out[:, :start], other[None, start:]], 1))
    else:
        part = slice(removal.head * 8, removal.head * 8 + 8)

        def change(module: Any, args: Any) -> Any:
            z = args[0].clone()
            z[..., part] = other[..., part]
            return (z,)

        handle = hf.get_submodule(f"model.layers.{removal.layer}.self_attn.o_proj").register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


def test_a_reference_at_the_same_distance_from_the_end_gives_itself_back() -> None:
    """Resampling from a document equal to the evaluated one, but in name, changes nothing."""
    model, docs = load("llama"), documents(1)
    twin = [type(docs[0])("other", "c", "other", docs[0].contexts, docs[0].choices, docs[0].gold, 0, 0)]
    replacement = Deferred("resample", lambda: DocumentSamples(model, tuple(twin)))  # which nobody looks into
    found = knock_out(model, docs, component="head", replacement=replacement)
    gold = found.gold[0]
    np.testing.assert_allclose(found.removed[:, gold], np.full(8, found.plain[gold]), atol=1e-5)


def test_batches_change_nothing() -> None:
    model, docs = load("gpt2"), documents(5)
    whole = knock_out(model, docs, component="head", batch_tokens=100_000)
    small = knock_out(model, docs, component="head", batch_tokens=1)
    np.testing.assert_allclose(whole.removed, small.removed, atol=1e-5)


def test_scores_are_full_minus_removed_paired_by_document() -> None:
    model, docs = load("gpt2"), documents(5)
    task = SmallTask(tuple(docs))
    found = knock_out(model, task, component="head")
    scores = found.scores()
    gold = np.array([3 * d + g for d, g in enumerate(found.gold)])
    assert scores.per_item is not None and scores.per_item.shape == (5, 2, 4)
    np.testing.assert_allclose(scores.per_item[:, 1, 2], found.plain[gold] - found.removed[6, gold], atol=1e-6)
    plain = np.array([np.argmax(found.plain[3 * d : 3 * d + 3]) == docs[d].gold for d in range(5)])
    removed = np.array([np.argmax(found.removed[6, 3 * d : 3 * d + 3]) == docs[d].gold for d in range(5)])
    metric = found.scores(outcome="metric")
    assert metric.per_item is not None
    np.testing.assert_allclose(metric.per_item[:, 1, 2], plain.astype(float) - removed)


def test_every_outcome_is_that_of_evaluating_without_the_component() -> None:
    """Paired by item, with the items' clusters: two documents are one question, as in MultiRC."""
    docs = tuple(replace(document, unit=f"q{place // 2}") for place, document in enumerate(documents(6)))
    model, task = load("gpt2"), SmallTask(docs)
    found = knock_out(model, task, component="head", layers=[1])
    full = evaluate(model, task)
    for outcome in OUTCOMES:
        scores = found.scores(outcome=outcome)
        assert scores.per_item is not None and scores.variant == outcome and scores.n == 3
        for head in range(4):
            removed = evaluate(model, task, heads=HeadMask.keep_all(2, 4).without([(1, head)]))
            expected = full.outcome(outcome).minus(removed.outcome(outcome))
            np.testing.assert_allclose(scores.per_item[:, 1, head], expected.values, atol=2e-5)
            assert found.items(outcome) == (expected.items, expected.clusters)
        assert bool(scores.mean[0].isnan().all())  # not removed: no value, never 0
    with pytest.raises(UsageError, match=r"KnockOut\.assembled"):
        replace(found, offered=None).scores(outcome="choice")


def test_single_heads_can_be_named() -> None:
    model, docs = load("gpt2"), documents(3)
    whole, some = knock_out(model, docs, component="head"), [(1, 3), (0, 2)]
    found = knock_out(model, docs, component="head", heads=some)
    assert [(r.layer, r.head) for r in found.removals] == [(0, 2), (1, 3)]
    np.testing.assert_allclose(found.removed, whole.removed[[2, 7]], atol=1e-5)
    mean = found.scores().mean
    assert int((~mean.isnan()).sum()) == 2 and bool(mean[1, 3].isfinite())
    for component, heads in (("head", [(2, 0)]), ("ffn", [(0, 0)])):
        with pytest.raises(UsageError, match="single heads of this model"):
            knock_out(model, docs, component=component, heads=heads)


def test_heads_are_named_as_gates_take_them() -> None:
    model, docs = load("llama"), documents()
    wanted = knock_out(model, docs, component="head", heads=[(0, 1), (1, 2)]).removed
    for heads in ("0.1,1.2", ["0.1", "L1H2"], [(np.int64(0), 1), (1, 2, 0.5)]):
        assert np.array_equal(knock_out(model, docs, component="head", heads=heads).removed, wanted)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"component": "head", "heads": [(0.9, 1.7)]}, r"'\(0\.9, 1\.7\)' is not a head"),
        ({"component": "head", "heads": 3}, "of type int is no list of heads"),
        ({"component": "ffn", "layers": [True]}, r"'True' \(bool\) is no layer"),
        ({"component": "ffn", "layers": [1.0]}, r"'1\.0' \(float\) is no layer"),
        ({"component": "ffn", "layers": 1}, r"'1' \(int\) is no list of layers"),
        ({"component": "ffn", "limit": 2.5}, "limit is a whole number"),
    ],
)
def test_what_names_no_component_is_refused(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    with pytest.raises(UsageError, match=sentence):
        knock_out(load("llama"), documents(), **options)


def test_the_name_of_a_task_is_no_task() -> None:
    model = load("llama")
    for use in (
        lambda: knock_out(model, "copa", component="ffn"),
        lambda: evaluate(model, "copa"),
        lambda: head_importance(model, "copa"),
    ):
        with pytest.raises(UsageError, match=r"'copa' is a name: give the task itself, ablation\.load_task\('copa'\)"):
            use()
    for use in (
        lambda: evaluate(model, documents()),
        lambda: evaluate(model, None),
        lambda: head_importance(model, None),
    ):
        with pytest.raises(UsageError, match=r"is no task: give what ablation\.load_task returns"):
            use()


def test_a_family_without_ffns_has_none_to_knock_out() -> None:
    """Not an empty table, which would read as a result."""
    model = load("gpt2")
    bare = replace(model, layout=replace(model.layout, ffn_out=None))
    with pytest.raises(UsageError, match="GPT2LMHeadModel has no ffn that headscope can place: none can be removed"):
        knock_out(bare, documents(2), component="ffn")
    assert len(knock_out(bare, documents(2), component="head", layers=[1]).removals) == 4


def test_heads_take_48_documents_and_ffns_all_unless_told() -> None:
    model, task = load("gpt2"), SmallTask(tuple(documents(50)))
    assert len(knock_out(model, task, component="head", layers=[1]).documents) == 48
    assert len(knock_out(model, task, component="ffn", layers=[1]).documents) == 50
    assert len(knock_out(model, task, component="head", layers=[1], limit=3).documents) == 3


def test_a_question_that_the_limit_would_cut_in_two_is_left_out() -> None:
    docs = tuple(replace(document, unit=f"q{place // 2}") for place, document in enumerate(documents(6)))
    model, task = load("gpt2"), SmallTask(docs)
    order = [f"t/{n}" for n in spread_places([d.unit for d in docs], [d.cluster for d in docs])]
    assert [int(name[2:]) // 2 for name in order[::2]] == [int(name[2:]) // 2 for name in order[1::2]]
    for limit, whole in ((3, 2), (4, 4), (1, 1)):  # one document is better than nothing
        found = knock_out(model, task, component="head", layers=[1], limit=limit)
        assert list(found.documents) == order[:whole]


def test_pieces_put_together_are_the_whole() -> None:
    model, task = load("llama"), SmallTask(tuple(documents(5)))
    for component, options in (("ffn", {"positions": ("later",)}), ("kv_group", {"layers": [1]})):
        whole = knock_out(model, task, component=component, **options)
        parts = [task.select(range(0, 2)), task.select(range(2, 5))]
        pieces = [knock_out(model, part, component=component, **options).pieces() for part in parts]
        again = KnockOut.assembled(model, task, pieces, component=component, **options)
        np.testing.assert_allclose(again.removed, whole.removed, atol=1e-5)
        assert again.removals == whole.removals and again.units == whole.units and again.grid == whole.grid
        np.testing.assert_array_equal(again.metric, whole.metric)
        with pytest.raises(UsageError, match="other documents, layers or positions"):
            KnockOut.assembled(model, task, pieces[:1], component=component, **options)


def test_an_estimate_counts_blocks_above_the_component() -> None:
    model, docs = load("gpt2"), documents(2)
    estimate = estimate_knock_out(model, docs, component="head")
    assert estimate.removals == 8 and estimate.documents == 2
    assert estimate.forward_passes == 1 + 4 * 1 + 4 * 0.5
    assert estimate.seconds > 0


def test_progress_reaches_its_total() -> None:
    told: list[tuple[int, int]] = []
    knock_out(load("gpt2"), documents(4), component="ffn", batch_tokens=30, progress=lambda *pair: told.append(pair))
    assert told[-1] == (4 * 12, 4 * 12) and len(told) > 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"component": "neuron"}, "head, ffn, kv_group"),
        ({"component": "head", "limit": 0}, "at least 1"),
        ({"component": "ffn", "ablation": "median"}, "zero, mean, resample"),
        ({"component": "ffn", "ablation": "mean"}, "at least 64 reference documents"),
        ({"component": "head", "layers": [7]}, "have no head to remove"),
    ],
)
def test_bad_input_gets_a_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        knock_out(load("gpt2"), documents(), **options)


def test_references_are_disjoint_from_what_is_evaluated() -> None:
    model, docs = load("gpt2"), documents(64)
    with pytest.raises(UsageError, match="at once"):
        knock_out(model, docs, component="ffn", ablation="mean", references=docs)


def test_positions_and_outcomes_that_do_not_exist_are_refused() -> None:
    found = knock_out(load("gpt2"), documents(), component="head")
    for options in ({"positions": "later"}, {"positions": "last"}, {"outcome": "loss"}, {"outcome": "metric"}):
        with pytest.raises(UsageError):
            found.scores(**options)
    with pytest.raises(UsageError, match="nothing was removed at 'later' positions"):
        knock_out(load("gpt2"), documents(), component="ffn", positions=("all",)).scores(positions="later")
