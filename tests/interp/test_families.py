"""Every family: what is read equals Hugging Face's own and TransformerLens's, and the parts add up."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from einops import einsum
from torch import Tensor, nn

from interp import HookedModel
from interp.attention.rows import AttentionRows
from interp.errors import RefusedModelError
from interp.hooks import dense_pattern
from interp.norms import probe
from tests.interp.conftest import Family, family_named
from tests.interp.families import FAMILIES, POST_NORM, VOCAB, WITHOUT_BRIDGE, padded, random_tokens

TOKENS = random_tokens(batch=2, length=20)
SIDES = ("none", "left", "right")
BRIDGED = sorted(set(FAMILIES) - set(WITHOUT_BRIDGE))
READ = ("z", "pattern", "mlp_out", "resid_pre", "resid_post")


@cache
def read(model: HookedModel) -> dict[tuple[str, int], Tensor]:
    """Every place of every layer, once a model."""
    with torch.no_grad():
        logits, found = model.run_with_cache(TOKENS, READ)
    return {("logits", 0): logits, **{(point.name, point.layer): value for point, value in found.items()}}


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a.detach(), b.detach().to(a), atol=tolerance, rtol=0, check_stride=False)


@pytest.mark.parametrize("side", SIDES)
def test_logits_are_the_untouched_models(family: Family, side: str) -> None:
    tokens, mask = padded(TOKENS, side)
    with torch.no_grad():
        mine, theirs = family.model(tokens, mask), family.untouched(tokens, mask).logits
    real = slice(None) if mask is None else mask.bool()
    close(mine[real], theirs[real])


@pytest.mark.parametrize("side", SIDES)
def test_probabilities_equal_eager_attention(family: Family, side: str) -> None:
    tokens, mask = padded(TOKENS, side)
    attentions = [a for a in family.untouched(tokens, mask, output_attentions=True).attentions if a is not None]
    expected = dict(zip(family.model.attention_layers, attentions, strict=True))
    queries, keys = torch.tril_indices(tokens.shape[1], tokens.shape[1])
    heard = []

    def compare(layer: int, rows: AttentionRows) -> None:
        heard.append(layer)
        real = torch.ones_like(tokens).bool() if mask is None else mask.bool()
        whole = expected[layer].transpose(1, 2)  # batch query head key
        close(dense_pattern(rows).transpose(1, 2)[real], whole[real])
        close(rows.block(7, 16).transpose(1, 2)[real[:, 7:16]], whole[:, 7:16, :, :16][real[:, 7:16]])
        pairs = expected[layer][:, :, queries, keys].transpose(1, 2)
        close(rows.at(queries, keys).transpose(1, 2)[real[:, queries]], pairs[real[:, queries]])

    with torch.no_grad(), family.model.watch_attention(compare):
        family.model.run(tokens, mask)
    assert heard == list(family.model.attention_layers)


def test_z_through_the_output_projection_is_what_attention_adds(family: Family) -> None:
    model = family.model
    for layer in model.attention_layers:
        seen: list[Tensor] = []
        module = model.layout.inner(family.hf, layer, model.layout.o)
        assert module is not None
        handle = module.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        family.untouched(TOKENS)
        handle.remove()
        result = einsum(read(model)["z", layer], model.w_o(layer), "b q h d, h d m -> b q m")
        bias = getattr(model.o_module(layer), "bias", None)
        close(result if bias is None else result + bias, seen[0])


def test_z_at_the_first_position_is_the_value_there(family: Family) -> None:
    """Only one key is in sight: z = A[0,0] v, with the value of the head's own kv head."""
    model = family.model
    if family.name == "qwen3_next":
        pytest.skip("an output gate stands between the value and z")
    if family.name == "bitnet":
        pytest.skip("a norm stands between the value and z")
    if family.name == "deepseek_v3":
        with pytest.raises(RefusedModelError, match="no separate v projection"):
            model.run_with_cache(TOKENS, [("v", 0)])
        return
    for layer in model.attention_layers:
        value = model.run_with_cache(TOKENS, [("v", layer)])[1]["v", layer][:, 0]
        value = value.clamp(-0.3, 0.3) if family.name == "olmo_clipped" else value
        shared = value.repeat_interleave(model.n_heads // model.n_kv_heads, dim=1)
        weight = read(model)["pattern", layer][:, :, 0, 0]
        close(read(model)["z", layer][:, 0], weight[..., None] * shared)


def test_weights_by_head_make_the_queries_keys_and_values(family: Family) -> None:
    """W_Q, W_K, W_V by head, times what the projection is given, plus its bias, is q, k and v."""
    model = family.model
    if family.name == "deepseek_v3":
        with pytest.raises(RefusedModelError, match="no plain q, k and v projections"):
            model.w_qkv(0, "q")
        return
    for layer in model.attention_layers:
        seen: list[Tensor] = []
        module = model.layout.inner(model.hf, layer, model.layout.qkv or model.layout.q)
        assert module is not None
        handle = module.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        found = model.run_with_cache(TOKENS, ["q", "k", "v"])[1]
        handle.remove()
        biases = model.layout.projections(model.hf, layer)
        for name in "qkv":
            value = einsum(seen[0], model.w_qkv(layer, name), "b q m, h d m -> b q h d")
            bias = biases[name][1]
            close(found[name, layer], value if bias is None else value + bias.view(value.shape[2:]))


@pytest.mark.parametrize("name", ["falcon", "falcon_alibi", "falcon_40b", "falcon_11b"])
def test_falcons_fused_projection_is_taken_apart_as_falcon_does(name: str) -> None:
    """By Hugging Face's own method, which repeats each key and value for all heads of its group."""
    model = family_named(name).model
    attention = model.layout.block(model.hf, 1).get_submodule("self_attention")
    seen: list[Tensor] = []
    handle = attention.get_submodule("query_key_value").register_forward_hook(lambda m, args, out: seen.append(out))
    found = model.run_with_cache(TOKENS, ["q", "k", "v"])[1]
    handle.remove()
    for place, theirs in zip("qkv", attention._split_heads(seen[0]), strict=True):
        mine = found[place, 1]
        close(mine.repeat_interleave(theirs.shape[2] // mine.shape[2], dim=2), theirs)


def test_sizes_are_those_of_the_configuration(family: Family) -> None:
    model, config = family.model, family.hf.config
    assert (model.n_layers, model.n_heads, model.d_model, model.vocab_size) == (2, 4, 32, VOCAB)
    groups = {"gpt_bigcode": 1, "falcon": 1, "falcon_40b": 2, "falcon_11b": 2, "falcon_alibi": 4}
    assert model.n_kv_heads == groups.get(family.name, getattr(config, "num_key_value_heads", None) or 4)
    width = {"deepseek_v3": 12}.get(family.name, getattr(config, "head_dim", None) or 8)
    assert model.d_head == width
    assert model.d_value == (6 if family.name == "deepseek_v3" else width)


def test_the_residual_stream_adds_up(family: Family) -> None:
    model, found = family.model, read(family.model)
    for layer in range(model.n_layers):
        before, after, ffn = (found[name, layer] for name in ("resid_pre", "resid_post", "mlp_out"))
        if model.parallel:
            bias = getattr(model.o_module(layer), "bias", None)
            attention = einsum(found["z", layer], model.w_o(layer), "b q h d, h d m -> b q m")
            close(after, before + attention + ffn + (0 if bias is None else bias))
            with pytest.raises(RefusedModelError, match="side by side"):
                model.run_with_cache(TOKENS, [("resid_mid", layer)])
            continue
        middle = model.run_with_cache(TOKENS, [("resid_mid", layer)])[1]["resid_mid", layer]
        assert float((middle - before).abs().max()) > 1e-3
        if family.name in POST_NORM:
            norm = model.layout.inner(model.hf, layer, model.layout.ln2)
            assert norm is not None
            close(norm(middle + ffn), after)
        else:
            close(middle + ffn, after)
    if model.n_layers > 1 and family.name not in POST_NORM:
        close(found["resid_post", 0], found["resid_pre", 1])


@pytest.mark.parametrize("name", BRIDGED)
def test_what_is_read_is_what_transformer_lens_reads(name: str) -> None:
    model = family_named(name).model
    wanted = {
        "z": "attn.hook_z",
        "pattern": "attn.hook_pattern",
        "mlp_out": "hook_mlp_out",
        "q": "attn.hook_q",
        "k": "attn.hook_k",
        "v": "attn.hook_v",
        "resid_pre": "hook_resid_pre",
        "resid_post": "hook_resid_post",
    }
    if name == "qwen3_next":
        del wanted["q"]  # TransformerLens shows the query together with the output gate
    if name == "gpt1":
        del wanted["resid_post"]  # no such hook there
    if name == "deepseek_v3":
        wanted = {place: hook for place, hook in wanted.items() if place not in "qkv"}  # no such projections
    hooks = {f"blocks.{n}.{hook}": (place, n) for place, hook in wanted.items() for n in range(model.n_layers)}
    with torch.no_grad():
        logits, theirs = model.bridge().run_with_cache(TOKENS, names_filter=lambda hook: hook in hooks)
        mine = model.run_with_cache(TOKENS, list(wanted))[1]
    close(read(model)["logits", 0], logits)
    expected = {hook for hook, (place, n) in hooks.items() if (place, n) in mine}
    assert expected <= set(theirs)
    for hook in expected:
        value = mine[hooks[hook]]
        close(value, theirs[hook].reshape(value.shape))


def test_a_norm_is_the_linear_map_that_its_probe_says(family: Family) -> None:
    """(norm(x) - norm(-x)) / 2 = N x times a positive number, for any x."""
    model = family.model
    names = {"ln1", "ln2", "ln1_post", "ln2_post"}
    inside = [model.layout.inner(model.hf, 1, getattr(model.layout, name)) for name in sorted(names)]
    top = None if model.layout.ln_final is None else model.hf.get_submodule(model.layout.ln_final)
    norms = [norm for norm in (*inside, top) if norm is not None]
    assert norms
    x = torch.randn(7, model.d_model, generator=torch.Generator().manual_seed(1)) + 0.7
    for norm in norms:
        linear = probe(norm, model.d_model, device=model.device, dtype=model.dtype)
        with torch.no_grad():
            odd = (norm(x[None])[0] - norm(-x[None])[0]) / 2
        close(nn.functional.cosine_similarity(odd, linear.apply_to_rows(x), dim=-1), torch.ones(7))
        columns = torch.randn(model.d_model, 3, generator=torch.Generator().manual_seed(2))
        close(linear.apply_to_rows(x) @ columns, x @ linear.apply_to_columns(columns), 1e-4)


def test_a_norm_between_heads_and_output_projection_is_refused(family: Family) -> None:
    if family.name == "bitnet":
        with pytest.raises(RefusedModelError, match="attn_sub_norm"):
            family.model.refuse_inner_norm()
    else:
        family.model.refuse_inner_norm()
