"""The causal check: its control sets, and an outcome whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.causal import CausalCheck, Removed, Shots, causal_check
from ablation.control_sets import KINDS, HeadSet, all_sets, control_sets, induction_sets, norm_gap
from ablation.evaluation import Evaluation, evaluate
from ablation.references import make_replacement
from ablation.replacement import At, Deferred
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load

GRID = np.ones((10, 9), dtype=bool)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 12), kind=st.sampled_from(KINDS))
def test_control_sets_never_hold_a_tested_head(seed: int, size: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    tested = [(int(p) // 9, int(p) % 9) for p in draw.choice(90, size, replace=False)]
    norms = draw.lognormal(size=GRID.shape)
    made = control_sets(tested, GRID, kind=kind, n=8, norms=norms, seed=seed)
    assert len({one.heads for one in made}) == len(made) <= 8
    for one in made:
        assert len(set(one.heads)) == size and not set(one.heads) & set(tested)
        if kind != "random" and not one.moved:
            assert sorted(layer for layer, _ in one.heads) == sorted(layer for layer, _ in tested)


def test_39_sets_unless_there_are_fewer() -> None:
    assert len(control_sets([(0, 0), (3, 2), (5, 5)], GRID, kind="layer_matched")) == 39
    assert len(control_sets([(0, 0)], GRID, kind="layer_matched")) == 8


def test_norm_matched_sets_are_closer_in_norm() -> None:
    draw = np.random.default_rng(0)
    norms, tested = draw.lognormal(sigma=2, size=GRID.shape), [(1, 1), (4, 7), (4, 2), (8, 0)]
    near = control_sets(tested, GRID, kind="norm_matched", norms=norms)
    any_ = control_sets(tested, GRID, kind="layer_matched", norms=norms)
    assert max(one.norm_gap for one in near) < np.median([one.norm_gap for one in any_])
    assert norm_gap(tested, tested[::-1], norms) == 0


def test_group_matched_controls_take_as_many_of_a_kv_group() -> None:
    groups = np.arange(10)[:, None] * 3 + np.arange(9) // 3
    tested = [(2, 0), (2, 1), (5, 4), (7, 8)]
    found = control_sets(tested, GRID, kind="group_matched", groups=groups, norms=np.ones(GRID.shape), n=10)
    assert len(found) == 10 and len({one.heads for one in found}) == 10
    for one in found:
        pairs = [head // 3 for layer, head in one.heads if layer == 2]
        assert len(pairs) == 2 and pairs[0] == pairs[1] and not set(one.heads) & set(tested)
        assert sorted(layer for layer, _ in one.heads) == [2, 2, 5, 7] and one.norm_gap == 0 and not one.moved


def test_a_full_layer_borrows_from_the_nearest() -> None:
    tested = [(3, head) for head in range(6)]  # three heads left in layer 3
    for one in control_sets(tested, GRID, kind="layer_matched", n=5):
        layers = [layer for layer, _ in one.heads]
        assert one.moved == 3 and layers.count(3) == 3 and set(layers) <= {2, 3, 4}


def test_layers_without_heads_are_left_out() -> None:
    exists = GRID.copy()
    exists[2] = False
    for kind in ("random", "layer_matched"):
        for one in control_sets([(1, 0), (3, 0)], exists, kind=kind):
            assert all(layer != 2 for layer, _ in one.heads)


def test_induction_sets_are_the_highest_scores_and_the_class() -> None:
    scores = np.full((10, 9), np.nan)
    scores[1:] = np.arange(81).reshape(9, 9)
    sets = induction_sets(scores, classed=[(4, 1)])
    assert {name: len(heads) for name, heads in sets.items()} == {
        "top 1%": 1,
        "top 3%": 3,
        "top 5%": 5,
        "top 10%": 9,
        "induction heads": 1,
    }
    assert sets["top 3%"] == ((9, 8), (9, 7), (9, 6))


def evaluation(values: list[float], gold: list[float]) -> Evaluation:
    """Documents d0, d1, ... with one choice each."""
    names, zeros, right = tuple(f"d{n}" for n in range(len(values))), (0,) * len(values), np.array(values, float)
    return Evaluation(
        task="t",
        shots=0,
        metric_name="acc",
        log_likelihoods=[[float(value)] for value in gold],
        values=right,
        units=names,
        clusters=names,
        documents=names,
        document_clusters=names,
        right=right,
        gold=zeros,
        target_lengths=zeros,
        dropped=zeros,
        trimmed=zeros,
    )


def test_the_drop_is_of_the_gain_from_demonstrations() -> None:
    """Heads that take the k-shot gain away, and controls that lower both alike, which is no drop."""
    full = Shots(evaluation([1, 1, 1, 1], [-1] * 4), evaluation([0, 0, 1, 1], [-3] * 4))
    tested = Shots(evaluation([0, 0, 1, 1], [-4] * 4), evaluation([0, 0, 1, 1], [-4] * 4))
    control = Shots(evaluation([1, 1, 0, 0], [-2] * 4), evaluation([0, 0, 0, 0], [-4] * 4))
    sets = [Removed(HeadSet("top", "induction", 0, ((0, 0),)), "zero", tested, 0.5)]
    sets += [Removed(HeadSet("top", "random", n, ((1, n),)), "zero", control) for n in range(39)]
    check = CausalCheck("t", 5, full, tuple(sets))
    (metric,) = check.tests("metric")
    assert metric.drop == 0.5 and metric.rank.p == 1 / 40 and metric.rank.median == 0
    (gold,) = check.tests("log_likelihood")
    assert gold.drop == 2 and gold.rank.median == 0 and len(gold.controls) == 39
    frame = check.to_frame()
    assert len(frame) == 80 and frame.loc[0, "repeat_loss"] == 0.5 and frame["kind"].value_counts()["random"] == 78
    assert metric.effect is not None and np.isnan(metric.effect.value)  # controls that do not differ at all
    assert metric.levels == pytest.approx({"few": 1, "none": 0.5, "shuffled": np.nan}, nan_ok=True)
    assert metric.removed_levels == pytest.approx({"few": 0.5, "none": 0.5, "shuffled": np.nan}, nan_ok=True)
    first = frame[frame["outcome"] == "log_likelihood"].iloc[0]
    levels = [first[f"{model}_{condition}"] for model in ("full", "removed") for condition in ("few", "none")]
    assert levels == [-1, -3, -4, -4] and first["drop"] == levels[0] - levels[1] - levels[2] + levels[3]
    with pytest.raises(UsageError, match="outcome"):
        check.tests("loss")
    with pytest.raises(UsageError, match="gain, learning, format"):
        check.tests("metric", "drop")


def test_all_sets_are_evaluated_with_and_without_demonstrations() -> None:
    model, docs = load("gpt2"), documents(6)
    few = SmallTask(tuple(replace(d, contexts=tuple((9, 8, 7, *c) for c in d.contexts)) for d in docs), shots=1)
    none = SmallTask(tuple(docs))
    references = documents(5, seed=8, name="r")
    ways = {"zero": None, "mean": make_replacement(model, "mean", references, minimum=5)}
    told: list[tuple[int, int]] = []
    check = causal_check(
        model,
        few,
        none,
        {"top": [(0, 1)]},
        norms=np.ones((2, 4)),
        controls=2,
        replacements=ways,
        repeat_loss=lambda mask, replacement: float(len(mask.removed())),
        progress=lambda *pair: told.append(pair),
    )
    assert len(check.removed) == 2 * (1 + 3 * 2) and told[-1] == (14, 14)
    assert [one.repeat_loss for one in check.removed if one.heads.kind == "induction"] == [1.0, 1.0]
    mask = HeadMask.keep_all(2, 4).without([(0, 1)])
    gains = [
        evaluate(model, few, heads=m).gold_log_likelihoods - evaluate(model, none, heads=m).gold_log_likelihoods
        for m in (None, mask)
    ]
    np.testing.assert_allclose(check.drop(check.removed[0], "log_likelihood"), gains[0] - gains[1], atol=1e-5)
    assert {(t.ablation, t.control) for t in check.tests()} == {
        (a, c) for a in ("zero", "mean") for c in ("random", "layer_matched", "norm_matched")
    }


def test_stored_evaluations_take_the_place_of_runs() -> None:
    """A program hands its own evaluator over; a deferred replacement is then never made, and draws have a pair each."""
    model, docs = load("gpt2"), documents(4)
    few, none = SmallTask(tuple(docs), shots=2), SmallTask(tuple(docs))
    held = evaluate(model, none)
    asked: list[tuple[int, int, str]] = []

    def stored(model: Any, task: Any, *, heads: Any = None, replacement: Any = None) -> Evaluation:
        asked.append((task.shots, 0 if heads is None else len(heads.removed()), getattr(replacement, "mark", "")))
        return held

    def never() -> Any:
        raise AssertionError("was made")

    ways = {"zero": None, "mean": (Deferred("mean", never, "k"), Deferred("mean", never, "0"))}
    sets = list(all_sets({"top": [(0, 1), (1, 1)]}, np.ones((2, 4), dtype=bool), controls=1, kinds=("layer_matched",)))
    check = causal_check(model, few, none, sets, replacements=ways, evaluate=stored)
    assert [one.ablation for one in check.removed] == ["zero", "zero", "mean", "mean"]
    assert asked[:2] == [(2, 0, ""), (0, 0, "")]
    assert asked[2:] == [*[(2, 2, ""), (0, 2, "")] * 2, *[(2, 2, "k"), (0, 2, "0")] * 2]
    assert {one.heads.kind for one in check.removed} == {"induction", "layer_matched"}
    assert not check.drop(check.removed[0], "metric").any()


def test_every_outcome_contrast_and_way_of_removal() -> None:
    """Mean and zero, at three choices of positions, with shuffled labels: each drop is that of evaluations by hand."""
    model, docs = load("llama"), documents(6)
    few, shuffled = (
        SmallTask(tuple(replace(d, contexts=tuple((*front, *c) for c in d.contexts)) for d in docs), shots=2)
        for front in ((9, 8, 7), (9, 6, 7))
    )
    none = SmallTask(tuple(docs))
    references = (documents(64, seed=8, name="r"), documents(64, seed=9, name="r"))
    check = causal_check(
        model,
        few,
        none,
        {"top": [(0, 1), (1, 2)]},
        shuffled=shuffled,
        references=references,
        positions=("all", "later", "last"),
        controls=1,
        kinds=("group_matched",),
    )
    names = [f"{name}{place}" for name in ("mean", "zero") for place in ("", "/later", "/last")]
    tested = {one.ablation: one for one in check.removed if one.heads.kind == "induction"}
    assert list(tested) == names
    mask = HeadMask.keep_all(2, 4).without([(0, 1), (1, 2)])
    means = [make_replacement(model, "mean", held) for held in references]
    by_hand = {"mean": means, "zero": [None, None], "mean/last": [At("last", one) for one in means]}
    for name, (with_shots, without) in by_hand.items():
        ways = ((few, with_shots), (shuffled, with_shots), (none, without))
        lost = [
            evaluate(model, task).choice - evaluate(model, task, heads=mask, replacement=way).choice
            for task, way in ways
        ]
        for contrast, expected in (
            ("gain", lost[0] - lost[2]),
            ("learning", lost[0] - lost[1]),
            ("format", lost[1] - lost[2]),
        ):
            np.testing.assert_allclose(check.drop(tested[name], "choice", contrast), expected, atol=1e-5)
    drops = {name: check.drop(one, "choice") for name, one in tested.items()}
    assert len({tuple(np.round(drop, 7)) for drop in drops.values()}) == 6
    frame = check.to_frame(["choice", "metric"])
    assert len(frame) == 2 * 3 * 6 * 2 and frame["full_shuffled"].notna().all()
    assert {(test.ablation, test.control) for test in check.tests("mass", "learning")} == {
        (name, "group_matched") for name in names
    }


def test_the_effect_is_in_standard_deviations_of_the_controls() -> None:
    """Controls whose drops of the 5-shot log-likelihood are .1 apart, a tested set that loses 2 nats."""
    none = evaluation([1] * 6, [-3.0, -3.1, -2.9, -3.0, -3.2, -2.8])
    few = evaluation([1] * 6, [-1.0] * 6)
    full = Shots(few, none)

    def lost(nats: float, draw: int, kind: str) -> Removed:
        noise = 0.01 * np.arange(6)
        shots = Shots(evaluation([1] * 6, list(-1.0 - nats - noise)), none)
        return Removed(HeadSet("top", kind, draw, ((draw, draw),)), "zero", shots)

    sets = [lost(2.0, 0, "induction"), *(lost(0.1 * k, k, "layer_matched") for k in range(5))]
    (found,) = CausalCheck("t", 5, full, tuple(sets)).tests("log_likelihood")
    deviation = np.std([0, 0.1, 0.2, 0.3, 0.4], ddof=1)
    assert found.effect is not None and found.effect.value == pytest.approx((2.0 - 0.2) / deviation)
    assert found.effect.low < found.effect.value < found.effect.high
    drops = CausalCheck("t", 5, full, tuple(sets)).task_drops(found)
    np.testing.assert_allclose(drops.tested, 2.0 + 0.01 * np.arange(6))
    assert drops.controls.shape == (5, 6) and drops.clusters.tolist() == list(range(6))
    (few_controls,) = CausalCheck("t", 5, full, tuple(sets[:3])).tests("log_likelihood")
    assert few_controls.effect is None


def test_how_heads_are_removed_has_to_be_said() -> None:
    model, held = load("gpt2"), SmallTask(tuple(documents(2)))
    with pytest.raises(UsageError, match="at least 64 reference documents"):
        causal_check(model, held, held, {"top": [(0, 1)]})
    with pytest.raises(UsageError, match="name at least one ablation"):
        causal_check(model, held, held, {"top": [(0, 1)]}, ablations=())
    with pytest.raises(UsageError, match="all, later, last"):
        causal_check(model, held, held, {"top": [(0, 1)]}, ablations=("zero",), positions=("first",))


def test_what_can_not_be_matched_is_refused() -> None:
    with pytest.raises(UsageError, match="too few for a control set"):
        control_sets([(0, head) for head in range(5)], np.ones((1, 9), dtype=bool), kind="random")
    with pytest.raises(UsageError, match="norms"):
        control_sets([(0, 0)], GRID, kind="norm_matched")
    with pytest.raises(UsageError, match="norm_matched"):
        control_sets([(0, 0)], GRID, kind="same")
    assert {one.kind for one in all_sets({"a": [(0, 0)]}, GRID, controls=2)} == {"induction", "random", "layer_matched"}
    few, none = evaluation([1.0], [0.0]), evaluation([1.0, 1.0], [0.0, 0.0])
    with pytest.raises(UsageError, match="same documents"):
        Shots(few, none)
