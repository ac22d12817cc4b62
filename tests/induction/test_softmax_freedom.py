"""Softmax ignores one vector added to every row of the unembedding: no score that reads the unembedding may see it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from induction import RepeatedSequences, copying_score, ov_copying_score
from induction.circuits import refuse_unreadable
from interp.errors import RefusedModelError
from interp.model import HookedModel
from interp.scores import HeadScores
from tests.induction import tiny
from tests.interp import families

REFUSED = {"gpt1", "opt-350m", "bitnet"}  # a head's result does not reach the logits by a linear map
WITHOUT_OV = {"DeepseekV3ForCausalLM", "GlmMoeDsaForCausalLM"}
READABLE = [family for family in families.FAMILIES if family not in REFUSED]


def shifted(family: str) -> HookedModel:
    """The family's model with a vector as long as the longest row added to every row; embeddings are untied for it."""
    hf: Any = families.build(family, implementation=None)
    head = hf.get_output_embeddings()
    weight = head.weight.detach()
    vector = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(9))
    head.weight = torch.nn.Parameter(weight + vector * weight.norm(dim=-1).max() / vector.norm())
    return interp.load_model(hf, tokenizer=tiny.tokenizer(), check=False)


def scored(model: HookedModel, repeated: RepeatedSequences, other: RepeatedSequences) -> list[HeadScores]:
    found = [copying_score(model, other, name, draws=0) for name in ("argmax", "attended")]  # type: ignore[arg-type]
    found += [copying_score(model, repeated, name, draws=0) for name in ("successor", "signed")]  # type: ignore[arg-type]
    if model.layout.architecture in WITHOUT_OV:
        return found
    return found + [ov_copying_score(model, variant=variant, tokens=60) for variant in ("", "raw")]  # type: ignore[arg-type]


@pytest.mark.parametrize("family", READABLE)
def test_a_vector_added_to_every_row_of_the_unembedding_changes_nothing(family: str) -> None:
    plain, other = tiny.model(family), shifted(family)
    drawn = tiny.sequences(plain), tiny.unrepeated(plain)
    with torch.no_grad():
        before, after = plain(drawn[0].tokens), other(drawn[0].tokens)
    assert (before - after).abs().max() > 0.05
    if not getattr(plain.config, "final_logit_softcapping", None):  # a cap on logits sees their level
        torch.testing.assert_close(before.softmax(-1), after.softmax(-1), rtol=1e-3, atol=1e-5)
    for one, same in zip(scored(plain, *drawn), scored(other, *drawn), strict=True):
        assert one.mean[~one.mean.isnan()].std() > 5e-5, one.title
        torch.testing.assert_close(one.mean, same.mean, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_families_without_value_projections_have_no_ov_score() -> None:
    families_without = [name for name in READABLE if tiny.model(name).layout.architecture in WITHOUT_OV]
    assert len(families_without) == len(WITHOUT_OV)
    for family in families_without:
        with pytest.raises(RefusedModelError, match="no plain q, k and v"):
            ov_copying_score(tiny.model(family))


@pytest.mark.parametrize("family", sorted(REFUSED))
def test_families_without_a_linear_path_have_none_of_these_scores(family: str) -> None:
    with pytest.raises(RefusedModelError):
        refuse_unreadable(tiny.model(family))
