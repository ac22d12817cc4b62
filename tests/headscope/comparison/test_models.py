"""Runs of several models in one table: its numbers by another route, and what may not stand in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from headscope.comparison.models import compare_models, distinct_names, removable, slopes, steps_of
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError
from tests.headscope.several import model_run
from tests.headscope.synthetic import IDENTITY

SIZES = {"a": 4000, "b": 1000, "c": 64_000, "d": 16_000, "e": 256_000}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Five models of 2 to 6 layers; effects .5, 1, 1.5, ... in the order of their names."""
    home = tmp_path_factory.mktemp("models")
    made = [
        model_run(home / name, parameters=size, layers=2 + place, effect=0.5 + place / 2)
        for place, (name, size) in enumerate(SIZES.items())
    ]
    return [open_run(folder) for folder in made]


def test_a_row_is_what_the_run_holds(runs: list[Any]) -> None:
    table = compare_models(runs).table
    assert list(table["run"]) == sorted(SIZES, key=SIZES.__getitem__)
    for run in runs:
        (row,) = (row for row in table.to_dict("records") if row["run"] == run.folder.name)
        heads = list(zip(run.classes["layer"], run.classes["class"], strict=True))
        last = max(layer for layer, _ in heads)
        depths = [layer / last for layer, kind in heads if kind]
        assert row["layers"] == last + 1 and row["heads"] == len(heads) == 4 * (last + 1)
        assert row["induction_heads"] == len(depths) > 0
        assert row["depth"] == pytest.approx(sum(depths) / len(depths))
        assert (row["depth_first"], row["depth_last"]) == (min(depths), max(depths))
        effect = 0.5 + list(SIZES).index(row["run"]) / 2
        assert (row["effect"], row["effect_low"], row["effect_high"]) == (effect, effect - 1.5, effect + 1.25)
        assert (row["drop"], row["gain"], row["tasks"], row["controls"]) == (effect / 4, 1.25, 2, 39)
        assert (row["parameters"], row["p"], row["tested"]) == (SIZES[row["run"]], 0.025, "induction heads")
        assert np.isnan(row["steps"])


def test_a_run_without_a_stage_has_no_number_of_it(tmp_path: Path) -> None:
    folders = [model_run(tmp_path / "one", layers=1, effect=None, parameters=None), model_run(tmp_path / "two")]
    found = compare_models([open_run(folder) for folder in folders])
    one = found.table.set_index("run").loc["one"]
    assert one[["effect", "drop", "gain", "tasks", "p", "parameters", "removable", "depth"]].isna().all()
    assert found.table.set_index("run").loc["two"]["effect"] == 2.0 and not found.against


def test_the_removable_share_is_that_of_heads_over_all_tasks_in_their_own_order() -> None:
    rows = pd.DataFrame(
        [
            {"kind": kind, "a": a, "b": b, "shots": shots, "level": level, "value": value}
            for kind, a, b, shots, level, value in (
                ("removable_kept", "pooled tasks", "own", 0, "head/zero", 10.0),
                ("removable_kept", "pooled tasks", "own", 5, "head/zero", 30.0),
                ("removable_kept", "pooled tasks", "random", 5, "head/zero", 5.0),
                ("removable_kept", "pooled tasks", "own", 5, "ffn/zero", 20.0),
                ("removable_kept", "copa", "own", 5, "head/zero", 60.0),
                ("removable_metric", "pooled tasks", "own", 5, "head/zero", 70.0),
            )
        ]
    )
    assert removable(rows) == 30 and np.isnan(removable(rows.iloc[2:]))
    mean = rows.iloc[[1]].assign(level="head/mean", value=40.0)
    assert removable(pd.concat([rows, mean])) == 40


def test_a_slope_is_least_squares_with_students_interval(runs: list[Any]) -> None:
    found = compare_models(runs)
    assert found.against == "parameters" and [slope.outcome for slope in found.slopes] == ["effect", "depth"]
    for slope in found.slopes:
        x = np.log10([SIZES[run.folder.name] for run in runs])
        y = np.array([found.table.set_index("run").loc[run.folder.name, slope.outcome] for run in runs])
        design = np.column_stack([np.ones(5), x])
        weights, (rest,), *_ = np.linalg.lstsq(design, y, rcond=None)
        error = np.sqrt(rest / 3 * np.linalg.inv(design.T @ design)[1, 1])
        wanted = weights[1] + np.array([0, -1, 1]) * student.ppf(0.975, 3) * error
        np.testing.assert_allclose([slope.value, slope.low, slope.high], wanted, rtol=1e-9)
        assert slope.n == 5


def test_four_models_have_no_slope_nor_have_runs_of_which_two_things_differ(runs: list[Any]) -> None:
    assert not compare_models(runs[:4]).slopes and compare_models(runs[:4]).against == "parameters"
    both = compare_models(runs, steps=[0, 1, 2, 3, 4])
    assert not both.slopes and not both.against
    assert compare_models(runs, steps=[7] * 5).against == "parameters"


def test_checkpoints_are_told_apart_by_their_steps(tmp_path: Path) -> None:
    made = [model_run(tmp_path / f"step-{step:06d}", effect=step / 500) for step in (0, 4000, 1000, 2000, 3000)]
    found = compare_models([open_run(folder) for folder in made])
    assert found.against == "steps" and list(found.table["steps"]) == [0, 1000, 2000, 3000, 4000]
    (effect,) = (slope for slope in found.slopes if slope.outcome == "effect")
    assert effect.value == pytest.approx(2.0) and effect.low == pytest.approx(2.0)


def test_an_outcome_that_four_runs_have_is_left_out_of_the_slopes() -> None:
    table = pd.DataFrame({"parameters": [1.0, 10.0, 100.0, 1e3, 1e4], "steps": [np.nan] * 5})
    outcomes = {"effect": [1.0, 2.0, 3.0, 4.0, np.nan], "depth": [0.5, 0.4, 0.3, 0.2, 0.1], "removable": [np.nan] * 5}
    (only,) = slopes(table.assign(**outcomes), "parameters")
    assert only.outcome == "depth" and only.value == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("identity", "steps"),
    [
        ({"source": "step-000200"}, 200),
        ({"source": "EleutherAI/pythia-70m", "revision": "step143000"}, 143_000),
        ({"source": "model_step_12"}, 12),
        ({"source": "llama-l2-d64"}, np.nan),
        ({"source": "footstep7"}, np.nan),
    ],
)
def test_steps_in_names(identity: dict[str, str], steps: float) -> None:
    np.testing.assert_equal(steps_of(identity), float(steps))


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6, unique_by=tuple))
def test_names_of_different_folders_differ(parts: list[list[str]]) -> None:
    names = distinct_names([Path("/", *path) for path in parts])
    assert len(set(names)) == len(parts)
    assert all("/".join(["", *path]).endswith(name.removeprefix("/")) for path, name in zip(parts, names, strict=True))


# ---- what may not stand in one table --------------------------------------------------------------------------------


def refusal(*folders: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as refused:
        compare_models([open_run(folder) for folder in folders], **options)
    return str(refused.value)


def test_equal_weights_under_two_names_are_refused(tmp_path: Path) -> None:
    twins = [model_run(tmp_path / name, weights="feedfacecafe") for name in ("mine", "yours")]
    said = refusal(*twins)
    assert "mine" in said and "yours" in said and "hold the same weights (feedfacecafe)" in said
    assert "same weights" in refusal(twins[0], twins[0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"limit": 20}, "limit of the primary question is 40 and 20"),
        ({"tasks": ["probe_labels"]}, "the list of tasks of the primary question is"),
        ({"documents": {"probe_labels, 5 shots": "cccc"}}, "the documents of 'probe_labels, 5 shots' (their hash)"),
    ],
)
def test_another_protocol_is_refused_by_the_name_of_what_differs(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    said = refusal(model_run(tmp_path / "one"), model_run(tmp_path / "two", **changed))
    assert words in said and "unlike protocol" in said and "one'" in said and "two'" in said


def test_other_sequences_are_refused_and_a_task_that_one_model_does_not_learn_is_not(tmp_path: Path) -> None:
    one, two, long = (tmp_path / name for name in ("one", "two", "long"))
    model_run(one)
    model_run(two, documents={"probe_pattern, 5 shots": "bbbb"})
    assert len(compare_models([open_run(one), open_run(two)]).table) == 2
    identity = {**IDENTITY, "source": "long", "weight_hash": "x"}
    model_run(long, weights="x")
    with begin_stage(long, identity, Stage("induction", "quick", options={"length": 60})):
        pass
    assert "repeats of the induction scores" in refusal(one, long) or "length of the" in refusal(one, long)


def test_one_run_alone_steps_of_another_number_and_a_run_without_scores(tmp_path: Path) -> None:
    one, two = model_run(tmp_path / "one"), model_run(tmp_path / "two")
    assert "nothing to stand beside" in refusal(one)
    assert "--steps has 1 numbers and there are 2 runs" in refusal(one, two, steps=[5])
    empty = tmp_path / "empty"
    with begin_stage(empty, {**IDENTITY, "weight_hash": "y"}, Stage("study", "probes")):
        pass
    assert "holds no finished induction scores" in refusal(one, empty) and "headscope induction" in refusal(one, empty)
