"""Direct logit attribution: parts add up to the model's own logits, each part by hand, and what it can't be said of."""

from __future__ import annotations

import pytest
import torch

from ablation.attribution import DirectAttribution, direct_attribution
from ablation.patching import patch
from interp import HookedModel
from interp.errors import RefusedModelError, UsageError
from tests.induction import handmade
from tests.interp.conftest import Family, family_named
from tests.interp.families import FAMILIES, POST_NORM, build, load, random_tokens

TOKENS = random_tokens(batch=1, length=20)[0].tolist()
WITHOUT = {*POST_NORM, "bitnet"}
SOFTCAPPED = {"gemma2"}


@pytest.mark.parametrize("other", [[9], None])
@pytest.mark.parametrize("name", sorted(set(FAMILIES) - WITHOUT))
def test_the_parts_add_up_to_the_logit_difference(name: str, other: list[int] | None) -> None:
    family = family_named(name)
    found = direct_attribution(family.model, TOKENS, [5], other)
    logits = family.untouched(torch.tensor([TOKENS])).logits[0].double()
    truth = logits[:, 5] - (logits.mean(-1) if other is None else logits[:, 9])
    worst = float((found.total - truth).abs().max() / truth.abs().max())
    assert found.softcapped is (name in SOFTCAPPED)
    assert worst < (1e-3 if found.softcapped else 1e-5)
    torch.testing.assert_close(found.total, found.logit_difference, atol=2e-5, rtol=0)
    assert found.heads.shape == (20, family.model.n_layers, family.model.n_heads)
    there = found.heads.isfinite().all(-1).all(0).nonzero().flatten().tolist()
    assert there == list(family.model.attention_layers)


@pytest.fixture
def family() -> Family:
    return family_named("gemma3")


def test_a_head_s_part_is_the_difference_that_its_result_makes_with_norms_held(family: Family) -> None:
    """By hand, with both norms' scales frozen by hooks: take the head's result away and read the logits."""
    model, hf = family.model, build("gemma3")
    found = direct_attribution(model, TOKENS, [5], [9])
    layer = model.attention_layers[-1]
    block = hf.get_submodule(model.layout.blocks)[layer]
    frozen: dict[str, torch.Tensor] = {}

    def run(keep: bool, *, without: int | None) -> torch.Tensor:
        handles = []

        def norm(name: str):  # type: ignore[no-untyped-def]
            def hook(module, args, output):  # type: ignore[no-untyped-def]
                if keep:
                    frozen[name] = output / args[0].clamp_min(1e-30).where(args[0] > 0, args[0])
                    return None
                return args[0] * frozen[name]

            return hook

        def drop(module, args):  # type: ignore[no-untyped-def]
            z = args[0].clone()
            if without is not None:
                z[..., without * model.d_value : (without + 1) * model.d_value] = 0
            return (z,)

        handles.append(block.post_attention_layernorm.register_forward_hook(norm("post")))
        handles.append(hf.model.norm.register_forward_hook(norm("final")))
        handles.append(block.self_attn.o_proj.register_forward_pre_hook(drop))
        ffn = block.post_feedforward_layernorm.register_forward_hook(
            lambda module, args, out: frozen.setdefault("ffn", out) if keep else frozen["ffn"]
        )
        with torch.no_grad():
            logits = hf(input_ids=torch.tensor([TOKENS]), use_cache=False).logits[0].double()
        for handle in (*handles, ffn):
            handle.remove()
        return logits[:, 5] - logits[:, 9]

    whole = run(True, without=None)
    for head in (0, 3):
        torch.testing.assert_close(found.heads[:, layer, head], whole - run(False, without=head), atol=2e-5, rtol=0)


def test_a_vector_added_to_every_row_of_the_unembedding_changes_nothing() -> None:
    model = load("llama")
    before = [direct_attribution(model, TOKENS, [5], other) for other in ([9], None)]
    model.hf.lm_head.weight.data += torch.randn(32, generator=torch.Generator().manual_seed(0))
    for other, known in zip(([9], None), before, strict=True):
        found = direct_attribution(model, TOKENS, [5], other)
        torch.testing.assert_close(found.heads, known.heads, atol=1e-5, rtol=0)


def test_the_head_known_by_hand_says_it() -> None:
    model = handmade.model()
    repeated = [1, 40, 10, 20, 50, 60, 10]
    found: DirectAttribution = direct_attribution(model, repeated, [20], [70])
    assert float(found.heads[-1, 1, 0]) > 5
    assert float(found.heads[-1, 1, 1]) == pytest.approx(-float(found.heads[-1, 1, 0]), rel=1e-3)
    assert float(found.heads[-1, 1, 2:].abs().max()) < 1e-6
    assert float(found.heads[-1, 0, 0].abs()) < 1e-6, "the previous-token head says nothing itself"


def test_patching_s_direct_method_compares_two_prompts() -> None:
    model = load("qwen3")
    other = random_tokens(batch=1, length=20, seed=8)[0].tolist()
    parts = [direct_attribution(model, ids, [5], [9]).heads for ids in (TOKENS, other)]
    found = patch(model, TOKENS, other, answer=[5], other=[9], method="direct")
    torch.testing.assert_close(found.mean, (parts[0][-1] - parts[1][-1]).float())
    torch.testing.assert_close(found.by_position, (parts[0] - parts[1]).float())
    alone = patch(model, TOKENS, None, answer=[5], other=[9], method="direct")
    torch.testing.assert_close(alone.mean, parts[0][-1].float())
    longer = patch(model, [3, *TOKENS], other, answer=[5], method="direct")
    assert longer.by_position is None and longer.variant == "direct/logit_difference"


def test_what_has_no_direct_attribution_is_refused(llama: HookedModel) -> None:
    with pytest.raises(RefusedModelError, match=r"its residual stream is normalised after every addition.*exactly"):
        direct_attribution(family_named("gpt1").model, TOKENS, [5])
    with pytest.raises(RefusedModelError, match="a norm between its heads and the output projection"):
        direct_attribution(family_named("bitnet").model, TOKENS, [5])
    with pytest.raises(UsageError, match=r"is about one token; \[5, 6\] is 2: 't5' 't6'"):
        direct_attribution(llama, TOKENS, [5, 6])
    with pytest.raises(UsageError, match="outcome='choice' is no difference of them"):
        patch(llama, TOKENS, None, answer=[5], method="direct", outcome="choice")


@pytest.fixture
def llama() -> HookedModel:
    return family_named("llama").model
