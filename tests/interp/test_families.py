"""Every family: what is read equals Hugging Face's own and TransformerLens's, and the parts add up."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaAttention

import interp
from interp import HookedModel
from interp.attention.rows import AttentionRows
from interp.errors import RefusedModelError, SelfCheckError
from interp.hooks import dense_pattern
from interp.norms import probe
from interp.selfcheck import run_checks
from tests.interp.conftest import Family, family_named
from tests.interp.families import (
    EAGER_IS_ANOTHER_MODEL,
    FAMILIES,
    LATENT,
    POST_NORM,
    VOCAB,
    WITHOUT_BRIDGE,
    build,
    padded,
    random_tokens,
)

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
def test_probabilities_are_the_models(family: Family, side: str) -> None:
    """Against eager attention, in an object of its own; where that is another model, against the formula."""
    tokens, mask = padded(TOKENS, side)
    by_formula = family.name in EAGER_IS_ANOTHER_MODEL
    patterns = falcon_patterns(family.hf, tokens, mask) if by_formula else family.patterns(tokens, mask)
    expected = dict(zip(family.model.attention_layers, patterns, strict=True))
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


def falcon_patterns(hf: Any, tokens: Tensor, mask: Tensor | None) -> list[Tensor]:
    """softmax((q k + ALiBi) / sqrt(d)) of every layer, ALiBi by its paper's closed form (arXiv 2108.12409)."""
    there = torch.ones_like(tokens) if mask is None else mask
    length = tokens.shape[1]
    heads, width = hf.config.num_attention_heads, hf.config.hidden_size // hf.config.num_attention_heads
    slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)
    alibi = slopes[:, None] * ((there.cumsum(1) - 1) * there)[:, None]  # batch head key
    visible = torch.ones(length, length).tril().bool() & there.bool()[:, None, None]
    found: list[Tensor] = []

    def read(attention: Any, args: Any, fused: Tensor) -> None:
        q, k, _ = (part.transpose(1, 2) for part in attention._split_heads(fused))
        scores = (q @ k.transpose(2, 3) + alibi[:, :, None]) / width**0.5
        found.append(scores.masked_fill(~visible, -1e30).softmax(-1))

    handles = [
        block.self_attention.query_key_value.register_forward_hook(partial(hook, read, block.self_attention))
        for block in hf.transformer.h
    ]
    with torch.no_grad():
        hf(input_ids=tokens, attention_mask=mask, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def hook(read: Any, attention: Any, module: Any, args: Any, output: Tensor) -> None:
    read(attention, args, output)


def test_eager_attention_is_a_reference_but_for_those_that_are_named(family: Family) -> None:
    with torch.no_grad():
        apart = float((family.eager(TOKENS).logits - family.hf(TOKENS).logits).abs().max())
    assert (apart > 1e-2) == (family.name in EAGER_IS_ANOTHER_MODEL)


def test_a_falcon_forced_to_eager_attention_is_refused() -> None:
    """The model in memory is then another one than the checkpoint; without the check it is read as it computes."""
    sentence = "its own 'eager' attention; its default is 'sdpa': load it without attn_implementation"
    with pytest.raises(SelfCheckError, match=sentence):
        interp.load_model(build("falcon_alibi", implementation="eager"))
    for name in ("falcon", "falcon_40b", "falcon_11b"):
        assert interp.load_model(build(name, implementation="eager")).route == "fused"


class OwnCallAttention(LlamaAttention):
    """As code that comes with a model often is: torch's attention called directly, with a bias in its mask."""

    def forward(self, hidden_states: Tensor, position_embeddings: Any = None, **more: Any) -> tuple[Tensor, None]:
        q, k, v = (
            rearrange(part(hidden_states), "b q (h d) -> b h q d", d=self.head_dim)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        length = hidden_states.shape[1]
        mask = own_bias(length).masked_fill(~torch.ones(length, length).tril().bool(), torch.finfo(q.dtype).min)
        z = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[None, None], enable_gqa=True)
        return self.o_proj(rearrange(z, "b h q d -> b q (h d)")), None


def own_bias(length: int) -> Tensor:
    places = torch.arange(length)
    return -0.3 * (places[:, None] - places).abs().sqrt()


def test_a_model_that_calls_torchs_attention_itself_is_read_bias_and_all() -> None:
    hf = build("llama")
    for block in hf.model.layers:
        block.self_attn.__class__ = OwnCallAttention
    model = interp.load_model(hf, check=False)
    failing = [check.name for check in run_checks(model) if not check.passed]
    assert failing == ["padding changes nothing"], "this attention has no padding mask"
    _, found = model.run_with_cache(TOKENS, ["q", "k", ("pattern", 0)])
    scores = einsum(found["q", 0].unflatten(2, (2, 2)), found["k", 0], "b q g n d, b k g d -> b g n q k").flatten(1, 2)
    visible = torch.ones(20, 20).tril().bool()
    close(found["pattern", 0], (scores / 8**0.5 + own_bias(20)).masked_fill(~visible, -torch.inf).softmax(-1))


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
    if family.name in LATENT:
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
    if family.name in LATENT:
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
    width = 12 if family.name in LATENT else getattr(config, "head_dim", None) or 8
    assert model.d_head == width
    assert model.d_value == (6 if family.name in LATENT else width)


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
    if name in LATENT:
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
