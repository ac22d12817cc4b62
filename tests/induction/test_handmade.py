"""The hand-built model scores as its weights say (Method 7)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import induction
from induction import InductionScores, RepeatedSequences
from interp.model import HookedModel
from interp.scores import HeadScores
from tests.induction import handmade

LENGTH, REPEATS = 15, 4
COPIES, ANTI, SILENT = (1, 0), (1, 1), (1, 2)
PREVIOUS, UNIFORM, SAYS, DENIES = (0, 0), (0, 1), (0, 2), (0, 3)


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return handmade.model()


@pytest.fixture(scope="module")
def repeated(model: HookedModel) -> RepeatedSequences:
    return induction.repeated_sequences(model, length=LENGTH, repeats=REPEATS, sequences=6)


@pytest.fixture(scope="module")
def found(model: HookedModel, repeated: RepeatedSequences) -> InductionScores:
    return induction.induction_scores(model, repeated, draws=500)


def null_means(scores: HeadScores, at: tuple[int, int]) -> list[float]:
    return [float(null.mean[at]) for null in scores.nulls]


def test_the_model_continues_the_repeats(model: HookedModel, repeated: RepeatedSequences) -> None:
    with model.gates(heads=torch.tensor([[1.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0]])):
        said = model(repeated.tokens).argmax(-1)
    assert torch.equal(said[:, LENGTH + 1 : -1], repeated.tokens[:, LENGTH + 2 :])


@pytest.mark.parametrize("head", [COPIES, ANTI, SILENT])
def test_induction_heads_match_and_their_nulls_do_not(found: InductionScores, head: tuple[int, int]) -> None:
    scores = found.get("prefix_matching")
    assert 1 - 1e-4 < scores.mean[head] <= 1 + 1e-6
    assert len(null_means(scores, head)) == 2 and max(null_means(scores, head)) < 1e-4
    assert scores.p[head] == scores.p_family[head] == pytest.approx(1 / 501)
    assert found.get("prefix_matching", "olsson").mean[head] == pytest.approx(2 / REPEATS, abs=1e-4)


def test_a_head_without_preferences_has_its_closed_form(found: InductionScores) -> None:
    positions = range(1 + LENGTH, 1 + REPEATS * LENGTH)
    copies = [(i - 1) // LENGTH for i in positions]
    share = np.mean([count / (i + 1) for i, count in zip(positions, copies, strict=True)])
    for name in ("prefix_matching", "duplicate_token"):
        scores = found.get(name)
        assert scores.mean[UNIFORM] == pytest.approx(share, rel=1e-5)
        assert null_means(scores, UNIFORM) == pytest.approx([share] * 2, rel=1e-5)
    count = [1 / (i + 1) for i in range(2, 1 + REPEATS * LENGTH)]
    assert found.get("previous_token").mean[UNIFORM] == pytest.approx(np.mean(count), rel=1e-5)
    on_content = [i / (i + 1) for i in range(2, 1 + REPEATS * LENGTH)]
    told = found.get("copying", "argmax").provenance["mean attention on content"]
    assert told[UNIFORM] == pytest.approx(np.mean(on_content), rel=1e-5)


@pytest.mark.parametrize("head", [PREVIOUS, SAYS, DENIES])
def test_previous_token_heads_look_there(found: InductionScores, head: tuple[int, int]) -> None:
    scores = found.get("previous_token")
    assert scores.mean[head] == pytest.approx(1, abs=1e-4)
    assert scores.p_family[head] == pytest.approx(1 / 501) and null_means(scores, head)[0] < 1e-4
    assert found.get("prefix_matching").mean[head] < 1e-4


def test_what_is_said_is_told_from_what_is_denied(found: InductionScores) -> None:
    successor, signed = found.get("copying", "successor"), found.get("copying", "signed")
    standard = (LENGTH - 1) ** 0.5  # one raised token among L
    assert successor.mean[COPIES] == pytest.approx(1, abs=1e-4) and successor.mean[ANTI] < 1e-4
    assert signed.mean[COPIES] == pytest.approx(standard, rel=1e-4)
    assert signed.mean[ANTI] == pytest.approx(-standard, rel=1e-4)
    assert signed.mean[SILENT] == successor.mean[SILENT] == signed.mean[UNIFORM] == 0
    assert signed.p[COPIES] == signed.p[ANTI] == pytest.approx(1 / 501)
    auc = found.get("copying", "signed_auc")
    assert [float(auc.mean[head]) for head in (COPIES, ANTI, SILENT)] == pytest.approx([1, -1, 0])


@pytest.mark.parametrize("variant", ["argmax", "attended"])
def test_copying_the_attended_token(found: InductionScores, variant: str) -> None:
    scores = found.get("copying", variant)
    assert scores.mean[SAYS] == pytest.approx(1, abs=1e-3) and scores.mean[DENIES] < 1e-3
    assert scores.mean[PREVIOUS] == scores.mean[UNIFORM] == 0
    assert scores.p_family[SAYS] == pytest.approx(1 / 501)
    assert scores.null_mean[SAYS] == pytest.approx(scores.provenance["chance"], abs=0.01)


def test_classes(found: InductionScores) -> None:
    classes = found.heads.classes
    assert [str(classes[head]) for head in (COPIES, ANTI, SILENT)] == ["copying", "anti-copying", "matching only"]
    assert found.heads.heads == [COPIES, ANTI, SILENT]
    assert set(found.heads.sweep.values()) == {3}
    alone = induction.induction_heads(found.get("prefix_matching"))
    assert set(alone.classes.flatten()) == {"", "matching only"} and alone.heads == found.heads.heads


def test_circuits(model: HookedModel, found: InductionScores) -> None:
    for variant in ("", "raw"):
        ov = found.get("ov_copying", variant).mean
        assert ov[COPIES] == pytest.approx(1, abs=1e-4) and ov[ANTI] == pytest.approx(-1, abs=1e-4)
        assert ov[SILENT] == 0
    composition = induction.composition_scores(model)
    for later in (COPIES, ANTI, SILENT):
        assert composition.rank_of(PREVIOUS, later, "k") == 1
        ratio = (handmade.WIDTH / handmade.VOCAB) ** 0.5  # all of W_K's directions, each of the same size
        assert composition.of(PREVIOUS, later, "k") == pytest.approx(ratio, rel=1e-4)
        assert composition.of(PREVIOUS, later, "q") < 1e-3


def test_the_model_learns_in_context(model: HookedModel, repeated: RepeatedSequences) -> None:
    with model.gates(heads=torch.tensor([[1.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0]])):
        measured = induction.in_context_learning_score(model, repeated)
        losses = torch.nn.functional.cross_entropy(
            model(repeated.tokens)[:, :-1].mT, repeated.tokens[:, 1:], reduction="none"
        )
    again = losses[:, 1 + LENGTH :].mean(1)  # predicted from queries that have an earlier copy
    torch.testing.assert_close(measured.per_sequence, again - losses[:, :LENGTH].mean(1))
    assert measured.repeat < -1 and np.isnan(measured.natural) and "no natural text" in measured.skipped
