"""From what a person has in memory to the Hugging Face model inside, or a sentence that says how to get at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from interp.errors import RefusedModelError, UsageError
from interp.model import HookedModel

SHOWN = 80  # characters of what is no model
_INSIDE = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
_MERGE = "its adapters stand beside the weights that headscope reads: give model.merge_and_unload()"
_SAVE = "save it as an ordinary checkpoint (save_pretrained, through accelerator.unwrap_model) and load that folder"
_GPT2 = (
    "its weights have to stand in a Hugging Face model, which a small one is quickly built as: "
    "transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=2, n_head=4, n_embd=64, vocab_size=...))"
)
_ELSEWHERE = {
    **dict.fromkeys(("PeftModel", "PeftMixedModel"), _MERGE),
    "FullyShardedDataParallel": f"its weights are spread over processes: {_SAVE}",
    "DeepSpeedEngine": f"its weights may be spread over processes: {_SAVE}",
    "HookedTransformer": "it is one of TransformerLens before version 4. Load the checkpoint that it was made from, as "
    f"in interp.load_model('gpt2'); of one that was trained as a HookedTransformer {_GPT2}",
    "TransformerBridge": "it is TransformerLens's view of one. Load the checkpoint that it was made from, as in "
    "interp.load_model('gpt2'), and take .bridge() of what comes back: it shares the weights",
}


def unwrapped(source: nn.Module) -> Any:
    """The Hugging Face causal language model in `source`.

    torch.compile and data parallelism are taken off; PEFT, sharding, TransformerLens's models and plain modules are
    refused, each with the way.
    """
    model: Any = source
    while (name := _named(model, _INSIDE)) is not None:
        model = getattr(model, _INSIDE[name])
    if (name := _named(model, _ELSEWHERE)) is not None:
        raise RefusedModelError(f"{_told(model)} is no Hugging Face model: {_ELSEWHERE[name]}")
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        if inside := next((name for name, part in model.named_modules() if isinstance(part, PreTrainedModel)), None):
            raise RefusedModelError(
                f"{_told(model)} is a PyTorch module around a Hugging Face model: give the one inside, model.{inside}"
            )
        raise RefusedModelError(
            f"{_told(model)} is a PyTorch module and no Hugging Face model, so headscope can't tell where its heads "
            f"are: {_GPT2}"
        )
    return model


def refuse_source(source: Any) -> None:
    """Refuse what is neither a name nor a path nor a model, before anybody looks for it on the hub."""
    if isinstance(source, Mapping):
        raise UsageError(
            f"a state dict ({len(source)} entries) is weights without a model: build the model, call its "
            "load_state_dict, and give the model"
        )
    if isinstance(source, HookedModel):
        raise UsageError("this model is loaded already (a HookedModel): use it as it is")
    if isinstance(getattr(source, "model", None), nn.Module):  # a pipeline, a Trainer
        raise UsageError(f"this {_told(source)} is no model but holds one: give its .model, and its tokenizer with it")
    shown = " ".join(repr(source).split())
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    raise UsageError(
        f"{shown} ({_told(source)}) is no model: give `smollm2-135m`, a hub id, a folder, a .gguf file, or "
        "a Hugging Face causal language model in memory"
    )


def refuse_changed_inside(model: Any) -> None:
    """Adapters, computed weights, compiled parts and another library's views in the place of a model's own modules."""
    for name, module in model.named_modules():
        if type(module).__module__.partition(".")[0] == "transformer_lens":
            raise RefusedModelError(
                f"{_told(model)} has TransformerLens's modules in the place of its own ({name}): load the checkpoint "
                "again, and take .bridge() of what comes back"
            )
        if type(module).__module__.partition(".")[0] == "peft" or hasattr(module, "lora_A"):
            raise RefusedModelError(
                f"{_told(model)} holds adapters ({name}, {_told(module)}), which stand beside the weights that "
                "headscope reads: merge them, with merge_and_unload() of the PEFT model around it"
            )
        if parametrize.is_parametrized(module) or isinstance(vars(module).get("weight"), Tensor):
            raise RefusedModelError(
                f"{name} ({_told(module)}) computes its weights anew in every run (a parametrisation, or weight or "
                "spectral norm), so that there is no matrix to read: make them plain, by "
                "torch.nn.utils.parametrize.remove_parametrizations, or by remove_weight_norm or remove_spectral_norm"
            )
        if _named(module, _INSIDE) is not None or getattr(module, "_compiled_call_impl", None) is not None:
            raise RefusedModelError(
                f"{name or 'the model'} ({_told(module)}) is compiled or wrapped in its place, so that hooks inside "
                "might never run: give the model as it was before"
            )


def _named(module: Any, names: Mapping[str, str]) -> str | None:
    """Which of these names the module's class, or a parent of it, has: the libraries need not be installed."""
    return next((kind.__name__ for kind in type(module).__mro__ if kind.__name__ in names), None)


def _told(module: object) -> str:
    return type(module).__name__
