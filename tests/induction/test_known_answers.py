"""SmolLM2-135M-Instruct, Q4_1: the heads of Method 7 come out as it says, with the nulls far below."""

from __future__ import annotations

import pytest

import induction
from induction import InductionScores
from interp.model import HookedModel

pytestmark = pytest.mark.slow
DRAWS = 500


@pytest.fixture(scope="module")
def found(smollm2: HookedModel) -> InductionScores:
    """Six sequences of the quick protocol, where 20 are usual."""
    return induction.induction_scores(smollm2, induction.repeated_sequences(smollm2, sequences=6), draws=DRAWS)


def test_the_strongest_prefix_matching_heads(found: InductionScores) -> None:
    scores = found.get("prefix_matching")
    (first, second, *_) = scores.top(3)
    assert first[:2] == (18, 6) and first.score == pytest.approx(0.92, abs=0.06)
    assert second[:2] == (17, 3) and second.score == pytest.approx(0.8, abs=0.06)
    for null in scores.nulls:
        assert null.mean[18, 6] < 0.1 and null.mean[17, 3] < 0.1
        assert null.p_family[18, 6] == pytest.approx(1 / (DRAWS + 1))


def test_classes(found: InductionScores) -> None:
    classes = found.heads.classes
    assert classes[23, 2] == classes[23, 7] == "copying"
    assert classes[24, 4] == "anti-copying"
    prefix, signed = found.get("prefix_matching").mean, found.get("copying", "signed").mean
    assert prefix[24, 4] == pytest.approx(0.42, abs=0.06) and signed[24, 4] == pytest.approx(-2.67, abs=0.3)
    assert signed[23, 2] > 1 and signed[23, 7] > 1


def test_no_direct_copying_is_not_no_induction(found: InductionScores) -> None:
    """17.3 matches, and what it writes is at chance."""
    scores = found.get("copying", "successor")
    assert scores.mean[17, 3] == pytest.approx(1 / 50, abs=0.01)
    assert scores.mean[23, 2] > 5 / 50 and scores.p_family[23, 2] == pytest.approx(1 / (DRAWS + 1))


def test_the_previous_token_head_composes_with_induction_heads(smollm2: HookedModel, found: InductionScores) -> None:
    previous = found.get("previous_token")
    assert previous.mean[16, 0] > 0.5 and previous.p_family[16, 0] == pytest.approx(1 / (DRAWS + 1))
    later = [(17, 3), (17, 4), (17, 5), (18, 6), (18, 7), (18, 8)]
    composition = induction.composition_scores(smollm2, kinds=("k",), pairs=[((16, 0), head) for head in later])
    for head in later:
        assert 3.6 <= composition.of((16, 0), head) <= 4.1
        assert composition.rank_of((16, 0), head) <= 2


CENTRED = {(23, 2): 0.99, (23, 7): 0.91, (18, 6): 0.80, (20, 6): 0.79, (17, 3): 0.32, (24, 4): -0.97}


def test_ov_copying_over_a_centred_unembedding(found: InductionScores) -> None:
    scores = found.get("ov_copying").mean
    assert {head: round(float(scores[head]), 4) for head in CENTRED} == pytest.approx(CENTRED, abs=0.01)


def test_tied_embeddings_mislead_the_raw_ov_score(found: InductionScores) -> None:
    """On W_E itself the best copier has the wrong sign, and so has the head that writes against what it finds."""
    raw = found.get("ov_copying", "raw").mean
    assert raw[23, 2] < -0.1 and raw[24, 4] > 0.3
