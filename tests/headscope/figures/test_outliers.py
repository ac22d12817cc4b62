"""A few values far out: where an axis ends without them, how they are marked, and matrices of many tasks."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headscope.figures.importance_scatter import importance_scatter
from headscope.figures.joint_grid import joint_grid
from headscope.figures.knock_out import ffn_knockout
from headscope.figures.layer_profile import layer_profile
from headscope.figures.outliers import BEYOND, FILLED, is_marked, limits
from headscope.figures.rank_matrix import rank_matrix
from headscope.figures.style import short
from headscope.figures.transfer import transfer_matrix
from tests.headscope.synthetic import comparison, metric

TASKS = [f"task_{letter}" for letter in "abcdefghijklmn"]


def width(values: list[float]) -> float:
    return max(values) - min(values)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-100, 100, width=16), min_size=4, max_size=9, unique=True))
def test_the_axis_is_cut_where_leaving_out_one_value_frees_most_of_it(values: list[float]) -> None:
    """By brute force: over every way of leaving out one value."""
    rests = [list(rest) for rest in combinations(values, len(values) - 1)]
    narrowest = min(rests, key=width)
    axis = limits(np.array(values), share=0.0)
    if width(narrowest) > FILLED * width(values):
        assert axis is None
    elif width(narrowest) > 0:
        assert axis is not None and axis[0] < min(narrowest) and axis[1] > max(narrowest)
        assert sum(not axis[0] <= value <= axis[1] for value in values) == 1


def test_several_may_lie_beyond_and_nought_can_be_kept() -> None:
    values = np.array([*np.linspace(1.0, 2.0, 40), 50.0, 60.0])
    assert limits(values, share=0.02) is None, "one may go, and the other would still flatten the rest"
    low, high = limits(values, share=0.1) or (0.0, 0.0)
    assert 0.9 < low < 1 and 2 < high < 2.1
    low, high = limits(values, share=0.1, zero=True) or (1.0, 0.0)
    assert low < 0 < 2 < high < 2.2
    assert limits(np.zeros(9), share=0.1) is None and limits(np.array([np.nan, 1.0, 9.0]), share=0.5) is None
    assert limits(np.array([*[3.0] * 9, 99.0]), share=0.1) is None, "what is all alike has no axis to give"


def knocked(first: float) -> pd.DataFrame:
    row: dict[str, Any] = {"variant": "", "task": "a", "ci_low": 0.0, "ci_high": 0.2}
    return pd.DataFrame([{**row, "layer": k, "mean": first if k == 0 else 0.1 + k / 100} for k in range(12)])


def test_an_ffn_that_costs_far_more_is_marked_at_the_edge() -> None:
    figure = ffn_knockout(knocked(9.25))
    (mark,) = [trace for trace in figure.data if trace.name == BEYOND]
    assert figure.layout.yaxis.range[1] < 0.3 and figure.layout.yaxis.range[0] < 0
    assert list(mark.x) == [0] and mark.text == ("9.25",) and mark.customdata[0] == "FFN 0, all positions: 9.25"
    assert figure.layout.yaxis.range[0] < mark.y[0] < figure.layout.yaxis.range[1]
    assert is_marked(figure.to_plotly_json())
    plain = ffn_knockout(knocked(0.2))
    assert plain.layout.yaxis.range is None and not is_marked(plain.to_plotly_json())


def test_the_axis_goes_by_what_is_drawn_and_single_tasks_beyond_it_are_marked() -> None:
    """The mean of two tasks is 5 at one FFN; one task alone lies far out at another, where the mean is 1."""
    first, second = knocked(9.25), knocked(0.75).assign(task="b")
    second.loc[second["layer"] == 5, "mean"] = 1.6
    figure = ffn_knockout(pd.concat([first, second], ignore_index=True))
    (mark,) = [trace for trace in figure.data if trace.name == BEYOND]
    assert dict(zip(mark.x, mark.customdata, strict=True)) == {
        0: "FFN 0, all positions: 5",
        5: "FFN 5, b, all positions: 1.6",
    }
    assert figure.layout.yaxis.range[1] < 1.2


def test_the_intervals_of_one_task_lie_on_its_axis() -> None:
    rows = knocked(9.25)
    rows.loc[rows["layer"] == 3, ["ci_low", "ci_high"]] = (-0.5, 0.9)
    low, high = ffn_knockout(rows).layout.yaxis.range
    assert low == -0.5 and high == 0.9


def test_one_head_far_more_important_than_all_others_does_not_flatten_them() -> None:
    rng = np.random.default_rng(0)
    induction, importance = rng.random((12, 12)), rng.gamma(0.6, 1.0, (12, 12))
    assert importance_scatter(induction, importance).layout.yaxis.range is None, "a long tail is no outlier"
    importance[3, 4] = 90.0
    figure = importance_scatter(induction, importance)
    (mark,) = [trace for trace in figure.data if trace.name == BEYOND]
    assert mark.customdata[0] == "head 3.4: 90" and mark.x[0] == induction[3, 4]
    assert figure.layout.yaxis.range[1] < 10


def test_one_cell_far_out_leaves_the_colours_to_the_others() -> None:
    rows = [metric(task, 0, "head", 0.8) for task in TASKS]
    for place, task in enumerate(TASKS):
        others = [other for other in TASKS if other != task]
        cell = [metric(task, 0, "head", 0.75 - place / 500, order=other, percent_heads=50.0) for other in others]
        rows += cell
    rows[-1]["value"] = -1.2
    (cells,) = transfer_matrix(pd.DataFrame(rows)).data
    assert cells.zmax == pytest.approx(0.05 + 13 / 500) and cells.zmin == -cells.zmax
    assert cells.colorbar.ticktext[0].startswith("≤") and not cells.colorbar.ticktext[-1].startswith("≥")
    assert "\u22122.0" in {text for row in cells.text for text in row}


def test_matrices_of_fourteen_tasks_have_cells_that_hold_their_numbers() -> None:
    """At 440 pixels, the width of the published page, a cell has 20: four letters of nine pixels."""
    pairs = list(combinations(TASKS, 2))
    figure = rank_matrix(pd.DataFrame([comparison("cross_task", *pair, "global", 0.5) for pair in pairs]))
    (cells,) = figure.data
    assert cells.textfont.size == 9 and cells.colorbar.orientation == "h", "the bar takes none of the width"
    assert {text for row in cells.text for text in row} == {"", ".50*"}
    assert figure.layout.annotations[0].text.startswith("correlation")
    assert rank_matrix(pd.DataFrame([comparison("cross_task", "a", "b", "global", 0.5)])).data[0].textfont.size is None


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("+0.13", ".13"),
        ("\u22120.13", "\u2212.13"),
        ("0.00", ".00"),
        ("+1.25", "1.2"),
        ("\u221212.31", "\u221212.3"),
        ("", ""),
    ],
)
def test_numbers_in_narrow_cells(text: str, shorter: str) -> None:
    assert short(text) == shorter


def test_the_joint_grid_says_what_its_colours_are() -> None:
    rows = [
        metric("a", 0, "both", 0.5 - p / 500, percent_heads=p, percent_ffns=q) for p in (0.0, 10.0) for q in (0.0, 20.0)
    ]
    figure = joint_grid(pd.DataFrame(rows))
    assert figure.layout.annotations[0].text == "change of the metric" and figure.data[0].textfont.size == 9


def test_a_layers_mean_and_its_highest_head() -> None:
    values = np.array([[0.1, 0.5, np.nan], [np.nan, np.nan, np.nan], [0.25, 0.0, 0.5]])
    lines = {line.name: list(line.y) for line in layer_profile(values).data}
    np.testing.assert_allclose(lines["mean"], [0.3, np.nan, 0.25])
    np.testing.assert_allclose(lines["highest"], [0.5, np.nan, 0.5])
    assert set(lines) == {"mean", "highest"}
    signed = {line.name: list(line.y) for line in layer_profile(-values).data}
    np.testing.assert_allclose(signed["lowest"], [-0.5, np.nan, -0.5])
