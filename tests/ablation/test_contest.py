"""The contest's sets by hand, its drops against evaluations one by one, its groups of tasks document by document."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from ablation.contest import (
    ABSTRACTIVE,
    ALL_TASKS,
    CLASS,
    CONTROL,
    DOSE,
    EXTRACTIVE,
    FUNCTION,
    INDUCTION,
    KEPT,
    LEFT_OUT,
    NEGATIVE,
    TESTED,
    answer_in_query,
    contest,
    contest_sets,
    contest_task,
    controlled,
    copied_units,
    evaluate_at_last,
    matches,
    removals,
    with_random,
)
from ablation.evaluation import evaluate
from ablation.gold import gold_documents
from ablation.references import make_replacement
from ablation.replacement import At
from ablation.statistics.primary import primary
from ablation.tasks import PROBES, load_task
from ablation.tasks.names import PROBE_KINDS
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load

LAYERS, HEADS = 4, 6
EXISTS = np.ones((LAYERS, HEADS), dtype=bool)
PREFIX = np.arange(24.0).reshape(LAYERS, HEADS)[:, ::-1].copy()
CLASSED = ((1, 0), (3, 1), (3, 0))


def rankings() -> dict[str, np.ndarray]:
    """Function vectors: 3.0 highest, then 2.5 and 0.2, one layer without a score."""
    fv = np.zeros((LAYERS, HEADS))
    fv[3, 0], fv[2, 5], fv[0, 2] = 3, 2, 1
    fv[1] = np.nan
    return {INDUCTION: PREFIX, FUNCTION: fv}


def sets_of(**options):  # type: ignore[no-untyped-def]
    return contest_sets(rankings(), CLASSED, EXISTS, prefix_matching=PREFIX, controls=5, **options)


def one(sets, **wanted):  # type: ignore[no-untyped-def]
    (found,) = [s for s in sets if all(getattr(s, name) == value for name, value in wanted.items())]
    return found


def test_every_arm_has_as_many_heads_as_the_class_and_rivals_once_more_without_what_they_share() -> None:
    sets = sets_of()
    main = {"share": CLASS, "overlap": KEPT, "role": TESTED}
    assert one(sets, arm=INDUCTION, **main).heads == ((1, 0), (3, 0), (3, 1))
    assert one(sets, arm=FUNCTION, **main).heads == ((0, 2), (2, 5), (3, 0))
    alone = {"share": CLASS, "overlap": LEFT_OUT, "role": TESTED}
    assert one(sets, arm=INDUCTION, **alone).heads == ((1, 0), (3, 1))
    assert one(sets, arm=FUNCTION, **alone).heads == ((0, 2), (2, 5))


def test_controls_are_of_the_same_layers_and_hold_no_tested_head() -> None:
    sets = sets_of()
    for overlap in (KEPT, LEFT_OUT):
        for arm in (INDUCTION, FUNCTION):
            tested = one(sets, arm=arm, share=CLASS, overlap=overlap, role=TESTED).heads
            controls = [s for s in sets if (s.arm, s.overlap, s.role) == (arm, overlap, CONTROL)]
            assert len({s.heads for s in controls}) == 5
            for control in controls:
                assert sorted(layer for layer, _ in control.heads) == sorted(layer for layer, _ in tested)
                assert not set(control.heads) & set(tested)


def test_the_lowest_of_the_same_layers_shares_and_doses() -> None:
    sets = sets_of(shares=(10, 50), doses=(0.25,))
    # PREFIX falls from head 0 to head 5: the lowest of a layer are its last ones.
    assert one(sets, role=NEGATIVE).heads == ((1, 5), (3, 4), (3, 5))
    assert one(sets, arm=INDUCTION, share="10%").heads == ((3, 0), (3, 1), (3, 2))  # ceil(2.4) of 24
    assert len(one(sets, arm=FUNCTION, share="50%").heads) == 9  # of the 18 that have a score
    dose = one(sets, arm=INDUCTION, role=DOSE)
    model = load("llama")
    values = replace(dose, heads=((0, 1),)).mask(model).values
    assert values[0, 1] == 0.75 and values.sum() == values.numel() - 0.25


def test_no_class_no_contest_and_random_heads_are_heads() -> None:
    with pytest.raises(UsageError, match="as there are induction heads, and there is none"):
        contest_sets(rankings(), (), EXISTS)
    missing = EXISTS.copy()
    missing[2] = False
    drawn = with_random(rankings(), missing, seed=3)["random"]
    assert np.isnan(drawn[2]).all() and len(set(drawn[missing])) == 18
    assert not np.array_equal(drawn, with_random(rankings(), missing, seed=4)["random"], equal_nan=True)


def test_controls_and_doses_are_removed_in_their_ways_only() -> None:
    wanted = removals(sets_of())
    ways = {
        role: {(r.ablation, r.positions) for r in wanted if r.heads.role == role} for role in (TESTED, CONTROL, DOSE)
    }
    assert ways[TESTED] == {(a, p) for a in ("mean", "zero") for p in ("all", "last")}
    assert ways[CONTROL] == {("mean", "all"), ("mean", "last")} and ways[DOSE] == {("mean", "all")}
    tested = next(m for m in matches(wanted) if m.tested.heads.role == TESTED and m.tested.heads.arm == INDUCTION)
    assert len(tested.controls) == 5
    alone = [m for m in matches(wanted) if m.tested.heads.share != CLASS or m.tested.heads.role != TESTED]
    assert len(alone) > 10 and not any(m.controls for m in alone)


def test_the_negative_control_of_a_crowded_layer_is_smaller_than_the_class_and_has_no_controls() -> None:
    """Four of six heads of a layer are induction heads: two lowest ones are left, where controls have four heads."""
    classed = ((1, 0), (1, 1), (1, 2), (1, 3))
    sets = contest_sets(rankings(), classed, EXISTS, prefix_matching=PREFIX, controls=5)
    assert one(sets, role=NEGATIVE).heads == ((1, 4), (1, 5))
    assert {len(s.heads) for s in sets if (s.arm, s.role) == (INDUCTION, CONTROL)} == {4}
    negatives = [m for m in matches(removals(sets)) if m.tested.heads.role == NEGATIVE]
    assert len(negatives) == 4 and not any(m.controls for m in negatives)


# --- drops -----------------------------------------------------------------------------------------------------------


def test_drops_are_evaluations_one_by_one() -> None:
    model = load("llama")
    task = SmallTask(tuple(documents(6)))
    ranking = {INDUCTION: np.arange(float(model.n_layers * model.n_heads)).reshape(model.n_layers, model.n_heads)}
    exists = np.ones((model.n_layers, model.n_heads), dtype=bool)
    sets = contest_sets(ranking, ((0, 1), (1, 2)), exists, controls=3, shares=(20,), doses=(0.5,))
    means = make_replacement(model, "mean", documents(6, seed=2, name="ref"), minimum=1)
    replacements = {"mean": means, "zero": None}
    wanted = removals(sets)
    counted: list[int] = []
    at_last = mock.Mock(wraps=evaluate_at_last)
    found = contest_task(model, task, wanted, replacements, at_last=at_last, progress=counted.append)
    assert sum(counted) == len(wanted)
    assert at_last.call_count == 2, "a prompt is run once by mean and once by zero, for the sets of all arms"
    full = evaluate(model, task)
    for removal in wanted:
        stand_in = replacements[removal.ablation]
        if removal.positions == "last":
            stand_in = At("last", stand_in)
        values = HeadMask.keep_all(model.n_layers, model.n_heads).values.clone()
        for layer, head in removal.heads.heads:
            values[layer, head] = 1 - removal.heads.dose
        removed = evaluate(model, task, heads=values, replacement=stand_in)
        for outcome in ("choice", "mass", "metric"):
            expected = full.outcome(outcome).values - removed.outcome(outcome).values
            np.testing.assert_allclose(found.drop(removal, outcome), expected, atol=3e-5)


# --- groups of tasks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBES)
def test_documents_that_copy_are_told_apart(name: str) -> None:
    """In extractive probes every answer stands in the query; in the others only under the rule that leaves the word."""
    task = load_task(name)
    copied = {document.id for document in task.documents if answer_in_query(document)}
    if PROBE_KINDS[name] == EXTRACTIVE:
        assert len(copied) == len(task.documents)
    else:
        unchanged = {document.id for document in task.documents if document.pool == "unchanged"}
        assert unchanged <= copied and len(copied - unchanged) <= 4


def test_an_abstractive_task_is_read_without_what_it_copies() -> None:
    model, exists = load("llama"), np.ones((2, 4), dtype=bool)
    task = SmallTask(tuple(documents(6)), name="probe_capitals")
    sets = contest_sets({INDUCTION: np.arange(8.0).reshape(2, 4)}, ((0, 1),), exists, controls=3, shares=(), doses=())
    wanted = removals(sets, ways=(("zero", "all"),), controlled=(("zero", "all"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys.modules["ablation.contest"], "answer_in_query", lambda document: document.id in ("t/1", "t/4")
        )
        found = contest_task(model, task, wanted, {"zero": None})
        assert copied_units(task) == {"t/1", "t/4"}
    (match,) = matches(wanted)
    assert found.kind == ABSTRACTIVE and found.in_group(ABSTRACTIVE) and not found.in_group(EXTRACTIVE)
    whole, kept = (found.drop(match.tested, "choice", group) for group in (ALL_TASKS, ABSTRACTIVE))
    np.testing.assert_array_equal(kept, whole[[0, 2, 3, 5]])
    np.testing.assert_array_equal(found.level("choice", ABSTRACTIVE), found.full.choice[[0, 2, 3, 5]])
    assert list(found.labels("choice", ABSTRACTIVE)) == [0, 1, 2, 3]
    assert match.of([found], "choice", EXTRACTIVE) == []
    (drops,) = match.of([found], "choice", ABSTRACTIVE)
    assert drops.controls.shape == (3, 4)


def test_in_one_call() -> None:
    """The drop beyond the controls is that of evaluations of each set by itself."""
    model, task = load("llama"), SmallTask(tuple(documents(6)))
    ranking = {INDUCTION: np.arange(8.0).reshape(2, 4)}
    references = documents(64, seed=2, name="ref")
    options = {"controls": 3, "shares": (), "doses": (), "ways": (("mean", "all"),)}
    found = contest(model, [task], ranking, ((0, 1),), references={"small": references}, **options)
    stand_in = make_replacement(model, "mean", references, evaluated=gold_documents(model, task), seed=0)

    def mass(heads: Sequence[tuple[int, int]]) -> float:
        values = HeadMask.keep_all(model.n_layers, model.n_heads).values.clone()
        for layer, head in heads:
            values[layer, head] = 0
        return float(evaluate(model, task, heads=values, replacement=stand_in).mass.mean())

    read = [match for match in matches(found.removals) if match.controls]
    assert {match.tested.heads.arm for match in read} == {INDUCTION, "random"}
    for match in read:
        result = primary(match.of(found.tasks, "mass", ALL_TASKS))
        own, controls = mass(match.tested.heads.heads), [mass(control.heads.heads) for control in match.controls]
        assert result.n_controls == len(controls) == 3
        assert result.drop.value == pytest.approx(mass(()) - own, abs=3e-5)
        assert result.beyond.value == pytest.approx(np.mean(controls) - own, abs=3e-5)
    with pytest.raises(UsageError, match="small has none: give references"):
        contest(model, [task], ranking, ((0, 1),), references={})


def test_every_set_has_controls_in_every_way_where_all_are_asked_for() -> None:
    sets = sets_of(controls_of="all", shares=(10, 80))
    wanted = removals(sets, controlled=controlled("all"))
    for match in matches(wanted):
        own, heads = match.tested.heads, set(match.tested.heads.heads)
        many = own.role == TESTED and own.share != "80%"  # 80% leave fewer heads than they take
        assert bool(match.controls) == many, own
        for control in match.controls:
            assert not heads & set(control.heads.heads) and len(control.heads.heads) == len(heads)
            assert (control.ablation, control.positions) == (match.tested.ablation, match.tested.positions)
            assert (control.heads.share, control.heads.overlap) == (own.share, own.overlap)
    assert [one for one in sets if one.share == CLASS] == [one for one in sets_of(shares=()) if one.share == CLASS]
