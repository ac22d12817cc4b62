"""What people have in memory: models under wrappers, of other libraries, in pieces; taken out, or told how to."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import interp
from interp.errors import RefusedModelError, UsageError
from tests.interp.families import build, random_tokens
from tests.interp.saved import write_config

TOKENS = random_tokens(length=12)


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda hf: torch.compile(nn.DataParallel(hf))])
def test_a_wrapper_is_taken_off(wrap: Any) -> None:
    hf = build("llama")
    model = interp.load_model(wrap(hf))
    assert model.hf is hf and model.provenance["source"] == "LlamaForCausalLM"
    assert model.run_with_cache(TOKENS, ["pattern"])[1]["pattern"].shape == (2, 2, 4, 12, 12)


def named(name: str, hf: Any) -> nn.Module:
    """A module of a library that need not be installed."""
    outside = type(name, (nn.Module,), {})()
    outside.inside = hf
    return outside


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("PeftModel", r"give model\.merge_and_unload\(\)"),
        ("PeftMixedModel", r"give model\.merge_and_unload\(\)"),
        ("FullyShardedDataParallel", "spread over processes: save it as an ordinary checkpoint"),
        ("DeepSpeedEngine", "save it as an ordinary checkpoint"),
        ("HookedTransformer", r"before version 4\. Load the checkpoint that it was made from.*GPT2Config"),
        ("TransformerBridge", r"take \.bridge\(\) of what comes back"),
    ],
)
def test_what_cannot_be_taken_off_says_the_way(name: str, way: str) -> None:
    for outside in (named(name, build("llama")), torch.compile(named(name, build("llama")))):
        with pytest.raises(RefusedModelError, match=f"{name} is .*{way}"):
            interp.load_model(outside)  # type: ignore[arg-type]
    child = type("Child", (type(named(name, None)),), {})()
    with pytest.raises(RefusedModelError, match=f"Child is no Hugging Face model.*{way}"):
        interp.load_model(child)


def test_a_module_of_ones_own_says_the_way() -> None:
    nano = r"NanoGPT is a PyTorch module and no Hugging Face model.*GPT2LMHeadModel\(transformers\.GPT2Config"
    with pytest.raises(RefusedModelError, match=nano):
        interp.load_model(named("NanoGPT", nn.Linear(2, 2)))  # type: ignore[arg-type]
    for around in (named("Lightning", build("llama")), torch.compile(named("Lightning", build("llama")))):
        with pytest.raises(RefusedModelError, match=r"Lightning is .* around a Hugging Face model: .* model\.inside$"):
            interp.load_model(around)  # type: ignore[arg-type]
    with pytest.raises(RefusedModelError, match=r"AveragedModel is .* model\.module$"):
        interp.load_model(torch.optim.swa_utils.AveragedModel(build("llama")))  # type: ignore[arg-type]


def test_what_holds_a_model_or_is_one_already_says_so() -> None:
    hf = build("llama")
    with pytest.raises(UsageError, match=r"this SimpleNamespace is no model but holds one: give its \.model"):
        interp.load_model(SimpleNamespace(model=hf, tokenizer=None))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="loaded already"):
        interp.load_model(interp.load_model(hf, check=False))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^LlamaConfig \{[^\n]*\.\.\. \(LlamaConfig\) is no model") as refused:
        interp.load_model(hf.config)
    assert len(str(refused.value)) < 300


def test_transformer_lenss_own_models_say_the_way() -> None:
    bridge = interp.load_model(build("gpt2"), check=False).bridge()
    with pytest.raises(RefusedModelError, match=r"TransformerBridge is no Hugging Face model.*\.bridge\(\)"):
        interp.load_model(bridge)
    with pytest.raises(RefusedModelError, match="has TransformerLens's modules in the place of its own"):
        interp.load_model(bridge.original_model)


def test_adapters_inside_a_model_are_refused() -> None:
    """PEFT leaves them in the model that it was given, too."""
    hf = build("llama")
    projection = hf.model.layers[0].self_attn.v_proj
    projection.lora_A = nn.ModuleDict({"default": nn.Linear(32, 2, bias=False)})
    with pytest.raises(
        RefusedModelError, match=r"holds adapters \(model\.layers\.0\.self_attn\.v_proj.*merge_and_unload"
    ):
        interp.load_model(hf)


def test_parts_compiled_in_their_place_are_refused() -> None:
    hf = build("llama")
    hf.model.layers[1] = torch.compile(hf.model.layers[1])
    with pytest.raises(RefusedModelError, match=r"model\.layers\.1 \(OptimizedModule\) is compiled or wrapped"):
        interp.load_model(hf)
    hf = build("llama")
    hf.compile()
    with pytest.raises(RefusedModelError, match=r"the model \(LlamaForCausalLM\) is compiled or wrapped in its place"):
        interp.load_model(hf)


class Doubled(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


@pytest.mark.parametrize(
    "compute",
    [
        lambda part: parametrize.register_parametrization(part, "weight", Doubled()),
        nn.utils.parametrizations.weight_norm,
        nn.utils.spectral_norm,
    ],
)
@pytest.mark.parametrize("name", ["self_attn.o_proj", "mlp.down_proj"])
def test_weights_that_are_computed_anew_are_refused(compute: Any, name: str) -> None:
    hf = build("llama")
    compute(hf.model.layers[0].get_submodule(name))
    with pytest.raises(RefusedModelError, match=rf"model\.layers\.0\.{name} .* computes its weights anew"):
        interp.load_model(hf, check=False)


@pytest.mark.parametrize(("name", "told"), [("mlp", "FFN"), ("self_attn", "attention"), (None, "block")])
def test_a_module_in_two_layers_is_refused(name: str | None, told: str) -> None:
    hf = build("llama")
    first, second = hf.model.layers[0], hf.model.layers[1]
    if name is None:
        hf.model.layers[1] = first
    else:
        setattr(second, name, getattr(first, name))
    with pytest.raises(RefusedModelError, match=f"layers 0 and 1 share one {told}"):
        interp.load_model(hf, check=False)


def test_an_unembedding_of_another_dtype_is_refused() -> None:
    hf = build("llama")
    hf.lm_head.double()
    with pytest.raises(RefusedModelError, match=r"an unembedding in torch\.float64 behind blocks in torch\.float32"):
        interp.load_model(hf, check=False)


def test_an_unembedding_of_another_dtype_that_casts_is_served() -> None:
    hf = build("llama")
    hf.lm_head.double().register_forward_pre_hook(lambda module, args: (args[0].double(),))
    assert interp.load_model(hf, check=False)(TOKENS).dtype == torch.float64


def test_a_folder_with_an_adapter(tmp_path: Path) -> None:
    write_config(tmp_path, model_type="llama")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(RefusedModelError, match="holds a PEFT adapter: load it with peft, merge it into its model"):
        interp.load_model(tmp_path)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (None, r"None \(NoneType\) is no model: give `smollm2-135m`"),
        (5, r"5 \(int\) is no model"),
        ({"a": torch.zeros(1)}, r"a state dict \(1 entries\) is weights without a model.*load_state_dict"),
        (torch.zeros(2), "is no model"),
    ],
)
def test_what_is_no_model_at_all(source: Any, sentence: str) -> None:
    """Without a question to the hub."""
    with pytest.raises(UsageError, match=sentence):
        interp.load_model(source)


# --- projections that hold no matrix --------------------------------------------------------------------------------


class Packed(nn.Module):
    """Laid out as GPTQ's linear: packed integers and scales, no weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("qweight", linear.weight.data.mul(100).round().to(torch.int32))
        self.register_buffer("scales", torch.full((1,), 0.01))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.qweight.to(x.dtype) * self.scales)


@pytest.mark.parametrize(("place", "told"), [("o_proj", "output projection"), ("k_proj", "k projection")])
def test_packed_projections_are_refused(place: str, told: str) -> None:
    hf = build("llama")
    attention = hf.model.layers[1].self_attn
    setattr(attention, place, Packed(attention.get_submodule(place)))
    sentence = rf"layer 1 keeps its {told} in a quantised form \(a Packed without a matrix\), from which no head"
    with pytest.raises(RefusedModelError, match=sentence):
        interp.load_model(hf)


def test_dynamic_int8_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hf = torch.ao.quantization.quantize_dynamic(build("llama"), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(RefusedModelError, match="layer 0 keeps its output projection in a quantised form"):
        interp.load_model(hf)


def test_float8_is_refused_for_its_scale_stands_elsewhere() -> None:
    hf = build("llama")
    projection = hf.model.layers[0].self_attn.q_proj
    projection.weight = nn.Parameter(projection.weight.data.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(RefusedModelError, match=r"q projection in a quantised form \(torch\.float8_e4m3fn\)"):
        interp.load_model(hf)


def test_a_packed_unembedding_is_refused() -> None:
    hf = build("llama")
    hf.lm_head = Packed(hf.lm_head)
    with pytest.raises(RefusedModelError, match="the model keeps its unembedding in a quantised form"):
        interp.load_model(hf)
