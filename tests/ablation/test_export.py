"""Export: plain transformers reads the pruned model and gives the gated model's logits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation.export import RECORD, export
from interp.errors import RefusedModelError, StoreError, UsageError
from interp.masks import FFNMask, HeadMask
from tests.interp.families import FAMILIES, load, random_tokens

HEADS = HeadMask.keep_all(2, 4).without([(0, 1), (1, 0), (1, 3)])
FFNS = FFNMask.keep_all(2).without([1])


def plain(folder: Path) -> Any:
    import transformers

    # Eager: Hugging Face's own sdpa differs from its eager attention on Falcon with ALiBi.
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="eager").eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_gives_the_gated_logits(family: str, tmp_path: Path) -> None:
    model, tokens = load(family), random_tokens()
    heads = HEADS if 0 in model.attention_layers else HeadMask.keep_all(2, 4).without([(1, 0), (1, 3)])
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    with torch.no_grad(), model.gates(heads=heads, ffns=FFNS):
        expected = model(tokens)
    folder = export(model, heads, FFNS, tmp_path / "pruned")
    with torch.no_grad():
        found = plain(folder)(input_ids=tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    with torch.no_grad():
        assert float((found - model(tokens)).abs().max()) > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in model.hf.state_dict().items())


def test_what_was_removed_stands_beside_the_weights(tmp_path: Path) -> None:
    folder = export(load("llama"), HEADS, FFNS, tmp_path / "pruned")
    record = json.loads((folder / RECORD).read_text())
    assert record["removed_heads"] == ["0.1", "1.0", "1.3"] and record["removed_ffns"] == [1]
    assert record["model"]["weight_hash"]
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]


def test_nothing_removed_is_the_model_itself(tmp_path: Path) -> None:
    model = load("gpt2")
    hf = plain(export(model, None, None, tmp_path / "same"))
    assert all(torch.equal(weight, model.hf.state_dict()[name]) for name, weight in hf.state_dict().items())


@pytest.mark.parametrize(
    ("heads", "ffns", "options", "words"),
    [
        (torch.ones(3, 4), None, {}, "another model"),
        (None, torch.ones(3), {}, "another model"),
        (torch.full((2, 4), 0.5), None, {}, "1 .keep. or 0 .remove."),
        (HEADS, None, {"ablation": "mean"}, "can't be written"),
    ],
)
def test_bad_masks_and_other_ablations_are_refused(
    heads: Any, ffns: Any, options: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        export(load("gpt2"), heads, ffns, tmp_path / "pruned", **options)
    assert not list(tmp_path.iterdir())


def test_heads_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no attention heads"):
        export(load("lfm2"), HEADS, None, tmp_path / "pruned")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="already"):
        export(load("gpt2"), HEADS, None, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_model_whose_zeroed_weights_are_not_its_gates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("gpt2")
    monkeypatch.setattr(sys.modules["ablation.export"], "ffn_weights", lambda model, layer: [])
    with pytest.raises(RefusedModelError, match="can't be exported"):
        export(model, None, FFNS, tmp_path / "pruned")
    assert not list(tmp_path.iterdir())
