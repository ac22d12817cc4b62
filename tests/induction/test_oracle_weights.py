"""Scores made of weights, and the released code's, equal explicit matrices and plain loops (oracle_weights.py)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config

import interp
from induction import composition_scores, copying_score, ov_copying_score, prefix_matching_score
from induction.ov_circuit import effective_embedding, random_tokens
from interp.errors import RefusedModelError, UsageError
from tests.induction import oracle, oracle_weights, tiny
from tests.interp import families

CLOSE = {"rtol": 0, "atol": 1e-5}
EVERY = pytest.mark.parametrize("family", list(oracle.FAMILIES))


@lru_cache
def untouched(family: str) -> Any:
    return families.build(family)


@EVERY
@pytest.mark.parametrize("variant", ["", "raw"])
def test_ov_eigenvalues_of_the_whole_matrix(family: str, variant: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    tokens = random_tokens(model, 40, 0)
    if variant == "raw":
        embedding = oracle.array(hf.get_input_embeddings().weight)[tokens.numpy()]
    else:
        embedding = oracle_weights.effective_embedding(hf, parts, tokens, model.tokenizer.bos_token_id)
        np.testing.assert_allclose(effective_embedding(model, tokens).numpy(), embedding, rtol=0, atol=1e-5)
    wanted = [oracle_weights.ov_copying(hf, parts, layer, tokens, embedding) for layer in range(2)]
    found = ov_copying_score(model, variant=variant, tokens=40)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.mean.numpy(), wanted, rtol=0, atol=1e-5)
    assert np.std(wanted) > 0.02 and np.abs(wanted).max() <= 1


@EVERY
def test_composition_of_whole_matrices(family: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    first, second = (oracle_weights.circuits(hf, parts, layer) for layer in range(2))
    found = composition_scores(model)
    pairs = [(one, two) for one in range(4) for two in range(4)]
    some = composition_scores(model, kinds=("k", "q"), pairs=[((0, 3), (1, 2))])
    for kind in ("q", "k", "v"):
        wanted = {(one, two): oracle_weights.composition(first[one], second[two])[kind] for one, two in pairs}
        for (one, two), ratio in wanted.items():
            assert found.of((0, one), (1, two), kind) == pytest.approx(ratio, rel=1e-5)
            order = sorted((wanted[other, two] for other in range(4)), reverse=True)
            assert found.rank_of((0, one), (1, two), kind) == 1 + order.index(ratio)
    for kind in ("q", "k"):
        assert some.of((0, 3), (1, 2), kind) == found.of((0, 3), (1, 2), kind)
        assert some.rank_of((0, 3), (1, 2), kind) == found.rank_of((0, 3), (1, 2), kind)
    assert int(some.ratio.isfinite().sum()) == int(some.rank.isfinite().sum()) == 2
    assert int(found.ratio.isfinite().sum()) == 3 * 16


def test_two_random_matrices_compose_at_the_baseline() -> None:
    """Independent isotropic weights: the squared ratio is 1 on average, whatever the widths."""
    ratios = composition_scores(tiny.model("gpt_neox")).ratio
    assert ratios[ratios.isfinite()].square().mean().item() == pytest.approx(1.0, abs=0.15)


def test_pairs_that_do_not_exist_are_refused() -> None:
    model = tiny.model("llama")
    for pair, sentence in ((((1, 0), (1, 1)), "not in an earlier layer"), (((0, 4), (1, 1)), r"no head 0\.4")):
        with pytest.raises(UsageError, match=sentence):
            composition_scores(model, pairs=[pair])


@pytest.mark.parametrize(
    ("earlier", "later", "sentence"),
    [
        ((0, 5), (1, 0), r"head 0\.5 does not exist: there are layers 0-1, heads 0-3"),
        ((0, 0), (2, 0), r"head 2\.0 does not exist"),
        ((0, -1), (1, 0), r"head 0\.-1 does not exist"),
    ],
)
def test_asking_for_heads_that_do_not_exist_is_refused(
    earlier: tuple[int, int], later: tuple[int, int], sentence: str
) -> None:
    """Head 0.5 of four would otherwise be 1.1."""
    found = composition_scores(tiny.model("llama"))
    for ask in (found.of, found.rank_of):
        with pytest.raises(UsageError, match=sentence):
            ask(earlier, later)


def test_a_pair_that_was_not_asked_for_has_no_rank() -> None:
    found = composition_scores(tiny.model("llama"))
    assert np.isnan(found.of((1, 0), (0, 0)))
    with pytest.raises(
        UsageError, match=r"heads \(1, 0\) and \(0, 0\) have no rank: the first must stand in an earlier"
    ):
        found.rank_of((1, 0), (0, 0))


def test_kinds_and_pairs_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    model = tiny.model("llama")
    with pytest.raises(UsageError, match="there is no 'o'-composition: the kinds are q, k, v"):
        composition_scores(model, kinds=("o",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no 'q'-composition here: the kinds are k"):
        composition_scores(model, kinds=("k",)).of((0, 0), (1, 0), "q")
    with pytest.raises(UsageError, match=r"'\(0\.5, 1\)' is not a head"):
        composition_scores(model, pairs=[((0.5, 1), (1, 1))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="is no pair of heads"):
        composition_scores(model, pairs=[((0, 1),)])  # type: ignore[list-item]


@pytest.mark.parametrize("family", ["cohere", "deepseek_v3", "opt-350m", "bitnet"])
def test_composition_that_can_not_be_read_is_refused(family: str) -> None:
    with pytest.raises(RefusedModelError):
        composition_scores(tiny.model(family))


def test_a_norm_on_queries_that_transformer_lens_does_not_name_is_folded() -> None:
    """Phi with qk_layernorm composes as a Phi without does whose projections carry the norms' gains."""
    from transformers import PhiConfig, PhiForCausalLM

    options = {**families.FAMILIES["phi"][1], "num_key_value_heads": 2}
    torch.manual_seed(0)
    normed, plain = (PhiForCausalLM(PhiConfig(**options, qk_layernorm=on)).eval() for on in (True, False))
    plain.load_state_dict(normed.state_dict(), strict=False)
    for mine, other in zip(normed.model.layers, plain.model.layers, strict=True):
        for name in ("q", "k"):
            gain = mine.self_attn.get_submodule(f"{name}_layernorm").weight
            gain.data.uniform_(0.2, 3.0)
            weight = other.self_attn.get_submodule(f"{name}_proj").weight
            weight.data.mul_(gain.data.repeat(len(weight) // len(gain))[:, None])
    found, wanted = (composition_scores(interp.load_model(hf, check=False)).ratio for hf in (normed, plain))
    torch.testing.assert_close(found, wanted, equal_nan=True, rtol=1e-4, atol=1e-5)
    normed.model.layers[1].self_attn.q_layernorm.weight.data.fill_(1.0)
    assert (composition_scores(interp.load_model(normed, check=False)).ratio - wanted).nan_to_num().abs().max() > 0.01


def test_a_norm_of_its_own_for_every_head_is_refused() -> None:
    from transformers import StableLmConfig, StableLmForCausalLM

    hf = StableLmForCausalLM(StableLmConfig(**families.FAMILIES["stablelm"][1], qk_layernorm=True))
    with pytest.raises(RefusedModelError, match=r"norms\.3\.weight.*composition is not read"):
        composition_scores(interp.load_model(hf, check=False))


def test_a_prediction_head_behind_the_final_norm_is_refused() -> None:
    """ModernBERT's decoder puts a dense layer and a second norm there: no norm that is folded accounts for it."""
    from transformers import ModernBertDecoderConfig, ModernBertDecoderForCausalLM

    sizes = {
        name: families.FAMILIES["gpt_neox"][1][name]
        for name in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "vocab_size",
            "max_position_embeddings",
            "bos_token_id",
            "eos_token_id",
        )
    }
    config = ModernBertDecoderConfig(**sizes, pad_token_id=0, cls_token_id=1, sep_token_id=2)
    model = interp.load_model(ModernBertDecoderForCausalLM(config), tokenizer=tiny.tokenizer())
    repeated = tiny.sequences(model)
    assert prefix_matching_score(model, repeated, draws=0).mean.isfinite().all()
    with pytest.raises(RefusedModelError, match="changes the final norm's output"):
        copying_score(model, repeated, "signed")


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_released_scores_equal_the_papers_loops(family: str) -> None:
    model, hf, parts = tiny.model(family), untouched(family), oracle.FAMILIES[family]
    repeated, other = tiny.sequences(model), tiny.unrepeated(model)
    attention = oracle.watch(hf, parts, repeated.tokens).attention
    prefix = [
        [[oracle_weights.released_prefix(matrix, 7, row.tolist()) for matrix in layer[s]] for layer in attention]
        for s, row in enumerate(repeated.tokens)
    ]
    found = prefix_matching_score(model, repeated, variant="bansal_released")
    np.testing.assert_allclose(found.per_item.numpy(), prefix, **CLOSE)
    assert (found.mean > prefix_matching_score(model, repeated, draws=0).mean).all()
    copying = [[oracle_weights.released_copying(hf, parts, layer, row) for layer in range(2)] for row in other.tokens]
    found = copying_score(model, other, "bansal_released")
    np.testing.assert_allclose(found.per_item.numpy(), copying, **CLOSE)
    assert np.std(copying) > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "bloom", "opt-350m"])
def test_released_scores_exist_for_two_shapes_only(family: str) -> None:
    model = tiny.model(family)
    with pytest.raises(RefusedModelError, match="OPT and GPT-2 shapes only"):
        prefix_matching_score(model, tiny.sequences(model), variant="bansal_released")
    with pytest.raises(RefusedModelError, match="OPT and GPT-2 shapes only"):
        copying_score(model, tiny.unrepeated(model), "bansal_released")


def test_stopping_early_leaves_the_model_as_it_was() -> None:
    model = tiny.model("gemma3")
    tokens = torch.tensor([[1, 20, 30, 40]])
    before = model(tokens)
    ov_copying_score(model, tokens=10)
    assert torch.equal(model(tokens), before)
