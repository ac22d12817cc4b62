"""From a source to a model: what is loaded, and each refusal with its sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import interp
from interp import selfcheck
from interp.errors import ModelLoadError, RefusedModelError, UsageError
from interp.quiet import transformers_quietly
from tests.interp.families import build, random_tokens
from tests.interp.saved import COMMIT, as_hub_cache, save, write_config

TOKENS = random_tokens(length=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama; read-only."""
    return save(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The same to break."""
    import shutil

    return Path(shutil.copytree(folder, tmp_path / "broken"))


# --- loading -------------------------------------------------------------------------------------------------------


def test_a_folder_is_loaded_checked_and_frozen(folder: Path) -> None:
    model = interp.load_model(folder)
    torch.testing.assert_close(model(TOKENS), build("llama")(TOKENS).logits, atol=1e-6, rtol=0)
    assert model.tokenizer("t5 t9")["input_ids"] == [5, 9]
    assert not model.hf.training and not any(parameter.requires_grad for parameter in model.hf.parameters())
    told = {
        "source": "tiny-llama",
        "revision": None,
        "architecture": "LlamaForCausalLM",
        "dtype": "float32",
        "check": "default",
    }
    assert {name: value for name, value in model.provenance.items() if name != "config_hash"} == told
    assert (model.route, model.eager, model.max_length) == ("fused", False, 64)


@pytest.mark.parametrize("dtype", ["bfloat16", "bf16", "float16", "float64", torch.float64])
def test_a_dtype_by_name_and_by_value(folder: Path, dtype: str | torch.dtype) -> None:
    model = interp.load_model(folder, dtype=dtype)
    assert model.dtype == next(model.hf.parameters()).dtype
    assert str(model.dtype).endswith({"bf16": "bfloat16"}.get(str(dtype), str(dtype)))
    assert model.run_with_cache(TOKENS, [("pattern", 0)])[1]["pattern", 0].dtype in (torch.float32, torch.float64)


def test_a_model_in_memory(folder: Path) -> None:
    hf = build("gpt2")
    model = interp.load_model(hf)
    assert model.hf is hf and model.tokenizer is None and model.provenance["source"] == "GPT2LMHeadModel"


@pytest.mark.parametrize(
    ("given", "level", "checked"),
    [("strict", "strict", 2), ("default", "default", 1), ("off", "off", 0), (True, "default", 1), (False, "off", 0)],
)
def test_how_a_model_was_checked_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: Any, level: str, checked: int
) -> None:
    """Strict takes each layer by itself; it stands in the provenance and not in the identity, whose numbers it is."""
    groups = []
    add_up = selfcheck.reading.parts_add_up
    monkeypatch.setattr(
        selfcheck.reading, "parts_add_up", lambda rest, layers: groups.append(layers) or add_up(rest, layers)
    )
    model = interp.load_model(folder, check=given)
    assert len(groups) == checked and model.provenance["check"] == level
    assert "check" not in model.identity()


def test_a_bad_check(folder: Path) -> None:
    with pytest.raises(UsageError, match="check must be one of strict, default, off, got 'thorough'"):
        interp.load_model(folder, check="thorough")


def test_a_model_in_memory_is_neither_cast_nor_moved() -> None:
    for options in ({"dtype": "bfloat16"}, {"device": "cpu"}, {"revision": "main"}):
        with pytest.raises(UsageError, match=f"already in memory stays as it is: leave {next(iter(options))} out"):
            interp.load_model(build("gpt2"), **options)


def test_a_hub_id_from_a_filled_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, as HF_HOME and HF_HUB_CACHE lay it out; the revision is the commit."""
    snapshot = as_hub_cache(folder, tmp_path / "hub", "someone/tiny-llama")
    for module in ("huggingface_hub.constants", "huggingface_hub.file_download", "transformers.utils.hub"):
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
            monkeypatch.setattr(f"{module}.{name}", str(tmp_path / "hub"), raising=False)
    for source in ("someone/tiny-llama", str(snapshot)):
        model = interp.load_model(source)
        assert model.provenance["source"] == "someone/tiny-llama"
        assert model.provenance["revision"] == COMMIT
        torch.testing.assert_close(model(TOKENS), build("llama")(TOKENS).logits, atol=1e-6, rtol=0)


def test_loading_leaves_transformers_logger_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = transformers.logging.get_verbosity()
    interp.load_model(build("bloom"))
    assert transformers.logging.get_verbosity() == before
    assert "attention implementation" not in capfd.readouterr().err
    with transformers_quietly():
        assert transformers.logging.get_verbosity() == transformers.logging.ERROR
    assert transformers.logging.get_verbosity() == before


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["nobody/nothing-at-all", "no-such-model"])
def test_an_unknown_model(source: str) -> None:
    sentence = f"could not read the configuration of '{source}'.*needs network or a filled cache"
    with pytest.raises(ModelLoadError, match=sentence):
        interp.load_model(source)


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "a/b/c", "~/no-such-folder-here"])
def test_a_folder_that_is_not_there(source: str) -> None:
    with pytest.raises(ModelLoadError, match=f"there is no folder '{source}'"):
        interp.load_model(source)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ModelLoadError, match=r"there is no file 'nowhere\.gguf'"):
        interp.load_model("nowhere.gguf")


def test_a_folder_without_tokenizer_is_a_model_of_ids(tmp_path: Path) -> None:
    model = interp.load_model(save(tmp_path, tokenizer=False))
    assert model.tokenizer is None and model.identity()["tokenizer_hash"] is None
    assert model.to_str_tokens([3, 5]) == ["3", "5"]
    with pytest.raises(UsageError, match=r"the text 'a b' must be turned into tokens.*saving one into the model's"):
        model.to_tokens("a b")
    with pytest.raises(ModelLoadError, match="could not read the tokenizer"):
        (tmp_path / "tokenizer.json").write_text("{half")
        interp.load_model(tmp_path)


def test_a_folder_without_config(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"holds no config\.json: it is not a saved Hugging Face model"):
        interp.load_model(copy)


def test_a_config_that_is_not_json(copy: Path) -> None:
    (copy / "config.json").write_text("{half")
    with pytest.raises(ModelLoadError, match="could not read the configuration"):
        interp.load_model(copy)


def test_a_kind_that_transformers_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(RefusedModelError, match="does not know; a newer one may"):
        interp.load_model(write_config(tmp_path, model_type="strange"))


@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_weights_that_are_not_whole(copy: Path, kept: float) -> None:
    """Cut off on the way, or a pointer in place of the file."""
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)] or b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelLoadError, match=r"the weights of .* are damaged or not whole \(.*\): fetch or save"):
        interp.load_model(copy)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_damaged_weights(copy: Path, value: float) -> None:
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    sentence = r"NaN or infinite weights \(model\.layers\.1\.mlp\.up_proj\.weight\): the checkpoint is damaged"
    with pytest.raises(ModelLoadError, match=sentence):
        interp.load_model(copy)


def test_large_weights_whose_sum_overflows_are_no_damage() -> None:
    hf = build("llama", dtype=torch.float64)
    hf.model.embed_tokens.weight.data[:] *= 1e38
    assert interp.load_model(hf, check=False).dtype == torch.float64


def test_incomplete_weights(copy: Path) -> None:
    """transformers draws what is missing at random and only says so."""
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"incomplete: 1 are not there \(model\.layers\.0\.self_attn\.q_proj"):
        interp.load_model(copy)


def test_weights_that_nothing_reads_are_refused_by_name(copy: Path) -> None:
    """A config.json of one layer over weights of two."""
    write_config(copy, **{**json.loads((copy / "config.json").read_text()), "num_hidden_layers": 1})
    with pytest.raises(ModelLoadError, match=r"9 weights .* \(model\.layers\.1\.input_layernorm\.weight, .*, \.\.\.\)"):
        interp.load_model(copy)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("model.layers.0.self_attn.rotary_emb.inv_freq", True),
        ("model.vision_tower.patch.weight", True),
        ("v_head.summary.weight", True),
        ("model.layers.0.self_attn.q_proj.weight_scale", False),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", False),
        ("model.layers.7.mlp.down_proj.weight", False),
    ],
)
def test_what_a_text_model_leaves_unread(copy: Path, name: str, read: bool) -> None:
    path = copy / "model.safetensors"
    save_file({**load_file(path), name: torch.zeros(2, 2)}, path, metadata={"format": "pt"})
    if read:
        assert interp.load_model(copy, check=False).n_layers == 2
    else:
        with pytest.raises(ModelLoadError, match=rf"1 weights .* \({re.escape(name)}\)"):
            interp.load_model(copy, check=False)


def test_weights_of_another_shape(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    write_config(copy, **{**config, "intermediate_size": 128})
    with pytest.raises(ModelLoadError, match=r"have other shapes than its config\.json says"):
        interp.load_model(copy)


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="holds no weights"):
        interp.load_model(copy)


def test_pickled_weights_only_by_name(copy: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(RefusedModelError, match=r"pickled weights only \(pytorch_model\.bin\).*--allow-pickle"):
        interp.load_model(copy)
    model = interp.load_model(copy, allow_pickle=True)
    torch.testing.assert_close(model(TOKENS), build("llama")(TOKENS).logits, atol=1e-6, rtol=0)


def test_pickled_weights_in_the_hubs_cache(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    as_hub_cache(copy, tmp_path / "hub", "someone/pickled")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(RefusedModelError, match="has no safetensors weights"):
        interp.load_model("someone/pickled")


def test_remote_code_only_by_name(copy: Path) -> None:
    """Its code is never run unless asked for: the file would write a witness."""
    config = json.loads((copy / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    write_config(copy, **{**config, "model_type": "own", "auto_map": own})
    (copy / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(copy / 'witness')!r}).write_text('ran')\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(RefusedModelError, match=r"wants to run Python code of its own.*--trust-remote-code"):
        interp.load_model(copy)
    assert not (copy / "witness").exists()
    with pytest.raises(RefusedModelError, match="OwnModel is not an architecture that TransformerLens"):
        interp.load_model(copy, trust_remote_code=True)
    assert (copy / "witness").exists()


@pytest.mark.parametrize("dtype", ["float31", "int8", torch.int8, "nn", "complex64"])
def test_a_bad_dtype(folder: Path, dtype: str | torch.dtype) -> None:
    with pytest.raises(UsageError, match="is not a dtype headscope computes in: give float32"):
        interp.load_model(folder, dtype=dtype)


@pytest.mark.parametrize("device", ["banana", "cuda:99", "meta", "cpu:x", "mps:9", "xpu"])
def test_a_bad_device(folder: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"'{device}' is not a device of this machine") as refused:
        interp.load_model(folder, device=device)
    assert len(str(refused.value)) < 500, "PyTorch's page on where an operator runs is left out"


def test_offloading_wants_the_device_auto(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need device='auto', not 'cpu'"):
        interp.load_model(folder, device="cpu", offload_folder=tmp_path)


def test_a_quantised_output_projection() -> None:
    hf = build("llama")
    hf.model.layers[0].self_attn.o_proj.weight = torch.nn.Parameter(torch.zeros(32, 32, dtype=torch.int8), False)
    with pytest.raises(RefusedModelError, match=r"layer 0 keeps its output projection in a quantised form"):
        interp.load_model(hf)
