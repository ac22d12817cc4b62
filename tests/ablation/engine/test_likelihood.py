"""The likelihood engine: on every family, what one request at a time gives through plain Hugging Face."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ablation.engine.below import Below, first_removed
from ablation.engine.likelihood import default_budget, log_likelihoods, score_requests
from ablation.engine.prefix_plan import Price, Request
from ablation.engine.sharing import Sharing, find_sharing, plain_log_likelihood, rotary_types, window_of
from ablation.importance import head_importance
from ablation.knock_out import knock_out
from ablation.references import make_replacement
from ablation.replacement import At, Placement
from interp.errors import HeadscopeError, UsageError
from interp.masks import FFNMask, HeadMask
from interp.model import HookedModel
from interp.resume import can_resume
from tests.ablation.documents import documents, partial
from tests.interp.families import FAMILIES, VOCAB, build, load

# ALiBi, linear attention or convolution, windows by index, position ids that are not taken: a row each.
ALONE = {
    "bloom",
    "mpt",
    "falcon_alibi",
    "glm_moe_dsa",
    "gpt_neo",
    "qwen3_next",
    "lfm2",
    "gpt1",
    "granite4",
    "granite4_experts",
}
Pair = tuple[tuple[int, ...], tuple[int, ...]]


def requests(seed: int = 0) -> list[Pair]:
    """Demonstrations that all share, contexts of several lengths, choices that share beginnings, one-token choices."""
    draw = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCAB, (length,), generator=draw).tolist())

    shown, pairs = ids(20), []
    for place in range(4):
        context, start = shown[: 20 - place % 2] + ids(3 + 4 * place), ids(3)
        choices = (start + ids(2), start, start[:1] + ids(3), ids(1), ids(1), start[:1])
        pairs += [(context, choice) for choice in choices]
    return pairs


def tokens_alone(pairs: Sequence[Pair]) -> int:
    """What a row a request would run; an input that begins another one comes along."""
    inputs = {(*context, *continuation[:-1]) for context, continuation in pairs}
    return sum(len(a) for a in inputs if not any(a != b and a == b[: len(a)] for b in inputs))


def one_by_one(hf: Any, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log-probabilities, and whether each token is the likeliest, from all logits of one request at a time."""
    values, greedy = [], []
    for context, continuation in pairs:
        with torch.no_grad():
            logits = hf(input_ids=torch.tensor([[*context, *continuation]]), use_cache=False).logits[0].double()
        log_p = logits.log_softmax(-1)[len(context) - 1 : -1]
        wanted = torch.tensor(continuation)
        values.append(float(log_p.gather(1, wanted[:, None]).sum()))
        greedy.append(bool((log_p.argmax(-1) == wanted).all()))
    return np.array(values), np.array(greedy)


@contextmanager
def counted(model: HookedModel) -> Iterator[list[int]]:
    """Tokens that enter the model, pass by pass."""
    seen: list[int] = []

    def count(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs["input_ids"].numel())

    handle = model.hf.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_scores_as_one_by_one(family: str) -> None:
    """Whole and with gates, in one batch and in several; families that can't share are the ones listed."""
    model, pairs = load(family), requests()
    values, greedy = one_by_one(build(family, implementation=None), pairs)
    whole = score_requests(model, pairs)
    np.testing.assert_allclose(whole.log_likelihoods, values, atol=2e-5)
    assert (whole.greedy == greedy).all()

    with counted(model) as seen:
        again = score_requests(model, pairs, token_budget=64)
    np.testing.assert_allclose(again.log_likelihoods, values, atol=2e-5)
    assert sum(seen) >= tokens_alone(pairs) if family in ALONE else sum(seen) < 0.7 * tokens_alone(pairs)

    heads = torch.tensor([[0.0, 1.0, 0.5, 0.0], [1.0, 0.5, 0.0, 1.0]] * model.n_layers)[: model.n_layers]
    ffns = torch.tensor([0.5, 0.0] * model.n_layers)[: model.n_layers]
    gated = score_requests(model, pairs, heads=HeadMask(heads), ffns=FFNMask(ffns)).log_likelihoods
    with model.gates(heads, ffns):
        expected, _ = one_by_one(model.hf, pairs)
    np.testing.assert_allclose(gated, expected, atol=2e-5)
    assert np.abs(gated - values).max() > 1e-2


def test_no_cache_outlives_a_mask() -> None:
    model, pairs = load("llama"), requests(1)
    masks = [torch.ones(2, 4), torch.zeros(2, 4), torch.ones(2, 4)]
    first, removed, last = (score_requests(model, pairs, heads=mask).log_likelihoods for mask in masks)
    np.testing.assert_array_equal(first, last)
    assert np.abs(first - removed).max() > 1e-2


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bloom"])
@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_replacements_stand_where_a_full_run_has_them(family: str, ablation: str) -> None:
    model = load(family)
    docs = [*documents(5, seed=1), *partial(3)]
    replacement = make_replacement(model, ablation, documents(6, seed=2, name="ref"), minimum=1)
    assert replacement is not None
    heads = torch.tensor([[0.0, 1.0, 0.5, 0.0]] * model.n_layers)
    ffns = torch.tensor([1.0, 0.3])
    found = log_likelihoods(model, docs, heads=heads, ffns=ffns, replacement=replacement)
    for document, row in zip(docs, found, strict=True):
        for context, choice, value in zip(document.contexts, document.choices, row, strict=True):
            placement = Placement.whole([document.id], [len(context)], len(context) + len(choice))
            with model.gates(heads, ffns, replacement.placed(placement)):
                expected, _ = one_by_one(model.hf, [(context, choice)])
            np.testing.assert_allclose(value, expected[0], atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_runs_that_begin_at_a_block_are_whole_runs(family: str) -> None:
    """Masks that remove nothing below the last block with heads, through trees, trunks and rows of their own."""
    model, pairs = load(family), requests()
    layer = model.attention_layers[-1]
    whole = HeadMask.keep_all(model.n_layers, model.n_heads)
    below = Below(layer)
    for mask in [whole.without([(layer, head)]) for head in range(2)] + [whole]:
        wanted = score_requests(model, pairs, heads=mask, token_budget=64)
        found = score_requests(model, pairs, heads=mask, token_budget=64, below=below)
        np.testing.assert_allclose(found.log_likelihoods, wanted.log_likelihoods, atol=2e-5)
        np.testing.assert_array_equal(found.greedy, wanted.greedy)
    assert below.complete == (layer > 0 and can_resume(model))


def test_caches_of_a_run_that_begins_at_a_block_hold_the_later_blocks_alone() -> None:
    """Forty questions behind long demonstrations: a trunk, and rows on its cache."""
    model = load("llama")
    draw = torch.Generator().manual_seed(4)
    shown, *ends = (tuple(torch.randint(3, VOCAB, (n,), generator=draw).tolist()) for n in (45, *[12] * 40))
    pairs = [((*shown, *end[:8]), end[8:]) for end in ends]
    caches: list[Any] = []
    handle = model.hf.register_forward_pre_hook(
        lambda module, args, kwargs: caches.append(kwargs.get("past_key_values")), with_kwargs=True
    )
    below = Below(1)
    for head in (0, 1):
        mask = HeadMask.keep_all(model.n_layers, model.n_heads).without([(1, head)])
        wanted = score_requests(model, pairs, heads=mask)
        caches.clear()
        found = score_requests(model, pairs, heads=mask, below=below)
        np.testing.assert_allclose(found.log_likelihoods, wanted.log_likelihoods, atol=2e-5)
    handle.remove()
    assert len(caches) > 1 and all(cache is not None for cache in caches)
    assert not any(cache.layers[0].is_initialized for cache in caches)


def test_what_stands_below_is_run_once_and_for_these_requests_alone() -> None:
    model, pairs = load("llama"), requests()
    mask = HeadMask.keep_all(model.n_layers, model.n_heads).without([(1, 0)])
    below = Below(1)
    score_requests(model, pairs)  # what is found out once a model is known now
    calls = [0 * returned for returned in model.block_returns]
    handles = [
        model.layout.block(model.hf, layer).self_attn.register_forward_hook(
            lambda *_, layer=layer: calls.__setitem__(layer, calls[layer] + 1)
        )
        for layer in range(2)
    ]
    score_requests(model, pairs, heads=mask, below=below)
    first = list(calls)
    score_requests(model, pairs, heads=mask, below=below)
    for handle in handles:
        handle.remove()
    assert first[0] == first[1] > 0 and calls[0] == first[0] and calls[1] == 2 * first[1]
    with pytest.raises(HeadscopeError, match="a `Below` of their own"):
        score_requests(model, requests(1), heads=mask, below=below)


def test_what_removes_something_below_or_has_no_room_is_run_whole() -> None:
    model, pairs = load("llama"), requests()
    keep = HeadMask.keep_all(model.n_layers, model.n_heads)
    early = keep.without([(0, 1)])
    wanted = score_requests(model, pairs, heads=early)
    below = Below(1)
    np.testing.assert_array_equal(
        score_requests(model, pairs, heads=early, below=below).log_likelihoods, wanted.log_likelihoods
    )
    assert not below.complete
    late, small = keep.without([(1, 1)]), Below(1, room=100)
    for _ in range(2):
        found = score_requests(model, pairs, heads=late, below=small)
        np.testing.assert_array_equal(found.log_likelihoods, score_requests(model, pairs, heads=late).log_likelihoods)
    assert not small.complete


def test_the_first_removed_layer_of_two_masks() -> None:
    heads, ffns = torch.ones(4, 3), torch.ones(4)
    assert first_removed(None, None) == first_removed(heads, ffns) > 4
    ffns[2] = 0
    assert first_removed(heads, ffns) == 2
    heads[1, 2] = 0.5
    assert first_removed(heads, ffns) == first_removed(HeadMask(heads), None) == 1
    assert first_removed(heads[None], None) == 0


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_replacements_of_a_run_that_begins_at_a_block(ablation: str) -> None:
    model, shown = load("llama"), documents(4)
    references = documents(6, seed=2, name="ref")
    replacement, fresh = (make_replacement(model, ablation, references, minimum=1) for _ in range(2))
    below = Below(1)
    for head in range(2):
        mask = HeadMask.keep_all(model.n_layers, model.n_heads).without([(1, head)])
        told = {"heads": mask, "replacement": replacement}  # stand-ins are run for the first time in a kept run
        wanted = log_likelihoods(model, shown, heads=mask, replacement=fresh)
        for row, other in zip(log_likelihoods(model, shown, below=below, **told), wanted, strict=True):
            np.testing.assert_allclose(row, other, atol=2e-5)
    assert below.complete


@pytest.mark.parametrize(
    ("ablation", "positions", "shared"),
    [("mean", "", True), ("mean", "later", True), ("resample", "", False), ("mean", "last", False)],
)
def test_documents_share_demonstrations_where_what_stands_in_goes_by_position(
    ablation: str, positions: str, shared: bool
) -> None:
    """Twelve prompts behind the same 28 tokens: the numbers of each alone, for the price of the plain run."""
    model, demonstrations = load("llama"), documents(1, seed=8)[0].context * 4
    shown = [replace(one, contexts=(demonstrations + one.context,) * 3) for one in documents(12, seed=3)]
    inner = make_replacement(model, ablation, documents(6, seed=2, name="ref"), minimum=1)
    replacement = At(positions, inner) if positions else inner
    mask = HeadMask.keep_all(model.n_layers, model.n_heads).without([(0, 1), (1, 2)])
    alone = [log_likelihoods(model, [one], heads=mask, replacement=replacement)[0] for one in shown]
    log_likelihoods(model, shown[:1])  # the first log-likelihood of a model is computed again by itself
    counts = []
    for told in ({}, {"heads": mask, "replacement": replacement}):
        with counted(model) as tokens:
            found = log_likelihoods(model, shown, **told)
        counts.append(sum(tokens))
    for row, wanted in zip(found, alone, strict=True):
        np.testing.assert_allclose(row, wanted, atol=2e-5)
    assert (counts[1] == counts[0]) is shared and counts[1] >= counts[0]


def test_documents_get_a_list_of_choices_each_in_any_shard() -> None:
    model, docs = load("llama"), documents(7)
    whole = log_likelihoods(model, docs)
    assert [len(row) for row in whole] == [len(document.choices) for document in docs]
    parts = [*log_likelihoods(model, docs[4:]), *log_likelihoods(model, docs[:4])]
    np.testing.assert_allclose([*parts[3:], *parts[:3]], whole, atol=1e-5)
    assert log_likelihoods(model, []) == []


def test_fixed_demonstrations_are_run_once() -> None:
    model, shown = load("llama"), tuple(range(3, 43))
    pairs = [((*shown, 50 + n, 60 + n), (70, 71 + k)) for n in range(20) for k in range(2)]
    score_requests(model, pairs[:1])
    with counted(model) as seen:
        scores = score_requests(model, pairs)
    assert sum(seen) == 40 + 20 * 3
    np.testing.assert_allclose(scores.log_likelihoods, one_by_one(model.hf, pairs)[0], atol=2e-5)


def test_what_depends_on_the_longest_row_is_never_padded() -> None:
    model = load("llama")
    model.hf.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    score_requests(model, [((5, 6), (7,))])  # the first log-likelihood of a model is computed again by itself
    with counted(model) as seen:
        score_requests(model, [((5, 6), (7,) * n) for n in (1, 2, 2, 3)])
    assert sorted(seen) == [2, 3, 4]


def test_windows_and_rotary_kinds_are_read_from_configurations() -> None:
    windows = {family: window_of(build(family).config) for family in ("llama", "mistral", "qwen2", "gemma3", "gpt_oss")}
    assert windows == {"llama": None, "mistral": 8, "qwen2": None, "gemma3": 8, "gpt_oss": 8}
    config = build("llama").config
    config.rope_parameters = {"a": {"rope_type": "default"}, "b": {"rope_type": "longrope"}}
    assert "longrope" in rotary_types(config)


def test_windows_by_index_never_share_however_short_the_trial() -> None:
    """A trial shorter than GPT-Neo's real window would find nothing wrong."""

    def flawless(requests: Sequence[Request], price: Price) -> torch.Tensor:
        return torch.stack([plain_log_likelihood(model, request) for request in requests])

    model = load("gpt2")
    assert find_sharing(model, 60, flawless) == Sharing(None)
    model = load("gpt_neo")
    assert find_sharing(model, 60, flawless) == Sharing(0)


def test_a_family_that_mistakes_masks_is_given_a_row_a_request() -> None:
    """The trial at first use notices a model that ignores its mask."""
    model, pairs = load("llama"), requests()
    forward = model.hf.forward
    model.hf.forward = lambda attention_mask=None, **others: forward(**others)
    scores = score_requests(model, pairs)
    assert vars(model.hf)["_headscope_sharing"] == {40: False}
    model.hf.forward = forward
    np.testing.assert_allclose(scores.log_likelihoods, one_by_one(model.hf, pairs)[0], atol=2e-5)


def test_half_precision_agrees_as_far_as_it_can() -> None:
    model, pairs = load("llama", dtype=torch.bfloat16), requests()
    values, _ = one_by_one(model.hf, pairs)
    assert np.abs(score_requests(model, pairs).log_likelihoods - values).max() < 0.3
    assert vars(model.hf)["_headscope_sharing"] == {40: True}


def test_what_passes_is_what_the_dtype_rounds_away() -> None:
    """float16 rounds eight times finer than bfloat16: an error between the two limits passes in one of them alone."""
    models = {kind: load("llama", dtype=kind) for kind in (torch.float16, torch.bfloat16, torch.float32)}

    def allowed(kind: torch.dtype, error: float) -> bool:
        model = models[kind]
        vars(model.hf).pop("_headscope_sharing", None)

        def wrong(requests: Sequence[Request], price: Price) -> torch.Tensor:
            return torch.stack([plain_log_likelihood(model, request) for request in requests]) + error

        return find_sharing(model, 60, wrong) == Sharing(None)

    errors = [0.001 * 2**step for step in range(10)]
    most = {kind: max((error for error in errors if allowed(kind, error)), default=0.0) for kind in models}
    assert most[torch.float32] == 0.0 < most[torch.float16] < most[torch.bfloat16] < 0.25
    assert 4 <= most[torch.bfloat16] / most[torch.float16] <= 16


def test_progress_counts_up_to_all_requests() -> None:
    told: list[tuple[int, int]] = []
    score_requests(load("llama"), requests(), token_budget=40, progress=lambda *counts: told.append(counts))
    assert len(told) > 1 and told[-1] == (24, 24)
    assert all(a[0] < b[0] for a, b in itertools.pairwise(told))


def test_budgets_shrink_for_large_vocabularies() -> None:
    model = load("llama")
    assert default_budget(model) == 1024
    model.__dict__["vocab_size"] = 256_000
    assert default_budget(model) == 524


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (((1,) * 60, (2,) * 6), "65 tokens, its context holds 64"),
        (((1, VOCAB), (2,)), f"the model has 0 to {VOCAB - 1}"),
        (((1, -1), (2,)), "token ids -1 to 2"),
        (((), (2,)), "one of each at least"),
    ],
)
def test_unfit_requests_are_refused(pair: Pair, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        score_requests(load("llama"), [((5,), (6,)), pair])


def test_nan_is_refused() -> None:
    model = load("llama")
    model.hf.get_submodule(model.layout.unembed).weight.data[3, 0] = torch.nan
    with pytest.raises(HeadscopeError, match=r"of document \d+ is no finite number: it overflows float32"):
        score_requests(model, requests())


def test_masks_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(UsageError, match="must have shape"):
        score_requests(load("llama"), requests(), ffns=torch.ones(3))


def test_replacements_want_a_name_a_request() -> None:
    model = load("llama")
    replacement = make_replacement(model, "mean", documents(2), minimum=1)
    with pytest.raises(UsageError, match="1 document names"):
        score_requests(model, requests(), replacement=replacement, documents=["a"])


def test_a_patch_at_positions_is_refused_while_documents_share_rows() -> None:
    """It would fall on other places than in a text alone."""
    model, held = load("llama"), documents()
    values = {(1, 1): torch.ones(1, model.d_value)}
    plain = log_likelihoods(model, held)
    for ask in (
        lambda: log_likelihoods(model, held),
        lambda: head_importance(model, held),
        lambda: knock_out(model, held, component="head"),
    ):
        with (
            pytest.raises(UsageError, match=r"a patch at positions is held .* ablation\.patch"),
            model.patched(values, positions=[-1]),
        ):
            ask()
    assert log_likelihoods(model, held) == plain, "nothing of it is left"
