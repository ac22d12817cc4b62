"""Refusals of files: weights, .gguf files, wheels, documents, and a file that stands in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import interp
from headscope.store.run import open_run
from interp.errors import ModelLoadError, RefusedModelError, UsageError
from tests.ablation.tasks.own_yaml import own_yaml
from tests.headscope.commands import ROOT, Outcome, command
from tests.interp.gguf_files import tiny_llama, write_gguf
from tests.interp.saved import write_config
from tests.refusals.case import Desk, refusal

WEIGHTS = "model.safetensors"


def asked(desk: Desk, model: Path) -> Outcome:
    return desk.ask("induction", model, "-o", desk.out)


def change_weights(folder: Path, change: Any) -> Path:
    """Write the weights anew, changed in their place."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def change_config(folder: Path, **values: Any) -> Path:
    return write_config(folder, **{**json.loads((folder / "config.json").read_text()), **values})


@refusal(RefusedModelError, "Pickles can run any code", inputs=("pytorch_model.bin", "model.pt", "model.ckpt"))
def pickled(desk: Desk, name: str) -> Outcome:
    folder = desk.llama()
    (folder / WEIGHTS).rename(folder / name)
    return asked(desk, folder)


@refusal(RefusedModelError, "wants to run Python code of its own")
def own_code(desk: Desk) -> Outcome:
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    folder = change_config(desk.llama(), model_type="own", auto_map=own)
    (folder / "own.py").write_text("raise SystemExit('it ran')\n")
    return asked(desk, folder)


@refusal(ModelLoadError, "are incomplete", inputs=("self_attn.q_proj", "mlp.down_proj", "input_layernorm"))
def weights_missing(desk: Desk, name: str) -> Outcome:
    return asked(desk, change_weights(desk.llama(), lambda weights: weights.pop(f"model.layers.0.{name}.weight")))


@refusal(ModelLoadError, "are read by no part of the model")
def fewer_layers_than_weights(desk: Desk) -> Outcome:
    return asked(desk, change_config(desk.llama(), num_hidden_layers=1))


@refusal(
    ModelLoadError, "are read by no part of the model", inputs=("self_attn.q_proj.weight_scale", "mlp.extra.weight")
)
def a_weight_too_many(desk: Desk, name: str) -> Outcome:
    added = {f"model.layers.0.{name}": torch.zeros(2, 2)}
    return asked(desk, change_weights(desk.llama(), lambda weights: weights.update(added)))


@refusal(ModelLoadError, "holds NaN or infinite weights", inputs=("nan", "inf", "-inf"))
def broken_weights(desk: Desk, value: str) -> Outcome:
    def spoil(weights: Any) -> None:
        weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float(value)

    return asked(desk, change_weights(desk.llama(), spoil))


@refusal(ModelLoadError, "the folder holds files of two models", inputs=("intermediate_size", "vocab_size"))
def other_shapes(desk: Desk, name: str) -> Outcome:
    return asked(desk, change_config(desk.llama(), **{name: 128}))


@refusal(RefusedModelError, "only models in one file are read")
def one_part(desk: Desk) -> Outcome:
    return asked(desk, write_gguf(desk.place / "part.gguf", tiny_llama(), fields={"split.count": 3}))


FACTORS = np.array([1.0, 1.0, 4.0, 8.0], dtype=np.float32)
SCALED = {
    "by_type": {"fields": {"llama.rope.scaling.type": "yarn"}},
    "by_factor": {"tensors": {"rope_freqs.weight": FACTORS}},
}


@refusal(RefusedModelError, "which is lost in the conversion", inputs=tuple(SCALED))
def scaled_positions(desk: Desk, how: str) -> Any:
    return interp.load_model(write_gguf(desk.place / "scaled.gguf", tiny_llama(), **SCALED[how]))  # type: ignore[arg-type]


UNREAD = {"block": "blk.2.attn_q.weight", "sinks": "blk.1.attn_sinks.weight"}


@refusal(RefusedModelError, "of its tensors are read by no part of the model", inputs=tuple(UNREAD))
def unread_tensors(desk: Desk, which: str) -> Any:
    more = {UNREAD[which]: np.ones((64, 64), np.float32)}
    return interp.load_model(write_gguf(desk.place / "more.gguf", tiny_llama(), tensors=more))


@refusal(ModelLoadError, "Nothing of it was used")
def another_wheel(desk: Desk) -> Outcome:
    wheel = desk.place / "carrier-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK another wheel")
    return desk.ask("induction", "smollm2-135m", "--wheel", wheel, "-o", desk.out)


COPA = {"premise": "It rained.", "choice1": "He ran.", "choice2": "He slept.", "question": "effect", "label": 0}


@refusal(UsageError, "If it is Latin-1", inputs=("latin-1", "cp1252"))
def code_page(desk: Desk, encoding: str) -> Outcome:
    folder = desk.place / "data" / "copa"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        rows = json.dumps({**COPA, "premise": "Café."}, ensure_ascii=False)
        (folder / f"{split}.jsonl").write_bytes(rows.encode(encoding))
    asked = ("--tasks", "copa", "--data", folder.parent, "--shots", 0, "-o", desk.out)
    return desk.ask("importance", desk.model, *asked)


OWN = own_yaml("own", "{{q}}", "c")
ROW = {"q": "It is", "c": ["1", "2", "3"], "label": 0}


def read_own(desk: Desk, *changes: dict[str, Any]) -> Outcome:
    """A task of one's own whose documents differ from ROW so."""
    folder = desk.place / "data" / "own"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(OWN)
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps({**ROW, **change}) for change in changes))
    asked = ("--tasks", "own", "--data", folder.parent, "--shots", 0, "-o", desk.out)
    return desk.ask("importance", desk.model, *asked)


@refusal(UsageError, "is null or absent")
def no_text(desk: Desk) -> Outcome:
    return read_own(desk, {}, {"q": None})


@refusal(UsageError, "which means none of its", inputs=(3, "4", 0.5, "maybe"))
def a_label_out_of_range(desk: Desk, label: Any) -> Outcome:
    return read_own(desk, {"label": label})


@refusal(UsageError, "do not tell which is meant")
def digits_of_two_readings(desk: Desk) -> Outcome:
    return read_own(desk, {"label": "1"}, {"label": "2"})


@refusal(UsageError, "no list. Expected a list of texts")
def choices_in_one_text(desk: Desk) -> Outcome:
    return read_own(desk, {"c": "ab"})


@refusal(UsageError, "no text. Expected a list of texts")
def choices_in_numbers(desk: Desk) -> Outcome:
    return read_own(desk, {"c": [1, 2]})


@refusal(UsageError, "is empty, so there is nothing to score")
def an_empty_choice(desk: Desk) -> Outcome:
    return read_own(desk, {"c": ["a", ""]})


@refusal(UsageError, "Two documents have the document_id")
def two_of_one_id(desk: Desk) -> Outcome:
    return read_own(desk, {"document_id": "a"}, {"document_id": "a"})


@refusal(UsageError, "holds values of unlike kinds")
def unlike_kinds(desk: Desk) -> Outcome:
    return read_own(desk, {}, {"q": 5})


class TooMuch:
    """As PyTorch says it; the size is more than any machine has."""

    def __init__(self, *_: object, **__: object) -> None:
        torch.empty(1 << 48)


@refusal(ModelLoadError, "there is not enough memory", inputs=("AutoModelForCausalLM", "AutoTokenizer"))
def too_large(desk: Desk, part: str) -> Outcome:
    with mock.patch(f"transformers.{part}.from_pretrained", TooMuch):
        return asked(desk, desk.model)


@refusal(RuntimeError, "there is not enough memory", inputs=(TooMuch, MemoryError))
def too_large_while_running(desk: Desk, fails: Any) -> Outcome:
    """The run is kept, so that the same command goes on from what is finished."""
    with mock.patch("induction.induction_scores", side_effect=fails):
        found = command("induction", desk.model, "--check", "off", "-o", desk.out)
    assert "--dtype bfloat16" in found.error and "finished units are kept" in found.error
    assert not open_run(desk.out).stages[0].finished
    return found


@refusal(ImportError, "headscope needs its own package", inputs=("ablation.py", "interp/__init__.py"))
def shadow(desk: Desk, name: str) -> None:
    """It is refused while headscope is imported, so in a Python of its own."""
    (desk.place / name).parent.mkdir(exist_ok=True)
    (desk.place / name).write_text("print('mine')\n")
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", "import headscope"], cwd=desk.place, env=there, capture_output=True)
    name, _, sentence = found.stderr.decode().strip().splitlines()[-1].partition(": ")
    raise {"ImportError": ImportError}[name](sentence)
