"""Rows over a cached prompt give what a slow loop of whole runs with plain torch hooks gives, in every family."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp import HookedModel, patch_route, prompt_rows
from interp.errors import SelfCheckError, UsageError
from interp.patched_rows import every_ffn, every_head, patched_log_likelihoods, patched_log_probabilities, prepare
from interp.patching import Patch
from interp.prompt_rows import PromptRows, Route
from interp.scored_paths import ScoredPaths
from tests.interp.conftest import Family, family_named
from tests.interp.families import build, load, random_tokens

PROMPT = random_tokens(batch=1, length=20)[0].tolist()
CHOICES = [(5, 6, 7), (5, 9), (11,), (5,)]  # beginning alike, of one token, and the beginning of another
SIX = {
    "llama": "grouped heads",
    "qwen2_window": "a sliding window shorter than the prompt",
    "gemma2": "norms behind attention and FFN, and a window",
    "opt": "a biased output projection",
    "qwen3": "heads of another width than d_model / n",
    "mixtral": "a mixture of experts",
}


def noise(model: HookedModel, positions: int, *, seed: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    heads = torch.randn(model.n_layers, model.n_heads, positions, model.d_value, generator=generator)
    return heads, torch.randn(model.n_layers, positions, model.d_model, generator=generator)


def slow(model: HookedModel, hf: Any, patch: Patch, positions: Sequence[int], context: list[int]) -> Tensor:
    """Whole runs of an untouched Hugging Face model, hooks by hand, logits summed by hand."""
    return torch.stack([slow_choice(model, hf, patch, positions, context, choice) for choice in CHOICES])


def slow_choice(
    model: HookedModel, hf: Any, patch: Patch, positions: Sequence[int], context: list[int], choice: Sequence[int]
) -> Tensor:
    handles = []
    for (layer, head), value in patch.heads.items():

        def z(module: Any, args: Any, head: int = head, value: Tensor = value) -> Any:
            changed = args[0].clone()
            width = changed.shape[-1] // model.n_heads
            for place, row in zip(positions, value, strict=True):
                changed[..., place, head * width : (head + 1) * width] = row.to(changed)
            return (changed, *args[1:])

        handles.append(hf.get_submodule(model.layout.blocks)[layer].get_submodule(model.layout.o))
        handles[-1] = handles[-1].register_forward_pre_hook(z)
    for layer, value in patch.ffns.items():

        def ffn(module: Any, args: Any, output: Any, value: Tensor = value) -> Any:
            changed = (output[0] if isinstance(output, tuple) else output).clone()
            rows = changed.view(1, -1, changed.shape[-1])
            for place, row in zip(positions, value, strict=True):
                rows[:, place] = row.to(rows) / model.layout.residual_scale
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        block = hf.get_submodule(model.layout.blocks)[layer]
        handles.append(block.get_submodule(str(model.layout.ffn_out)).register_forward_hook(ffn))
        if model.layout.ffn_beside:  # what is added to it there
            nothing = partial(ffn, value=torch.zeros_like(value))
            handles.append(block.get_submodule(model.layout.ffn_beside).register_forward_hook(nothing))
    tokens = [*context, *choice]
    with torch.no_grad():
        logits = hf(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double()
    for handle in handles:
        handle.remove()
    return sum(
        (logits[len(context) - 1 + n].log_softmax(-1)[token] for n, token in enumerate(choice)), logits.new_zeros(())
    )


@pytest.mark.parametrize("positions", [(19,), (17, 19), (0, 14)])
@pytest.mark.parametrize("name", SIX)
def test_rows_are_the_slow_loop(name: str, positions: tuple[int, ...]) -> None:
    """In float64, where the family has it: equal to far below 1e-6."""
    dtype = torch.float32 if name == "mixtral" else torch.float64
    model, hf = load(name, dtype=dtype), build(name, dtype=dtype)
    heads, ffns = noise(model, len(positions))
    patches = [*every_head(heads, model.attention_layers), *every_ffn(ffns, model.ffn_layers)]
    rows = prepare(model, ScoredPaths.of_choices(PROMPT, CHOICES), positions)
    found = rows.run(patches)
    expected = torch.stack([slow(model, hf, patch, positions, PROMPT) for patch in patches])
    close(found, expected, 3e-6 if name == "mixtral" else 1e-6)
    close(rows.plain, slow(model, hf, Patch(), positions, PROMPT), 3e-6)
    moved = (found - rows.plain).abs().amax(1)
    assert float(moved[: model.n_heads].min()) > 1e-4, "a patch that moves nothing compares nothing"
    assert rows.route.cached, str(rows.route)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance, rtol=0)


def test_every_family_takes_some_way_that_is_right(family: Family) -> None:
    model, positions = family.model, (15, 19)
    heads, ffns = noise(model, 2)
    layer = model.attention_layers[-1]
    patches = [
        Patch(),
        Patch({(layer, 1): heads[layer, 1]}),
        Patch({(layer, 0): heads[layer, 0], (model.attention_layers[0], 3): heads[0, 3]}),
        Patch({(layer, 2): heads[layer, 2]}, {0: ffns[0]}),
    ]
    rows = prepare(model, ScoredPaths.of_choices(PROMPT, CHOICES), positions)
    expected = [slow(model, family.hf, patch, positions, PROMPT) for patch in patches]
    close(rows.run(patches), torch.stack(expected), 1e-5)


WITHOUT_CACHE = {"gpt1": "takes no keys", "lfm2": "convolutions", "qwen3_next": "linear attention"}


@pytest.mark.parametrize("name", WITHOUT_CACHE)
def test_families_without_a_cache_say_so(name: str) -> None:
    route = patch_route.find_route(family_named(name).model, len(PROMPT))
    assert str(route) == "rows of the whole prompt, all layers in one sweep".replace("rows", ROWS[route.packed])


ROWS = {True: "packed rows", False: "rows"}


@pytest.mark.parametrize("route", patch_route.ROUTES, ids=str)
def test_every_way_gives_the_same_numbers(llama: HookedModel, route: Route) -> None:
    scored, positions = ScoredPaths.of_choices(PROMPT, CHOICES), (3, 19)
    heads, ffns = noise(llama, 2)
    patches = [*every_head(heads, (1, 0)), *every_ffn(ffns, (1,))]
    found = PromptRows.of(llama, scored, positions, route).run(patches)
    truth = PromptRows.of(llama, scored, positions, Route(False)).run(patches)
    close(found, truth, 3e-6)


def test_patching_a_run_with_its_own_activations_changes_nothing(llama: HookedModel) -> None:
    with torch.no_grad():
        _, cache = llama.run_with_cache(torch.tensor([PROMPT]), ["z", "mlp_out"])
    z, ffn = rearrange(cache["z"][:, 0], "l q h d -> l h q d"), cache["mlp_out"][:, 0]
    for positions in ((19,), range(20)):
        places = list(positions)
        patches = [*every_head(z[:, :, places], (0, 1)), *every_ffn(ffn[:, places], (0, 1))]
        plain, found = patched_log_likelihoods(llama, PROMPT, CHOICES, patches, positions=places)
        close(found, plain.expand_as(found), 1e-6)


def test_small_chunks_change_nothing(llama: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    heads, _ = noise(llama, 1)
    patches = every_head(heads, (1, 0))
    whole = patched_log_likelihoods(llama, PROMPT, CHOICES, patches)[1]
    monkeypatch.setattr(prompt_rows, "KEY_ELEMENTS", 2500)
    rows = prepare(llama, ScoredPaths.of_choices(PROMPT, CHOICES), [19])
    assert [len(chunk) for chunk in rows._chunks(patches)] == [3, 3, 2]
    close(rows.run(patches), whole, 3e-6)


def test_gates_around_hold_in_every_row_and_patches_come_after_them(llama: HookedModel) -> None:
    mask = torch.ones(2, 4)
    mask[0, 2] = mask[1, 0] = 0
    heads, _ = noise(llama, 1)
    patches = every_head(heads, (0, 1))
    with llama.gates(heads=mask, ffns=torch.tensor([0.5, 1.0])):
        plain, found = patched_log_likelihoods(llama, PROMPT, CHOICES, patches)
        truth = PromptRows.of(llama, ScoredPaths.of_choices(PROMPT, CHOICES), [19], Route(False))
        close(plain, truth.plain, 3e-6)
        close(found, truth.run(patches), 3e-6)
    assert float((plain - patched_log_likelihoods(llama, PROMPT, CHOICES, [])[0]).abs().max()) > 1e-3


def test_log_probabilities_of_tokens_at_places(llama: HookedModel) -> None:
    """What Method 2.11 reads: the last two positions, patched at the one before the last."""
    heads, _ = noise(llama, 1)
    patches = every_head(heads, (0, 1))
    plain, found = patched_log_probabilities(llama, PROMPT, [(-2, 13), (-1, 17)], patches, positions=[-2])
    for number, patch in enumerate([Patch(), *patches]):
        with torch.no_grad(), llama.patched(patch.heads, positions=[18]):
            logits = llama(torch.tensor([PROMPT]))[0].double().log_softmax(-1)
        expected = torch.stack([logits[18, 13], logits[19, 17]])
        close(found[number - 1] if number else plain, expected, 3e-6)


# --- finding a way ----------------------------------------------------------------------------------------------


def test_a_cache_that_loses_keys_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("llama")
    right = patched_log_likelihoods(model, PROMPT, CHOICES, every_head(noise(model, 1)[0], (0, 1)))[1]
    shared = prompt_rows.shared_cache

    def lossy(filled: Any, length: int) -> Any:
        cache = shared(filled, length)
        for layer in cache.layers:
            layer.values = layer.values.roll(1, -2)
        return cache

    monkeypatch.setattr(prompt_rows, "shared_cache", lossy)
    model = load("llama")
    assert not patch_route.find_route(model, 20).cached
    close(patched_log_likelihoods(model, PROMPT, CHOICES, every_head(noise(model, 1)[0], (0, 1)))[1], right, 3e-6)


def test_an_error_that_the_dtype_does_not_round_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of the cache that are 1% off: hidden among what bfloat16 rounds away, not among what float16 does."""
    shared = prompt_rows.shared_cache

    def off(filled: Any, length: int) -> Any:
        cache = shared(filled, length)
        for layer in cache.layers:
            layer.values = layer.values * 1.01
        return cache

    halves = (torch.bfloat16, torch.float16)
    assert all(patch_route.find_route(load("llama", dtype=kind), 20).cached for kind in halves)
    monkeypatch.setattr(prompt_rows, "shared_cache", off)
    cached = {kind: patch_route.find_route(load("llama", dtype=kind), 20).cached for kind in halves}
    assert cached == {torch.bfloat16: True, torch.float16: False}


def test_a_longer_prompt_is_tried_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tried = load("llama"), []
    monkeypatch.setattr(patch_route, "_tried", lambda model, length: tried.append(length) or Route(False))
    for length in (2, 31, 32, 33, 60, 64, 20):
        patch_route.find_route(model, length)
    assert tried == [32, 64]


def test_a_model_on_which_patches_do_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("llama")
    for layer in reversed(range(model.n_layers)):
        model.o_module(layer).get_parameter("weight").data.zero_()  # its heads write 0, whatever their z
        if layer:
            patched_log_likelihoods(model, PROMPT, CHOICES, [])  # a layer that was pruned before is no fault
            vars(model.hf).pop("_headscope_patch_routes")
    with pytest.raises(SelfCheckError, match=r"noise patched into head .* patching does nothing"):
        patched_log_likelihoods(model, PROMPT, CHOICES, [])


# --- what is scored ---------------------------------------------------------------------------------------------


choices = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=1, max_size=5)


@given(choices, st.lists(st.integers(0, 2), min_size=1, max_size=3))
@settings(deadline=None)
def test_choices_are_read_where_they_are_predicted(found: list[tuple[int, ...]], context: list[int]) -> None:
    """Every token of every choice once, behind what stands before it, wherever rows begin."""
    scored = ScoredPaths.of_choices(context, found)
    assert len(set(scored.sequences)) == len(scored.sequences)
    for start in range(len(context)):
        for rows in (scored.paths(start), scored.tree(start)):
            for (path, position), (row, query) in rows.where.items():
                assert int(rows.tokens[row, query]) == scored.sequences[path][position]
    counts = torch.zeros(len(found))
    for read in scored.reads:
        before = scored.sequences[read.path][: read.position + 1]
        place = read.position - len(context) + 1
        assert before == (*context, *found[read.outcome][:place]) and read.token == found[read.outcome][place]
        counts[read.outcome] += 1
    assert counts.tolist() == [len(choice) for choice in found]


def test_a_tree_holds_each_beginning_once() -> None:
    scored = ScoredPaths.of_choices([1, 2], [(5, 6, 7), (5, 8, 9), (4, 3)])
    rows = scored.tree(1)
    assert rows.tokens.tolist() == [[2, 5, 4, 6, 8]] and rows.positions is not None and rows.visible is not None
    assert rows.positions.tolist() == [[1, 2, 2, 3, 3]]
    assert rows.visible.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1],
    ]


# --- refusals ---------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_refused(llama: HookedModel) -> None:
    good = torch.zeros(1, llama.d_value)
    with pytest.raises(UsageError, match="the prompt is empty"):
        patched_log_likelihoods(llama, [], CHOICES, [])
    with pytest.raises(UsageError, match="at least one token"):
        patched_log_likelihoods(llama, PROMPT, [(5,), ()], [])
    with pytest.raises(UsageError, match=r"position -21 does not exist: the prompt has 20 tokens"):
        patched_log_likelihoods(llama, PROMPT, CHOICES, [], positions=[-21])
    with pytest.raises(UsageError, match=r"once each, in the 21 tokens that all choices share, got \[19, 19\]"):
        prepare(llama, ScoredPaths.of_choices(PROMPT, [(5, 6), (5, 7)]), [19, 19])
    with pytest.raises(UsageError, match=r"head 2\.0 does not exist"):
        patched_log_likelihoods(llama, PROMPT, CHOICES, [Patch({(2, 0): good})])
    with pytest.raises(UsageError, match=r"must have shape \[1, 8\], got \[1, 7\]"):
        patched_log_likelihoods(llama, PROMPT, CHOICES, [Patch({(0, 0): good[:, :-1]})])
    with pytest.raises(UsageError, match="layer 7 has no FFN"):
        patched_log_likelihoods(llama, PROMPT, CHOICES, [Patch(ffns={7: torch.zeros(1, 32)})])
    with pytest.raises(UsageError, match="66 tokens are more than the model's context of 64"):
        patched_log_likelihoods(llama, [3] * 65, [(5, 6)], [])
    with pytest.raises(UsageError, match="targets are"):
        patched_log_probabilities(llama, PROMPT, [(20, 3)], [])


# --- the context manager ----------------------------------------------------------------------------------------


def test_patched_puts_values_in_and_takes_them_off(llama: HookedModel) -> None:
    tokens = random_tokens(batch=2, length=6)
    heads, ffns = noise(llama, 2)
    plain = llama(tokens)
    with torch.no_grad(), llama.patched({(0, 1): heads[0, 1]}, {1: ffns[1]}, positions=[2, -1]):
        _, cache = llama.run_with_cache(tokens, ["z", "mlp_out"])
    for row in range(2):
        close(cache["z", 0][row, [2, 5], 1], heads[0, 1], 1e-7)
        close(cache["mlp_out", 1][row, [2, 5]], ffns[1], 1e-7)
    _, own = llama.run_with_cache(tokens, ["z"])
    close(cache["z", 0][:, [0, 1, 3, 4]], own["z", 0][:, [0, 1, 3, 4]], 1e-7)
    close(llama(tokens), plain, 0)
    with pytest.raises(UsageError, match="values for 2 positions, but 6 run"), llama.patched({(0, 1): heads[0, 1]}):
        llama(tokens)
    with (
        pytest.raises(UsageError, match="position 6 is patched, but only 6 tokens run"),
        llama.patched({(0, 1): heads[0, 1]}, positions=[0, 6]),
    ):
        llama(tokens)
