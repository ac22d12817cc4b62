"""A GGUF file and the folder made of it are the same model; what would be read wrongly is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import interp
from interp import gguf_conversion
from interp.cache import facts_of
from interp.errors import ModelLoadError, RefusedModelError
from interp.gguf_conversion import converted_gguf, weights_note
from tests.interp.gguf_files import MERGES, TOKENS, gguf_tensors, interleaved, tiny_llama, write_gguf

Q4_1 = gguf.GGMLQuantizationType.Q4_1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("tied", [True, False])
def test_a_float32_file_gives_the_same_logits(tmp_path: Path, tied: bool) -> None:
    model = tiny_llama(tied=tied)
    folder = converted_gguf(write_gguf(tmp_path / "tiny.gguf", model))
    back = AutoModelForCausalLM.from_pretrained(folder)
    tokens = torch.arange(3, 43)[None]
    assert torch.allclose(back(tokens).logits, model(tokens).logits, atol=1e-5)
    assert back.config.tie_word_embeddings == tied
    assert weights_note(folder) is None


def test_a_quantised_file_gives_its_dequantised_weights(tmp_path: Path) -> None:
    model = tiny_llama()
    folder = converted_gguf(write_gguf(tmp_path / "tiny.gguf", model, kind=Q4_1))
    back = AutoModelForCausalLM.from_pretrained(folder)
    for name, weight in gguf_tensors(model).items():
        if weight.ndim == 2:
            wanted = gguf.quants.dequantize(gguf.quants.quantize(weight, Q4_1), Q4_1)
            assert np.array_equal(gguf_tensors(back)[name], wanted), name
            assert not np.array_equal(wanted, weight)
    assert {weight.dtype for weight in back.state_dict().values()} == {torch.float32}
    assert weights_note(folder) == "Q4_1, dequantised to float32"
    assert facts_of(folder)["tensor_types"]["Q4_1"] > facts_of(folder)["tensor_types"]["F32"]


@pytest.mark.parametrize(("kind", "note"), [(None, None), (Q4_1, "Q4_1, dequantised to float32")])
def test_a_loaded_file_says_how_it_was_quantised(tmp_path: Path, kind: Any, note: str | None) -> None:
    options = {} if kind is None else {"kind": kind}
    model = interp.load_model(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), **options))
    assert model.provenance["source"] == "tiny.gguf" and model.provenance.get("quantization") == note


def test_the_rows_really_change_places() -> None:
    """The two routes of the tests above would agree on a wrong order if the order were the identity."""
    weight = np.arange(32.0).reshape(8, 4)
    assert interleaved(weight, 2)[:, 0].tolist() == [0, 8, 4, 12, 16, 24, 20, 28]


def test_config_and_tokenizer_of_the_folder(tmp_path: Path) -> None:
    folder = converted_gguf(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), kind=Q4_1))
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config and "_model_name_or_path" not in config
    assert config["rope_parameters"]["rope_theta"] == 5000.0
    assert (config["max_position_embeddings"], config["num_key_value_heads"], config["dtype"]) == (128, 2, "float32")
    backend = json.loads((folder / "tokenizer.json").read_text())
    assert backend["model"]["merges"] == [merge.split(" ") for merge in MERGES]
    assert backend["model"]["vocab"] == {token: index for index, token in enumerate(TOKENS)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    assert set(tokenizer.added_tokens_decoder) == {0, 1, 2} == set(tokenizer.all_special_ids)
    assert tokenizer.model_max_length == 128
    assert len(tokenizer) == len(TOKENS)


@pytest.mark.parametrize(
    ("pre", "pieces"), [("smollm", ["hello", "ĠĠ", "1", "2"]), ("gpt-2", ["hello", "Ġ", "Ġ", "1", "2"])]
)
def test_text_is_split_as_the_file_says(tmp_path: Path, pre: str, pieces: list[str]) -> None:
    """Blanks in front of a digit: one token where digits stand apart, two by GPT-2's rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = converted_gguf(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), pre=pre))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("hello  12") == pieces
    for text in ("hello  12", "é\n\n3 </s> 🎉", " x"):
        assert tokenizer.decode(tokenizer(text).input_ids, clean_up_tokenization_spaces=False) == text


def test_an_unknown_pre_tokenizer_is_said_every_time(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), pre="something-new")
    for _ in range(2):
        with pytest.warns(UserWarning, match="'something-new'"):
            converted_gguf(path)


def test_a_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    folder = converted_gguf(path)
    monkeypatch.setattr(gguf_conversion, "convert", lambda *_: pytest.fail("converted again"))
    assert converted_gguf(path) == folder
    assert converted_gguf(path.rename(tmp_path / "other name.gguf")) == folder


def test_another_file_is_another_folder(tmp_path: Path) -> None:
    one = converted_gguf(write_gguf(tmp_path / "one.gguf", tiny_llama()))
    other = converted_gguf(write_gguf(tmp_path / "other.gguf", tiny_llama(), kind=Q4_1))
    assert one != other


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"fields": {"split.count": 3}}, "one part of 3.*--merge"),
        ({"fields": {"general.type": "adapter"}}, "no model but: adapter"),
        ({"leave_out": "blk.1.ffn_up.weight"}, "lacks weights.*up_proj"),
        ({"fields": {"llama.rope.scaling.type": "yarn"}}, "scales its rotary positions .rope.scaling."),
        ({"tensors": {"rope_freqs.weight": np.array([1.0, 1.0, 4.0, 8.0], dtype=np.float32)}}, "rope_freqs.weight"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(
    tmp_path: Path, cache: Path, options: dict[str, object], sentence: str
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(), **options)  # type: ignore[arg-type]
    with pytest.raises(RefusedModelError, match=sentence):
        converted_gguf(path)
    assert not [found for found in (cache / "models").iterdir() if found.is_dir()]


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama())
    path.write_bytes(path.read_bytes().replace(b"llama", b"lxxma"))
    with pytest.raises(RefusedModelError, match="lxxma"):
        converted_gguf(path)


def test_a_file_that_is_no_gguf_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no file"):
        converted_gguf(tmp_path / "nowhere.gguf")
    whole = write_gguf(tmp_path / "tiny.gguf", tiny_llama()).read_bytes()
    for content in (b"", b"no such thing" * 10, whole[: len(whole) // 2], whole[:-1000]):
        (tmp_path / "broken.gguf").write_bytes(content)
        with pytest.raises((ModelLoadError, RefusedModelError), match=r"broken\.gguf"):
            converted_gguf(tmp_path / "broken.gguf")
