"""Gates: masks of every shape, one mask a sequence, replacement by a reference, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from torch import Tensor

from interp import FFNMask, HeadMask, HookedModel, parse_heads
from interp.errors import RefusedModelError, UsageError
from interp.resume import resumed, stored_residuals
from tests.interp.conftest import family_named
from tests.interp.families import random_tokens

TOKENS = random_tokens(batch=3, length=10)
LAYERS, HEADS = 2, 4
RANDOM = torch.Generator().manual_seed(7)
PER_SEQUENCE = torch.rand(3, LAYERS, HEADS, generator=RANDOM).round()
FAMILIES = ("llama", "opt", "mixtral", "bloom", "gemma2", "granite4_experts")


@dataclass(frozen=True)
class Given:
    """A reference with one tensor for every head and one for every FFN."""

    for_z: Tensor
    for_ffn: Tensor

    def z(self, layer: int, z: Tensor) -> Tensor:
        return self.for_z

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        return self.for_ffn


@torch.no_grad()
def logits(model: HookedModel, tokens: Tensor = TOKENS, **masks: object) -> Tensor:
    with model.gates(**masks):  # type: ignore[arg-type]
        return model(tokens)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mask_a_sequence_equals_sequences_alone(name: str) -> None:
    model = family_named(name).model
    ffns = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.0, 0.0]])
    together = logits(model, heads=PER_SEQUENCE, ffns=ffns)
    for n in range(3):
        alone = logits(model, TOKENS[n : n + 1], heads=PER_SEQUENCE[n], ffns=ffns[n])
        torch.testing.assert_close(together[n : n + 1], alone, atol=1e-5, rtol=0)
    assert float((together[0] - together[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gate_interpolates_towards_its_reference(name: str) -> None:
    """z' = m z + (1 - m) z_ref: read behind the gate, for heads and for FFNs."""
    model = family_named(name).model
    reference = Given(torch.randn(1, 1, HEADS, model.d_value, generator=RANDOM), torch.randn(32, generator=RANDOM))
    layer, ffns = model.attention_layers[0], torch.tensor([0.25, 1])
    heads = torch.ones(2, HEADS)
    heads[layer] = torch.tensor([1, 0, 0.25, 1])
    plain = model.run_with_cache(TOKENS, [("z", layer)])[1]["z", layer]
    with model.gates(heads=heads, reference=reference):
        gated = model.run_with_cache(TOKENS, [("z", layer)])[1]["z", layer]
    weight = heads[layer][:, None]
    torch.testing.assert_close(gated, weight * plain + (1 - weight) * reference.for_z, atol=1e-6, rtol=0)
    plain = model.run_with_cache(TOKENS, [("mlp_out", 0)])[1]["mlp_out", 0]
    with model.gates(ffns=ffns, reference=reference):
        gated = model.run_with_cache(TOKENS, [("mlp_out", 0)])[1]["mlp_out", 0]
    torch.testing.assert_close(gated, 0.25 * plain + 0.75 * reference.for_ffn, atol=1e-6, rtol=0)


def test_a_reference_of_its_own_value_changes_nothing(llama: HookedModel) -> None:
    class Itself:
        def z(self, layer: int, z: Tensor) -> Tensor:
            return z

        def ffn(self, layer: int, output: Tensor) -> Tensor:
            return output

    zeros = {"heads": torch.zeros(LAYERS, HEADS), "ffns": torch.zeros(LAYERS)}
    torch.testing.assert_close(logits(llama, **zeros, reference=Itself()), logits(llama), atol=1e-6, rtol=0)


def test_a_reference_that_declines_is_zero(llama: HookedModel) -> None:
    class Declines:
        def z(self, layer: int, z: Tensor) -> None: ...

        def ffn(self, layer: int, output: Tensor) -> None: ...

    mask = HeadMask.keep_all(LAYERS, HEADS).without([(0, 1), (1, 3)])
    assert torch.equal(logits(llama, heads=mask, reference=Declines()), logits(llama, heads=mask))


def test_a_reference_that_does_not_fit_is_refused(llama: HookedModel) -> None:
    reference = Given(torch.zeros(5, 8), torch.zeros(31))
    for masks in ({"heads": torch.zeros(LAYERS, HEADS)}, {"ffns": torch.zeros(LAYERS)}):
        with pytest.raises(UsageError, match=r"reference for layer 0 has shape .* does not broadcast to"):
            logits(llama, **masks, reference=reference)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=LAYERS * HEADS, max_size=LAYERS * HEADS), st.permutations(range(2)))
def test_gates_of_0_and_1_compose_by_multiplication(bits: list[int], order: list[int]) -> None:
    """Two nested masks remove what either removes, in whatever order they are entered."""
    model = family_named("llama").model
    first = torch.tensor(bits, dtype=torch.float32).view(LAYERS, HEADS)
    masks = [first, PER_SEQUENCE[0]]
    outer, inner = (masks[n] for n in order)
    with torch.no_grad(), model.gates(heads=outer), model.gates(heads=inner):
        nested = model(TOKENS)
    torch.testing.assert_close(nested, logits(model, heads=masks[0] * masks[1]), atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.sets(st.tuples(st.integers(0, LAYERS - 1), st.integers(0, HEADS - 1))), st.sets(st.integers(0, LAYERS - 1)))
def test_masks_remove_what_they_say(heads: set[tuple[int, int]], ffns: set[int]) -> None:
    head_mask = HeadMask.keep_all(LAYERS, HEADS).without(heads)
    ffn_mask = FFNMask.keep_all(LAYERS).without(ffns)
    assert head_mask.removed() == sorted(heads) and ffn_mask.removed() == sorted(ffns)
    assert float(head_mask.values.sum()) == LAYERS * HEADS - len(heads)
    model = family_named("llama").model
    by_mask = logits(model, heads=head_mask, ffns=ffn_mask)
    assert torch.equal(by_mask, logits(model, heads=head_mask.values, ffns=ffn_mask.values))


def test_removing_everything_leaves_the_embedding(llama: HookedModel) -> None:
    bare = logits(llama, heads=torch.zeros(LAYERS, HEADS), ffns=torch.zeros(LAYERS))
    embedded = llama.hf.lm_head(llama.hf.model.norm(llama.hf.model.embed_tokens(TOKENS)))
    torch.testing.assert_close(bare, embedded, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        ({"heads": torch.ones(HEADS, LAYERS)}, r"mask over heads must have shape \(2, 4\).* got \(4, 2\)"),
        ({"heads": torch.ones(1, 3, LAYERS, HEADS)}, r"mask over heads must have shape"),
        ({"ffns": torch.ones(3)}, r"mask over ffns must have shape \(2,\).* got \(3,\)"),
        ({"heads": HeadMask(torch.ones(3, 4))}, r"mask over heads must have shape \(2, 4\)"),
        ({"heads": torch.full((LAYERS, HEADS), torch.nan)}, "mask over heads holds NaN"),
        ({"heads": torch.zeros(2, LAYERS, HEADS)}, "masks were given for 2 sequences, but 3 run together"),
        ({"ffns": torch.zeros(4, LAYERS)}, "masks were given for 4 sequences, but 3 run together"),
    ],
)
def test_masks_of_another_shape_are_refused(llama: HookedModel, masks: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        logits(llama, **masks)
    assert torch.equal(logits(llama), llama(TOKENS))


def test_heads_that_do_not_exist_are_refused() -> None:
    keep = HeadMask.keep_all(LAYERS, HEADS)
    for head in ((2, 0), (0, 4), (-1, 0)):
        with pytest.raises(UsageError, match=r"does not exist: the model has layers 0-1, heads 0-3"):
            keep.without([head])
    with pytest.raises(UsageError, match="FFN 2 does not exist"):
        FFNMask.keep_all(LAYERS).without([2])


def test_heads_are_read_as_people_write_them() -> None:
    assert parse_heads(" 18.6, 17.3;L0H11 ") == [(18, 6), (17, 3), (0, 11)]
    assert parse_heads("") == []
    with pytest.raises(UsageError, match=r"'18-6' is not a head: write layer\.head"):
        parse_heads("18.6,18-6")


def test_a_numpy_mask_is_a_mask_like_a_tensor(llama: HookedModel) -> None:
    """Also one that keeps everything: it was once read as numbers of layers."""
    heads, ffns = np.ones((LAYERS, HEADS)), np.array([1.0, 0.0], dtype=np.float32)
    heads[0, 1], heads[1, 2] = 0.0, 0.5
    wanted = logits(llama, heads=torch.tensor(heads), ffns=torch.tensor(ffns))
    assert torch.equal(logits(llama, heads=heads, ffns=ffns), wanted)
    assert torch.equal(logits(llama, ffns=np.ones(LAYERS)), logits(llama))
    keep = np.array([True, False])
    assert torch.equal(logits(llama, ffns=keep), logits(llama, ffns=[1]))
    assert torch.equal(logits(llama, ffns=torch.tensor(keep)), logits(llama, ffns=[1]))


def test_numbers_of_any_library_name_heads_and_layers(llama: HookedModel) -> None:
    heads, ffns = [(np.int64(0), torch.tensor(1))], [np.int32(1)]
    assert torch.equal(logits(llama, heads=heads, ffns=ffns), logits(llama, heads=[(0, 1)], ffns=[1]))
    assert torch.equal(logits(llama, ffns=(n for n in [1])), logits(llama, ffns=[1]))


@pytest.mark.parametrize(
    ("masks", "sentence"),
    [
        ({"ffns": np.array([1, 1])}, r"ffns= of int64 can't be read: a mask holds floats or booleans"),
        ({"ffns": torch.tensor([0, 1])}, r"ffns= of torch\.int64 can't be read"),
        ({"heads": np.array([[0, 1]])}, r"heads= of int64 can't be read.*\.tolist\(\) makes"),
        ({"heads": torch.ones(LAYERS, HEADS, dtype=torch.long)}, r"heads= of torch\.int64 can't be read"),
        ({"heads": torch.ones(LAYERS, HEADS, dtype=torch.cfloat)}, r"heads= of torch\.complex64 can't be read"),
        ({"heads": np.array([["a"]])}, "heads= of <U1 can't be read"),
        ({"ffns": [True, False]}, r"'True' \(bool\) is no layer"),
        ({"ffns": [np.True_]}, r"'True' \(bool\w*\) is no layer"),
        ({"ffns": [torch.tensor(True)]}, r"'tensor\(True\)' \(Tensor\) is no layer"),
        ({"ffns": [1.0]}, r"'1\.0' \(float\) is no layer: give whole numbers, for example \[3, 4\]"),
        ({"ffns": ["1"]}, r"'1' \(str\) is no layer"),
        ({"ffns": "1"}, r"'1' \(str\) is no list of layers"),
        ({"ffns": 1}, r"'1' \(int\) is no list of layers"),
        ({"ffns": HeadMask.keep_all(LAYERS, HEADS)}, r"\(HeadMask\) is no list of layers"),
        ({"heads": [(0.9, 1.7)]}, r"'\(0\.9, 1\.7\)' is not a head"),
        ({"heads": [(True, False)]}, r"'\(True, False\)' is not a head"),
        ({"heads": [("0", "1")]}, "is not a head"),
        ({"heads": [(0, 1, 1)]}, r"'\(0, 1, 1\)' is not a head"),
        ({"heads": {(0, 1): 0.5}}, "of type dict is no list of heads"),
        ({"heads": 3}, "of type int is no list of heads"),
        ({"heads": FFNMask.keep_all(LAYERS)}, "of type FFNMask is no list of heads"),
        ({"heads": np.full((LAYERS, HEADS), 2.0)}, "mask over heads holds values outside of 0 to 1"),
        ({"ffns": np.array([1.0, np.nan])}, "mask over ffns holds values outside of 0 to 1"),
        ({"heads": HeadMask(torch.full((LAYERS, HEADS), -1.0))}, "mask over heads holds values outside of 0 to 1"),
        ({"ffns": FFNMask(torch.tensor([1.0, 2.0]))}, "mask over ffns holds values outside of 0 to 1"),
        ({"heads": torch.zeros(0, LAYERS, HEADS)}, r"must have shape \(2, 4\) .* got \(0, 2, 4\)"),
        ({"ffns": torch.zeros(0, LAYERS)}, r"must have shape \(2,\) .* got \(0, 2\)"),
        ({"heads": torch.zeros(LAYERS, HEADS, device="meta")}, "mask over heads lies on meta"),
    ],
)
def test_what_is_neither_a_mask_nor_a_list_is_refused(
    llama: HookedModel, masks: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        logits(llama, **masks)


def test_masks_hold_tensors_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    for values in (np.ones((2, 4)), [[1.0]], torch.ones(2, 4, dtype=torch.cfloat), torch.ones(2, 4, device="meta")):
        with pytest.raises(UsageError, match="a HeadMask holds a tensor of floats, got"):
            HeadMask(values)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a FFNMask holds a tensor of floats, got ndarray float64"):
        FFNMask(np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"'1\.0' .* is no layer"):
        FFNMask.keep_all(LAYERS).without([1.0])


def test_a_tensor_of_gates_may_leave_0_to_1(llama: HookedModel) -> None:
    """Steps along a gradient do, on both sides of 1 (ablation/gradient_recheck.py)."""
    _, cache = llama.run_with_cache(TOKENS, [("z", 0)])
    with llama.gates(heads=torch.full((LAYERS, HEADS), 1.5)):
        _, gated = llama.run_with_cache(TOKENS, [("z", 0)])
    torch.testing.assert_close(gated["z", 0], 1.5 * cache["z", 0])


def test_layers_without_heads_ignore_their_gates() -> None:
    """LFM2's layer 0 is a convolution: its row of a head mask means nothing, its FFN's gate does."""
    model = family_named("lfm2").model
    mask = torch.ones(LAYERS, HEADS)
    mask[0] = 0
    assert torch.equal(logits(model, heads=mask), logits(model))
    assert float((logits(model, ffns=torch.tensor([0.0, 1])) - logits(model)).abs().max()) > 1e-3


def test_gates_act_on_a_mask_that_wants_gradients_even_where_it_is_1(llama: HookedModel) -> None:
    gate = torch.ones(LAYERS, HEADS, requires_grad=True)
    with llama.gates(heads=gate):
        llama(TOKENS).square().mean().backward()
    assert gate.grad is not None and bool((gate.grad != 0).all())


# --- together with resumed runs ------------------------------------------------------------------------------------


def test_a_knock_out_resumed_at_its_block_is_the_whole_run(llama: HookedModel) -> None:
    mask = HeadMask.keep_all(LAYERS, HEADS).without([(1, 2)])
    residual = stored_residuals(llama, TOKENS)[1]
    with resumed(llama, 1, residual):
        again = logits(llama, heads=mask)
    torch.testing.assert_close(again, logits(llama, heads=mask), atol=1e-6, rtol=0)


def test_what_a_resumed_run_passes_over_can_be_neither_gated_nor_read(llama: HookedModel) -> None:
    residual = stored_residuals(llama, TOKENS)[1]
    mask = HeadMask.keep_all(LAYERS, HEADS).without([(0, 2)])
    with resumed(llama, 1, residual), pytest.raises(UsageError, match="block 0 is passed over"):
        logits(llama, heads=mask)
    with resumed(llama, 1, residual), pytest.raises(UsageError, match="block 0 is passed over"):
        llama.run_with_cache(TOKENS, ["mlp_out"])
    other = pytest.raises(UsageError, match=r"shape \(3, 10, 32\), the tokens need \(1, 10, 32\)")
    with resumed(llama, 1, residual), other:
        llama(TOKENS[:1])
    for layer in (-1, 2):
        with pytest.raises(UsageError, match=f"layer {layer} does not exist"), resumed(llama, layer, residual):
            pass
    assert all("forward" not in vars(llama.layout.block(llama.hf, n)) for n in range(LAYERS))


def test_families_without_a_placed_ffn_refuse_ffn_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    model = family_named("llama").model
    bare = replace(model, layout=replace(model.layout, ffn_out=None))
    with pytest.raises(RefusedModelError, match="no FFN that headscope can place"):
        logits(bare, ffns=torch.zeros(LAYERS))
    assert torch.equal(logits(bare, heads=PER_SEQUENCE), logits(model, heads=PER_SEQUENCE))
