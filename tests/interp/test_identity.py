"""The weight hash: the same for the same weights wherever they come from, another for any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

import interp
from interp import identity
from interp.identity import tokenizer_hash, weight_hash
from tests.interp.families import build, load
from tests.interp.saved import save


def test_the_hash_is_that_of_the_weights_alone(tmp_path: Path) -> None:
    hashed = weight_hash(build("llama"))
    assert hashed.full and len(hashed.sha256) == 64
    assert weight_hash(build("llama")) == hashed == load("llama").weight_hash
    assert interp.load_model(save(tmp_path, "llama")).weight_hash == hashed
    assert weight_hash(build("llama", seed=1)) != hashed
    assert weight_hash(build("llama", dtype=torch.bfloat16)) != hashed
    assert weight_hash(build("mistral")) == hashed  # another architecture with the same names, shapes and draws


def test_the_hash_by_hand() -> None:
    """Names in alphabetical order, each with its shape, dtype and bytes: the same in every process."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    digest = hashlib.sha256(b"full")
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode() + value.numpy().tobytes())
    assert weight_hash(model).sha256 == digest.hexdigest()


@pytest.mark.parametrize("full_bytes", [1 << 30, 0])
def test_a_changed_weight_changes_the_hash(full_bytes: int) -> None:
    model = build("gpt2")
    before = weight_hash(model, full_bytes=full_bytes)
    assert before.full == (full_bytes > 0) and before == weight_hash(model, full_bytes=full_bytes)
    weight = model.transformer.h[1].mlp.c_fc.bias
    weight.data[17] = torch.nextafter(weight.data[17], torch.tensor(9.0))
    assert weight_hash(model, full_bytes=full_bytes) != before
    weight.data[17] = torch.nextafter(weight.data[17], torch.tensor(-9.0))
    assert weight_hash(model, full_bytes=full_bytes) == before


def test_full_and_sampled_hashes_are_never_taken_for_each_other() -> None:
    model = build("gpt2")
    assert weight_hash(model).sha256 != weight_hash(model, full_bytes=0).sha256


def test_samples_are_spread_over_large_weights() -> None:
    picked = identity._sampled(torch.arange(100.0).view(10, 10), 4)
    assert picked.tolist() == [0, 33, 66, 99]
    assert identity._sampled(torch.zeros(0), 4).shape == (0,)


def test_saved_buffers_count_and_tied_weights_count_once() -> None:
    """DeepSeek's routers add a saved buffer; GPT-2's unembedding is its embedding."""
    model = build("deepseek_v3")
    before = weight_hash(model)
    model.model.layers[1].mlp.gate.e_score_correction_bias += 1
    assert weight_hash(model) != before
    names = [name for name, _ in identity._weights(build("gpt2"), load=True)]
    assert "transformer.wte.weight" in names and "lm_head.weight" not in names
    assert not any("inv_freq" in name for name, _ in identity._weights(build("llama"), load=False))


def test_bool_and_half_precision_weights_have_bytes() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("flags", torch.tensor([True, False]))
            self.scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.bfloat16))
            self.turned = torch.nn.Parameter(torch.arange(6.0).view(2, 3).T)

    odd = Odd()
    before = weight_hash(odd)
    odd.flags[1] = True  # type: ignore[operator, index]
    assert weight_hash(odd) != before


def test_another_configuration_or_tokenizer_is_another_identity(tmp_path: Path) -> None:
    """The same weights give other numbers; the version that wrote the file and the dtype change nothing."""
    folder = save(tmp_path / "tiny", "llama")
    first = interp.load_model(folder).identity()
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for change, same in (({"rms_norm_eps": 0.1}, False), ({"transformers_version": "0"}, True), ({"_note": 1}, True)):
        file.write_text(json.dumps({**config, **change}))
        other = interp.load_model(folder).identity()
        assert (other["config_hash"] == first["config_hash"]) is same
        assert other["weight_hash"] == first["weight_hash"] and other["tokenizer_hash"] == first["tokenizer_hash"]
    file.write_text(json.dumps(config))
    rules = json.loads((folder / "tokenizer.json").read_text())
    words = rules["model"]["vocab"]
    rules["model"]["vocab"] = {word: len(words) - 1 - place for word, place in words.items()}
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    assert interp.load_model(folder).identity()["tokenizer_hash"] != first["tokenizer_hash"]
    assert load("llama").identity()["config_hash"] == load("llama").identity()["config_hash"]
    assert load("llama").identity()["tokenizer_hash"] is None


def test_padding_and_truncation_are_no_part_of_a_tokenizer(tmp_path: Path) -> None:
    tokenizer = interp.load_model(save(tmp_path / "tiny", "llama")).tokenizer
    before = tokenizer_hash(tokenizer)
    tokenizer(["a", "a a a"], truncation=True, max_length=2)
    assert tokenizer_hash(tokenizer) == before


def test_an_identity_says_what_made_the_numbers(tmp_path: Path) -> None:
    model = interp.load_model(save(tmp_path / "tiny-gpt2", "gpt2"))
    told = model.identity()
    assert json.loads(json.dumps(told)) == told
    assert told["source"] == "tiny-gpt2" and told["architecture"] == "GPT2LMHeadModel" and told["route"] == "fused"
    assert told["dtype"] == "float32" and told["weight_hash"] == model.weight_hash.sha256
    assert told["weight_hash_covers"] == "all bytes"
    assert set(told["versions"]) == {"torch", "transformers", "transformer-lens"}
    assert load("bloom").identity()["route"] == "eager" and load("gemma2").identity()["route"] == "chunked"


@pytest.mark.parametrize("through_data", [False, True])
def test_weights_that_are_changed_after_loading_are_another_model(through_data: bool) -> None:
    """A step of training in a notebook: what is stored for the old weights is not theirs."""
    model = interp.load_model(build("llama"), check=False)
    before = model.weight_hash
    assert model.weight_hash is before, "the bytes are read once while nothing is changed"
    weight = model.hf.model.layers[1].self_attn.q_proj.weight
    with torch.no_grad():
        (weight.data if through_data else weight).mul_(1.5)
    assert model.weight_hash.sha256 == weight_hash(model.hf).sha256 != before.sha256
    assert model.identity()["weight_hash"] == model.weight_hash.sha256
