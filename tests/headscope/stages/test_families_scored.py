"""Every family from disk by defaults through the induction stage, against a loop over what transformers computes.

The reference is the model as transformers loads it by its own default, in an object of its own: eager is another model
in some families. Where the default is torch's attention, its call is replaced by a plain softmax that is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import induction
import interp
from headscope.stages.induction import measure_induction
from interp.model import HookedModel
from tests.interp import families, saved

DRAWN: dict[str, Any] = {"length": 7, "sequences": 4, "counts": "uniform"}
WINDOW = 8  # of the families that have one
WINDOWED = {  # layers that see this far
    "gpt_neo": {1},
    "mistral": {0, 1},
    "qwen2_window": {1},
    "gemma2": {0},
    "gemma3": {0},
    "gpt_oss": {0},
}
ITS_OWN_TOKENIZER = {"qwen2", "qwen2_window"}  # transformers takes another class than the folder names


def from_disk(folder: Path, family: str) -> tuple[HookedModel, Any]:
    from transformers import AutoModelForCausalLM

    saved.save(folder, family, tokenizer=family not in ITS_OWN_TOKENIZER)
    return interp.load_model(folder), AutoModelForCausalLM.from_pretrained(folder).eval()


def patterns(hf: Any, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The attention of every layer that has some, in order."""
    called: list[Tensor] = []

    def plain(
        q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, is_causal: bool = False, scale: Any = None, **_: Any
    ) -> Tensor:
        keys, values = (part.repeat_interleave(q.shape[1] // part.shape[1], 1) for part in (k, v))
        scores = q @ keys.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is None:
            assert is_causal
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        added = attn_mask.float().log() if attn_mask.dtype == torch.bool else attn_mask
        called.append((scores + added).softmax(-1))
        return called[-1] @ values

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(functional, "scaled_dot_product_attention", plain)
        eager = hf.config.get_text_config()._attn_implementation == "eager"
        answer = hf(input_ids=tokens, use_cache=False, **({"output_attentions": True} if eager else {}))
    return called or [pattern for pattern in answer.attentions if pattern is not None]


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_a_family_from_disk_is_scored_as_a_loop_over_its_patterns_says(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, hf = from_disk(tmp_path / "model", family)
    found = measure_induction(model, tmp_path / "run", **DRAWN).scores.get("prefix_matching").mean
    (group,) = induction.repeated_sequences(model, **DRAWN)
    pairs = list(zip(*(part.tolist() for part in group.targets.prefix_pairs), strict=True))
    seen = patterns(hf, group.tokens, monkeypatch)
    assert len(seen) == len(model.attention_layers)
    for layer, pattern in zip(model.attention_layers, seen, strict=True):
        near = [(q, k) for q, k in pairs if q - k < WINDOW or layer not in WINDOWED.get(family, ())]
        total = torch.stack([pattern[:, :, query, key] for query, key in near]).sum(0).mean(0)
        torch.testing.assert_close(found[layer].float(), total / len({query for query, _ in near}), atol=1e-6, rtol=0)
    assert found[sorted({0, 1} - set(model.attention_layers))].isnan().all()
