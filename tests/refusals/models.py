"""Refusals of models: by their kind, by what was done to them, by how they run."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import transformers
from torch import nn

import interp
from interp.errors import RefusedModelError, SelfCheckError, UsageError
from tests.headscope.commands import Outcome
from tests.interp.families import VOCAB, build, load, random_tokens
from tests.interp.saved import write_config
from tests.refusals.case import Desk, refusal

TOKENS = random_tokens(length=12)


def asked(desk: Desk, **config: Any) -> Outcome:
    """`headscope induction` of a folder with this configuration: what follows from it is said before weights are."""
    return desk.ask("induction", write_config(desk.place / "model", **config), "-o", desk.out)


@refusal(
    RefusedModelError,
    "its heads look both ways, so prefix matching does not exist for it",
    inputs=("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert"),
)
def encoder(desk: Desk, kind: str) -> Outcome:
    return asked(desk, model_type=kind)


@refusal(RefusedModelError, "its heads look both ways, so prefix matching does not exist for it")
def masked_language_model(desk: Desk) -> Outcome:
    return asked(desk, model_type="llama", architectures=["LlamaForMaskedLM"])


@refusal(RefusedModelError, "is an encoder-decoder model", inputs=("t5", "bart", "mt5", "pegasus", "marian"))
def encoder_decoder(desk: Desk, kind: str) -> Outcome:
    return asked(desk, model_type=kind)


@refusal(
    RefusedModelError,
    "is a state-space or recurrent model",
    inputs=("mamba", "mamba2", "rwkv", "falcon_mamba", "xlstm"),
)
def without_attention(desk: Desk, kind: str) -> Outcome:
    return asked(desk, model_type=kind)


@refusal(
    RefusedModelError,
    "it predicts no next token",
    inputs=("LlamaForSequenceClassification", "LlamaForTokenClassification", "BertForSequenceClassification"),
)
def classifier(desk: Desk, name: str) -> Outcome:
    return asked(desk, model_type=name.partition("For")[0].lower(), architectures=[name])


@refusal(RefusedModelError, "is not an architecture that TransformerLens ... knows")
def unplaced(desk: Desk) -> Any:
    config = transformers.BioGptConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, vocab_size=VOCAB, intermediate_size=64
    )
    return interp.load_model(transformers.BioGptForCausalLM(config))


@refusal(RefusedModelError, "models whose layers differ are not served")
def unlike_layers(desk: Desk) -> Any:
    hf = build("llama")
    hf.model.layers[1].self_attn.o_proj = nn.Linear(16, 32, bias=False)
    return interp.load_model(hf)


class Packed(nn.Module):
    """Integers and a scale in the place of a weight, as GPTQ's and AWQ's linear maps have them."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("qweight", linear.weight.data.mul(100).round().to(torch.int32))


def with_weights(dtype: torch.dtype) -> Any:
    hf = build("llama")
    projection = hf.model.layers[0].self_attn.q_proj
    projection.weight = nn.Parameter(projection.weight.data.to(dtype), requires_grad=False)
    return hf


def packed_projection() -> Any:
    hf = build("llama")
    hf.model.layers[1].self_attn.o_proj = Packed(hf.model.layers[1].self_attn.o_proj)
    return hf


def packed_unembedding() -> Any:
    hf = build("llama")
    hf.lm_head = Packed(hf.lm_head)
    return hf


def dynamic_int8() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(build("llama"), {nn.Linear}, dtype=torch.qint8)


def int8() -> Any:
    return with_weights(torch.int8)


def float8() -> Any:
    return with_weights(torch.float8_e4m3fn)


@refusal(
    RefusedModelError,
    "from which no head can be told",
    inputs=(packed_projection, packed_unembedding, dynamic_int8, int8, float8),
)
def quantised(desk: Desk, make: Any) -> Any:
    return interp.load_model(make())


def outside(name: str) -> Any:
    """A module of a library that need not be installed."""
    return type(name, (nn.Module,), {})()


@refusal(RefusedModelError, "give model.merge_and_unload()", inputs=("PeftModel", "PeftMixedModel"))
def adapters_around(desk: Desk, name: str) -> Any:
    return interp.load_model(outside(name))


@refusal(RefusedModelError, "holds adapters")
def adapters_inside(desk: Desk) -> Any:
    hf = build("llama")
    hf.model.layers[0].self_attn.v_proj.lora_A = nn.ModuleDict({"default": nn.Linear(32, 2, bias=False)})
    return interp.load_model(hf)


@refusal(RefusedModelError, "spread over processes", inputs=("FullyShardedDataParallel", "DeepSpeedEngine"))
def sharded(desk: Desk, name: str) -> Any:
    return interp.load_model(outside(name))


def layer() -> Any:
    hf = build("llama")
    hf.model.layers[1] = torch.compile(hf.model.layers[1])
    return hf


def whole() -> Any:
    hf = build("llama")
    hf.compile()
    return hf


@refusal(RefusedModelError, "is compiled or wrapped in its place", inputs=(layer, whole))
def compiled_inside(desk: Desk, make: Any) -> Any:
    return interp.load_model(make())


@refusal(RefusedModelError, "computes its weights anew in every run")
def parametrised(desk: Desk) -> Any:
    hf = build("llama")
    nn.utils.parametrizations.weight_norm(hf.model.layers[0].self_attn.o_proj)
    return interp.load_model(hf)


@refusal(RefusedModelError, "so that neither can be read or removed alone", inputs=("mlp", "self_attn"))
def one_module_in_two_layers(desk: Desk, name: str) -> Any:
    hf = build("llama")
    setattr(hf.model.layers[1], name, getattr(hf.model.layers[0], name))
    return interp.load_model(hf)


@refusal(RefusedModelError, "does not run with an unembedding in")
def unembedding_of_another_dtype(desk: Desk) -> Any:
    hf = build("llama")
    hf.lm_head.double()
    return interp.load_model(hf)


@refusal(RefusedModelError, "has no unembedding and predicts no token", inputs=("llama", "gpt2", "opt"))
def headless(desk: Desk, family: str) -> Any:
    return interp.load_model(transformers.AutoModel.from_config(build(family).config))


def own() -> Any:
    return outside("NanoGPT")


def hooked_transformer() -> Any:
    return outside("HookedTransformer")


def bridge() -> Any:
    return load("gpt2").bridge()


@refusal(RefusedModelError, "no Hugging Face model", inputs=(own, hooked_transformer, bridge))
def of_another_library(desk: Desk, make: Any) -> Any:
    return interp.load_model(make())


@refusal(RefusedModelError, "adds a learned position bias, which headscope does not read")
def position_bias(desk: Desk) -> Any:
    """A family with sinks, whose attention headscope answers by a function of its own."""
    model = load("gpt_oss")
    with torch.no_grad(), model.watch_attention(lambda layer, rows: None):
        return model.hf(input_ids=TOKENS, position_bias=torch.zeros(1, 4, 12, 12))


@refusal(RefusedModelError, "it looks ahead")
def looking_ahead(desk: Desk) -> Any:
    model = load("llama")
    for block in model.hf.model.layers:
        block.self_attn.is_causal = False
    with model.watch_attention(lambda layer, rows: None):
        return model.run(TOKENS)


@refusal(RefusedModelError, "computes attention more than once in a run")
def attention_twice(desk: Desk) -> Any:
    model = load("llama")
    attention = model.hf.model.layers[1].self_attn
    once = attention.forward

    def twice(*args: Any, **kwargs: Any) -> Any:
        once(*args, **kwargs)
        return once(*args, **kwargs)

    attention.forward = twice
    with model.watch_attention(lambda layer, rows: None):
        return model.run(TOKENS)


@refusal(SelfCheckError, "Its numbers would not mean what they claim")
def failed_check(desk: Desk) -> Any:
    """Attention that is handed a mask of nothing, so that every position sees all others."""
    hf = build("llama")
    for block in hf.model.layers:
        block.self_attn.is_causal = False
        forward = block.self_attn.forward

        def ahead(*args: Any, forward: Any = forward, **kwargs: Any) -> Any:
            return forward(*args, **{**kwargs, "attention_mask": torch.zeros(1, 1, 1, 1)})

        block.self_attn.forward = ahead
    return interp.load_model(hf)


@refusal(RefusedModelError, "computes other logits than the model")
def another_bridge(desk: Desk) -> Any:
    return load("falcon_alibi").bridge()


@refusal(UsageError, "do not reach: leave their context first", inputs=("heads", "ffns", "edit"))
def bridge_while_held(desk: Desk, held: str) -> Any:
    model = load("llama")
    holding = {
        "heads": lambda: model.gates(heads=torch.zeros(2, 4)),
        "ffns": lambda: model.gates(ffns=torch.tensor([1.0, 0.5])),
        "edit": lambda: model.edit("z", lambda z: z * 0, layer=0),
    }[held]
    with holding():
        return model.bridge()
