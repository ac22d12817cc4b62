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


@pytest.mark.longest
def test_induction_heads_retrieve(smollm2: HookedModel) -> None:
    """Six contexts of 256 tokens: 18.6 and 23.7 look at the password, and not at the other keys' passwords."""
    prompts = induction.needle_prompts(smollm2, lengths=(256,), each=2)
    hard, soft, *_ = induction.retrieval_scores(smollm2, prompts, draws=DRAWS)
    found = induction.retrieval_heads(hard)
    for head in ((18, 6), (23, 7)):
        assert hard.mean[head] > 0.35 and soft.mean[head] > 0.2 and bool(found[head])
        assert soft.p_family[head] < 0.05 and soft.nulls[0].mean[head] < 0.5 * soft.mean[head]
    assert 20 <= int(found.sum()) <= 70


@pytest.mark.longest
def test_token_induction_is_carried_by_heads_that_copy(smollm2: HookedModel) -> None:
    """Eight prompts: patching 23.2 or 18.6 brings the token back, and no head of so small a model the whole name."""
    prompts = induction.entity_prompts(smollm2, prompts=8)
    concept, token, *_ = induction.concept_scores(smollm2, prompts, draws=2000)
    for head in ((23, 2), (18, 6)):
        assert token.mean[head] > 0.5 and token.p[head] < 0.02 and token.nulls[0].mean[head] < 0.3
    assert token.mean[24, 4] < 0  # it writes against the token that it finds
    assert concept.mean.max() < 0.2 * token.mean.max()


def test_heads_that_rest(smollm2: HookedModel) -> None:
    """18.8 leaves nine tenths of its attention on position 0, whatever it reads; 18.6 only where there is no copy."""
    random = induction.sink_score(smollm2, induction.repeated_sequences(smollm2, sequences=4))
    natural = induction.sink_score(smollm2, induction.natural_prompts(smollm2, prompts=6))
    assert induction.dormant_heads(random, natural)[18, 8]
    assert random.mean[18, 6] < 0.4 and natural.mean[18, 6] > 0.7
