"""A GGUF file and the folder made of it are the same model; what would be read wrongly is refused."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import interp
from interp import gguf_conversion
from interp.cache import facts_of, kept_folder
from interp.errors import ModelLoadError, RefusedModelError
from interp.gguf_conversion import converted_gguf, weights_note
from interp.gguf_keys import settle
from tests.interp.gguf_files import MERGES, TOKENS, gguf_tensors, interleaved, tiny, tiny_llama, write_gguf

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


FIVE_THOUSAND = {"rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
GEMMA = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "sliding_window": 16, "head_dim": 16}
GEMMA_KEYS = {
    "gemma2.attn_logit_softcapping": 2.0,
    "gemma2.final_logit_softcapping": 3.0,
    "gemma2.attention.sliding_window": 16,
    "gemma2.attention.key_length": 16,
    "gemma2.attention.value_length": 16,
}


@pytest.mark.parametrize(
    ("kind", "options", "fields"),
    [
        ("Starcoder2Config", {"norm_epsilon": 1e-3, **FIVE_THOUSAND}, {}),
        ("Gemma2Config", {**GEMMA, "query_pre_attn_scalar": 16, **FIVE_THOUSAND}, GEMMA_KEYS),
    ],
)
def test_keys_that_transformers_drops_are_set(
    tmp_path: Path, kind: str, options: dict[str, Any], fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotary base, soft-caps, the scale of attention: without them the logits are one to two of their spreads off."""
    model, tokens = tiny(kind, **options), torch.arange(3, 63)[None]
    path = write_gguf(tmp_path / "tiny.gguf", model, fields=fields)
    back = AutoModelForCausalLM.from_pretrained(converted_gguf(path))
    with torch.no_grad():
        expected = model(tokens).logits
        assert torch.allclose(back(tokens).logits, expected, atol=1e-5)
        monkeypatch.setattr(gguf_conversion, "settle", lambda *given: [])
        dropped = gguf_conversion._read_model(path, gguf_conversion.read_header(path))
        assert float((dropped(tokens).logits - expected).abs().max() / expected.std()) > 0.5


def test_the_scale_of_gemmas_attention_is_llama_cpps() -> None:
    """By the width of a head, and in the models of 27B by the stream's width a head."""
    keys = {"embedding_length": 4608, "attention.head_count": 32, "attention.key_length": 128}
    for blocks, scalar in ((46, 144), (42, 128)):
        config = transformers.Gemma2Config(
            hidden_size=4608, num_attention_heads=32, num_hidden_layers=blocks, head_dim=128
        )
        assert settle(config, "gemma2", {**keys, "block_count": blocks}) == []
        assert config.query_pre_attn_scalar == scalar
    config = transformers.Gemma3TextConfig(head_dim=256)
    config.rope_parameters["sliding_attention"]["rope_theta"] = 1e6
    keys = {"rope.freq_base": 5e5, "attention.sliding_window_pattern": 6, "attention.sliding_window": 512}
    assert settle(config, "gemma3", {**keys, "block_count": 26, "attention.layer_norm_rms_epsilon": 1e-6}) == []
    bases = [config.rope_parameters[kind]["rope_theta"] for kind in ("full_attention", "sliding_attention")]
    assert (bases, config.query_pre_attn_scalar, config.sliding_window) == ([5e5, 1e4], 256, 512)
    assert [str(one) for one in settle(config, "gemma3", {"attention.sliding_window_pattern": 5})] == [
        "attention.sliding_window_pattern = 5, and the configuration has no such number"
    ]


def test_a_window_that_only_transformers_has_is_taken_off(tmp_path: Path) -> None:
    """It calls a Llama file by the name of mistral a Mistral, and gives it a window of 4,096."""
    folder = converted_gguf(write_gguf(tmp_path / "tiny.gguf", tiny_llama(), fields={"general.name": "mistral"}))
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "llama" and "sliding_window" not in config


@pytest.mark.parametrize(("key", "value"), [("rope.dimension_count", 12), ("rope.dimension_count", 24)])
def test_a_part_of_a_head_that_is_rotated(key: str, value: int) -> None:
    config = transformers.StableLmConfig(hidden_size=128, num_attention_heads=4)
    assert settle(config, "stablelm", {key: value, "rope.freq_base": 3e4}) == []
    assert config.rope_parameters["partial_rotary_factor"] * 32 == value
    assert config.rope_parameters["rope_theta"] == 3e4
    assert settle(transformers.Qwen2Config(), "qwen2", {key: value}) != []


@pytest.mark.parametrize(
    ("types", "file_type", "note"),
    [
        (("Q8_0", "Q4_1"), gguf.LlamaFileType.MOSTLY_Q4_1, r"Q4_1, .* \(68% Q4_1, 32% Q8_0\)"),
        (("Q4_1", "Q4_1"), gguf.LlamaFileType.MOSTLY_Q4_1, "Q4_1, dequantised to float32"),
        (("Q8_0", "Q4_1"), gguf.LlamaFileType.MOSTLY_Q4_K_M, r"Q4_K_M, .* \(68% Q4_1, 32% Q8_0\)"),
        (("Q8_0", "Q4_1"), None, r"Q4_1, dequantised to float32 \(68% Q4_1, 32% Q8_0\)"),
        (("F16", "F16"), gguf.LlamaFileType.MOSTLY_F16, "F16, dequantised to float32"),
    ],
)
def test_a_file_is_called_by_its_own_type_and_its_mix_is_told(
    tmp_path: Path, types: tuple[str, str], file_type: Any, note: str
) -> None:
    """The largest type of a Q4_K_M file may be that of its embedding."""
    rest, embedding = (gguf.GGMLQuantizationType[name] for name in types)
    rest, embedding = (rest, embedding) if types[0] == types[1] else (embedding, rest)
    path = write_gguf(
        tmp_path / "tiny.gguf",
        tiny("LlamaConfig", hidden_size=96, tie_word_embeddings=True),
        kind=rest,
        kinds={"token_embd.weight": embedding, "blk.0.ffn_up.weight": embedding, "blk.1.ffn_up.weight": embedding},
        file_type=file_type,
    )
    told = weights_note(converted_gguf(path))
    assert told is not None and re.fullmatch(note, told), told


@pytest.mark.parametrize(
    "facts",
    [{"tensor_types": {"Q4_1": "x"}, "quantisation": "Q4_0"}, {"tensor_types": {"Q4_1": 0}, "quantisation": "Q4_0"}, {}]
    + [{"tensor_types": kinds, "quantisation": name} for kinds, name in ((None, "Q4_0"), ({"Q4_1": 1}, None))],
)
def test_a_folder_that_notes_something_else_has_no_such_note(tmp_path: Path, facts: dict[str, Any]) -> None:
    folder = kept_folder("thing", lambda _: facts)
    assert facts_of(folder) == facts and weights_note(folder) is None


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
        ({"tensors": {"blk.2.attn_q.weight": np.ones((64, 64), np.float32)}}, r"1 of its tensors.*blk\.2\.attn_q"),
        ({"tensors": {"blk.1.attn_sinks.weight": np.ones(4, np.float32)}}, r"1 of its tensors.*blk\.1\.attn_sinks"),
        (
            {"fields": {"llama.logit_scale": 0.25}},
            r"says logit_scale = 0\.25, and the configuration has no such number",
        ),
        ({"fields": {"llama.attention.clamp_kqv": 8.0}}, r"attention\.clamp_kqv = 8\.0.*model's own checkpoint"),
        ({"fields": {"llama.a_new_trick": 3}}, "a_new_trick = 3.*would be lost in the conversion"),
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
