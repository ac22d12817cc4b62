"""What a user of TransformerLens tries first: it works, or the sentence says where it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import interp
from interp import FFNMask, HeadMask, HeadScores
from interp.errors import UsageError
from interp.model import HookedModel
from interp.usual import USUAL
from tests.interp.saved import save

TEXT = "t5 t9 t7 t5 t9"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HookedModel:
    return interp.load_model(save(tmp_path_factory.mktemp("moves")))


@pytest.fixture(scope="module")
def scores() -> HeadScores:
    items = torch.arange(24.0).view(3, 2, 4) / 24
    return HeadScores.from_items("prefix_matching", items, n_kv_heads=2)


def test_1_tokens_of_a_text_and_back(model: HookedModel) -> None:
    tokens = model.to_tokens(TEXT)
    assert tokens.tolist() == [model.tokenizer(TEXT)["input_ids"]]
    assert model.to_str_tokens(TEXT) == model.to_str_tokens(tokens) == TEXT.split()
    assert model.to_string(tokens[0]) == TEXT


def test_2_a_text_runs(model: HookedModel) -> None:
    assert torch.equal(model(TEXT), model(model.to_tokens(TEXT)))
    with pytest.raises(UsageError, match="the text is empty"):
        model("")


def test_3_a_cache_without_names_holds_the_usual_places(model: HookedModel) -> None:
    logits, cache = model.run_with_cache(TEXT)
    assert torch.equal(logits, model(TEXT))
    assert set(re.findall(r"(\w+) \(2 layers\)", repr(cache))) == set(USUAL)
    _, named = model.run_with_cache(TEXT, ["z", "pattern"])
    for place in (("z", 1), ("pattern", 0), ("blocks.1.attn.hook_z")):
        assert torch.equal(cache[place], named[place])
    with pytest.raises(KeyError, match=r"names=\['q'\]"):
        cache["q", 0]


def test_3_a_cache_that_would_not_fit_asks_for_names(model: HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """[1, 5] tokens, 2 layers: 3 x d_model + heads x (d_value + 5) numbers of 4 bytes a token and layer."""
    size = 5 * 2 * (3 * model.d_model + model.n_heads * (model.d_value + 5)) * 4
    monkeypatch.setattr("interp.usual.MOST", size)
    model.run_with_cache(TEXT)
    monkeypatch.setattr("interp.usual.MOST", size - 1)
    with pytest.raises(UsageError, match=r"resid_pre, .* of 1 x 5 tokens take .* GiB.*name what you want"):
        model.run_with_cache(TEXT)


def test_4_one_heads_score(scores: HeadScores) -> None:
    assert scores[1, 2] == pytest.approx(14 / 24) and isinstance(scores[1, 2], float)
    assert torch.equal(scores[1], scores.mean[1])
    with pytest.raises(UsageError, match=r"no value at \(1, 6\): there are 2 x 4, counted from 0"):
        scores[1, 6]
    with pytest.raises(TypeError, match=r"\.top\(10\) has the highest"):
        list(scores)


def test_5_heads_by_list_wherever_heads_are_removed(model: HookedModel, scores: HeadScores) -> None:
    mask = HeadMask.keep_all(2, 4).without([(0, 1), (1, 3)])
    with model.gates(heads=mask, ffns=FFNMask.keep_all(2).without([1])):
        wanted = model(TEXT)
    assert float((wanted - model(TEXT)).abs().max()) > 1e-4
    for heads in ([(0, 1), (1, 3)], "0.1,1.3", ["0.1", "L1H3"], ((0, 1), (1, 3))):
        with model.gates(heads=heads, ffns=[1]):
            assert torch.equal(model(TEXT), wanted)
    with model.gates(heads=scores.top(2)):
        top = model(TEXT)
    with model.gates(heads=[(1, 3), (1, 2)]):
        assert torch.equal(model(TEXT), top)
    for heads, told in (([(0, 9)], r"head 0\.9 does not exist"), ([18], "'18' is not a head"), ("x", "'x' is not a")):
        with pytest.raises(UsageError, match=told), model.gates(heads=heads):
            pass


def test_6_a_few_tokens_more_with_heads_removed(model: HookedModel) -> None:
    """Against a loop written out: at every step the whole text, without the head."""

    def written_out() -> list[int]:
        tokens = model.to_tokens(TEXT)
        for _ in range(6):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
        return tokens[0].tolist()

    tokens = model.to_tokens(TEXT)
    assert model.generate(tokens, 6)[0].tolist() == written_out()
    with model.gates(heads=[(0, 1), (1, 0), (1, 2)]):
        assert model.generate(tokens, 6)[0].tolist() == written_out()
    text = model.generate(TEXT, 3)
    assert isinstance(text, str) and text.startswith(TEXT)
    drawn = [model.generate(tokens, 4, temperature=2.0, seed=seed)[0].tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(UsageError, match="one sequence at a time"):
        model.generate(torch.cat([tokens, tokens]), 2)
    with pytest.raises(UsageError, match="max_new_tokens is 1 or more"):
        model.generate(tokens, 0)


def test_6_writing_ends_at_the_end_of_text_and_of_the_context(
    model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = model.to_tokens(TEXT)
    first, second = model.generate(tokens, 2)[0, -2:].tolist()
    monkeypatch.setattr(model.hf.generation_config, "eos_token_id", [second])
    assert len(model.generate(tokens, 10)[0]) == 5 + (1 if first == second else 2)
    monkeypatch.setattr(model.hf.generation_config, "eos_token_id", None)
    monkeypatch.setattr(model.config, "eos_token_id", None)
    monkeypatch.setitem(model.__dict__, "max_length", 7)
    assert len(model.generate(tokens, 10)[0]) == 7


def test_7_everything_shows_itself_in_one_line(model: HookedModel, scores: HeadScores) -> None:
    mask = HeadMask.keep_all(2, 4).without([(0, 1)])
    shown = {
        repr(scores): "<HeadScores prefix matching, 2 x 4 heads, 3 items: 1.3 0.625, 1.2 0.583, 1.1 0.542>",
        repr(mask): "<HeadMask 2 x 4: without 0.1>",
        repr(FFNMask.keep_all(3)): "<FFNMask 3: nothing is removed>",
        repr(scores.ranking()): "<Ranking of 8 heads by prefix_matching, removed first: 0.0, 0.1, 0.2>",
        repr(model).partition(":")[2]: " LlamaForCausalLM, 2 layers x 4 heads (2 kv heads), float32 on cpu>",
    }
    for told, wanted in shown.items():
        assert told == wanted


def test_8_a_notebook_shows_scores_as_the_table_of_their_top_ten(scores: HeadScores) -> None:
    table = scores._repr_html_()
    assert table.count("<tr>") == 1 + 8 and "<td>1.3</td><td>0.625</td>" in table
    assert "<th>null</th>" not in table  # none was drawn
    hostile = HeadScores.from_items("<script>", torch.rand(2, 2, 2))
    assert "<script>" not in hostile._repr_html_()


def test_9_an_edit_is_a_context(model: HookedModel) -> None:
    def zero(z: torch.Tensor) -> torch.Tensor:
        z = z.clone()
        z[:, :, 1] = 0
        return z

    with model.edit("blocks.0.attn.hook_z", zero):
        edited = model(TEXT)
    with model.gates(heads=[(0, 1)]):
        torch.testing.assert_close(model(TEXT), edited)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("cfg", "model.config"),
        ("run_with_hooks", r"with model\.edit\('z', change, layer=3\)"),
        ("W_Q", r"model\.w_qkv\(layer, 'q'\)"),
        ("W_U", "get_output_embeddings"),
        ("ln_final", r"model\.bridge\(\)"),
        ("run_with_cahe", "did you mean run_with_cache"),
    ],
)
def test_10_what_is_not_there_says_where_it_is(model: HookedModel, name: str, way: str) -> None:
    with pytest.raises(AttributeError, match=way) as caught:
        getattr(model, name)
    assert "model.bridge() is TransformerLens's own view" in str(caught.value)
    assert not hasattr(model, "_ipython_display_") and not hasattr(model, name)


def test_a_property_that_fails_says_why_itself(model: HookedModel) -> None:
    broken: Any = HookedModel(None, None, model.layout)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        _ = broken.config


def test_loading_shows_no_bars_of_transformers(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    interp.load_model(save(tmp_path), check=False)
    assert "Loading weights" not in capfd.readouterr().err
