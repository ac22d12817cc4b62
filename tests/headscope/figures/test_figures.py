"""Figures from small tables whose answers are worked out by hand, and what every figure must keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from headscope import figures
from headscope.figures.catalogue import _knockouts, _profiles, _pruning, reliable
from headscope.figures.dots import Dot, dot_plot, dots_of
from headscope.figures.importance_scatter import importance_scatter
from headscope.figures.joint_grid import joint_grid
from headscope.figures.knock_out import ffn_knockout
from headscope.figures.overlap import overlap_curves
from headscope.figures.pruning import curves_by_draw, pruning_curves
from headscope.figures.rank_matrix import rank_matrix, shot_matrix
from headscope.figures.retention import retention_curves
from headscope.figures.style import cell_texts
from headscope.figures.transfer import transfer_matrix
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.snapshot import Stored
from headscope.store.writer import begin_stage
from interp.errors import UsageError
from interp.figure import mosaic
from interp.theme import PALETTE, colourscale, for_scripts, heat, plain_text
from tests.headscope.synthetic import IDENTITY, Shape, comparison, metric, write_run

TASKS = ("copa", "<b>rte</b>")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("figures") / "run"
    return open_run(write_run(folder, shape=Shape(6, 4, 2), study=True, tasks=TASKS))


@pytest.fixture(scope="module")
def drawn(run: Run) -> list[tuple[str, go.Figure]]:
    stored = Stored(run)
    return [(entry.name, panel.draw()) for entry in figures.CATALOGUE for panel in entry.panels(stored)]


def trace(figure: go.Figure, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


# --- the answers ---------------------------------------------------------------------------------------------------


def test_the_mosaic_shows_the_values_and_picks_its_scale_by_sign() -> None:
    values = np.array([[0.0, 0.5], [np.nan, 1.0]])
    (cells,) = mosaic(values).data
    np.testing.assert_array_equal(cells.z, values)
    assert (cells.zmin, cells.zmax) == (0.0, 1.0)
    (cells,) = mosaic(np.array([[-2.0, 0.5]])).data
    assert (cells.zmin, cells.zmax) == (-2.0, 2.0), "a diverging scale is centred on 0"
    (cells,) = mosaic(np.array([[-1e-9, 0.5]])).data
    assert cells.zmin == 0.0, "rounding below 0 is no sign"
    assert heat(np.full((1, 1), np.nan))["zmax"] == 1.0


def test_pruning_averages_tasks_and_seeds_and_bands_draws() -> None:
    rows = []
    for task, base in (("a", 0.4), ("b", 0.6)):
        for p in (0.0, 50.0):
            rows += [
                metric(task, 0, "head", base - p / 500 + 0.02 * seed, percent_heads=p, demo_seed=seed)
                for seed in (0, 1)
            ]
            for draw in range(21):
                value = base - (draw / 100 if p else 0)
                rows.append(metric(task, 0, "head", value, percent_heads=p, order="random", order_seed=draw))
    figure = pruning_curves(frame(*rows), component="head")
    np.testing.assert_allclose(trace(figure, "own ranking").y, [0.51, 0.41])
    line = trace(figure, "random (21 draws)")
    np.testing.assert_allclose(line.y, [0.5, 0.4])
    (shade,) = [one for one in figure.data if one.fill == "toself"]
    np.testing.assert_allclose(shade.x, [0, 50, 50, 0])
    np.testing.assert_allclose(shade.y, [0.5, 0.49, 0.31, 0.5])  # 95th percentile out, 5th back


def test_pruning_tells_how_many_draws_the_steps_have() -> None:
    """Two commands with unlike numbers of draws: steps of both are one line, and its label says so."""
    rows = [
        metric("a", 0, "head", 0.5 + draw / 10, percent_heads=p, order="random", order_seed=draw)
        for p, draws in ((0.0, 4), (30.0, 2), (50.0, 4))
        for draw in range(draws)
    ]
    figure = pruning_curves(frame(*rows), component="head")
    np.testing.assert_allclose(trace(figure, "random (2 to 4 draws)").y, [0.65, 0.55, 0.65])


def test_pruning_leaves_out_percentages_that_a_task_lacks() -> None:
    rows = frame(
        metric("a", 0, "head", 0.8), metric("b", 0, "head", 0.4), metric("a", 0, "head", 0.7, percent_heads=10.0)
    )
    assert curves_by_draw(rows, "percent_heads").index.tolist() == [0.0]


def test_pruning_by_other_tasks_is_one_line() -> None:
    told_rows = [("a", "b", 0.5), ("a", "c", 0.3), ("b", "a", 0.6), ("b", "c", 0.2)]
    rows = frame(*(metric(task, 0, "head", value, order=order) for task, order, value in told_rows))
    figure = pruning_curves(rows, component="head")
    assert [one.name for one in figure.data] == ["other tasks' rankings, mean"]
    np.testing.assert_allclose(figure.data[0].y, [0.4])


def test_the_joint_grid_is_a_difference_to_the_full_model() -> None:
    rows = frame(
        *(
            metric(task, 0, "both", base - p / 100 - q / 200, percent_heads=p, percent_ffns=q)
            for task, base in (("a", 0.5), ("b", 0.7))
            for p in (0.0, 10.0)
            for q in (0.0, 20.0)
        )
    )
    (cells,) = joint_grid(rows).data
    np.testing.assert_allclose(cells.z, [[0, -0.1], [-0.1, -0.2]], atol=1e-12)
    assert [list(row) for row in cells.text] == [["0.000", "\u22120.100"], ["\u22120.100", "\u22120.200"]]
    assert list(cells.x) == ["0", "10"] and list(cells.y) == ["0", "20"]


def test_the_rank_matrix_is_symmetric_with_stars() -> None:
    rows = frame(
        comparison("cross_task", "a", "b", "global", 0.5, p_holm=0.04),
        comparison("cross_task", "a", "c", "global", -0.25, p_holm=0.06),
    )
    (cells,) = rank_matrix(rows).data
    np.testing.assert_array_equal(cells.z, np.asarray(cells.z).T)
    assert cells.text[0][1] == ".50*" and cells.text[2][0] == "\u2212.25" and cells.text[1][2] == ""
    assert np.isnan(cells.z[0][0]) and (cells.zmin, cells.zmax) == (-1.0, 1.0)
    assert "p (Holm) 0.04" in cells.customdata[0][1] and "[0.420, 0.580]" in cells.customdata[0][1]


def test_numbers_of_shots_stand_side_by_side_task_by_task() -> None:
    rows = frame(
        comparison("cross_shot", "aggregate@0", "aggregate@5", "global", 0.9, shots=-1),
        comparison("cross_shot", "copa@0", "copa@5", "global", 0.5, shots=-1, p_holm=0.04),
        comparison("cross_shot", "copa@1", "copa@5", "global", 0.7, shots=-1),
    )
    figure = shot_matrix(rows)
    (cells,) = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["aggregate", "copa"]
    assert list(figure.layout.xaxis.ticktext) == ["0 and 5 shots", "1 and 5 shots"]
    np.testing.assert_array_equal(cells.z, [[0.9, np.nan], [0.5, 0.7]])
    assert cells.text[1][0] == ".50*" and cells.customdata[0][0].startswith("aggregate@0 and aggregate@5<br>0.900")


def test_ablations_are_never_averaged(tmp_path: Path) -> None:
    writer = begin_stage(tmp_path / "run", IDENTITY, Stage("prune", "probes"))
    writer.add_metrics(frame(metric("copa", 0, "head", 0.9), metric("copa", 0, "head", 0.1, ablation="mean")))
    curves = {ablation: writer.figure("pruning_heads", ablation=ablation).data[0].y[0] for ablation in ("zero", "mean")}
    assert curves == {"zero": 0.9, "mean": 0.1}
    assert writer.figure("pruning_heads", ablation="mean").layout.title.text == "copa, 0 shots, mean ablation"


def test_transfer_subtracts_the_full_model_of_the_same_task() -> None:
    rows = frame(
        metric("a", 0, "head", 0.8),
        metric("b", 0, "head", 0.6),
        metric("a", 0, "head", 0.7, percent_heads=50.0),
        metric("a", 0, "head", 0.5, percent_heads=50.0, order="b"),
        metric("b", 0, "head", 0.6, percent_heads=50.0),
        metric("b", 0, "head", 0.2, percent_heads=50.0, order="a"),
    )
    figure = transfer_matrix(rows)
    (cells,) = figure.data
    assert figure.layout.xaxis.ticktext == ("own", "a", "b") and figure.layout.yaxis.ticktext == ("a", "b")
    np.testing.assert_allclose(cells.z, [[-0.1, np.nan, -0.3], [0.0, -0.4, np.nan]], atol=1e-12)


def test_retention_and_overlap_read_the_percentage_from_the_level() -> None:
    pair = ("prefix_matching", "importance/token")
    rows = frame(*(comparison("retention_raw", *pair, f"p={p}", 1 - p / 100) for p in (100, 5, 0)))
    line = retention_curves(rows).data[1]
    assert list(line.x) == [0, 5, 100] and line.name == "Prefix matching"
    np.testing.assert_allclose(line.y, [1, 0.95, 0])
    rows = frame(*(comparison(kind, *pair, "q=7", 0.3) for kind in ("overlap", "overlap_expected_free")))
    assert [one.name for one in overlap_curves(rows).data] == ["Prefix matching and importance (token)", "chance"]


def test_dots_stand_above_their_controls_outcome_by_outcome() -> None:
    controls = tuple(np.linspace(0.0, 1.0, 21))
    dots = [
        Dot("mean", 2.0, (1.5, 2.75), controls, "choice"),
        Dot("zero", 3.0, (nan, nan), (), "choice", (0.25, 0.5)),
        Dot("mean", 0.1, (0.05, 0.2), (0.01, 0.03), "metric"),
    ]
    figure = dot_plot(dots)
    tested = [one for one in figure.data if one.name.startswith("tested")]
    assert [list(one.x) for one in tested] == [[2.0, 3.0], [pytest.approx(10.0)]], "accuracy is in points"
    np.testing.assert_allclose(tested[0].error_x.array, [0.75, 0.0])
    np.testing.assert_allclose(tested[0].error_x.arrayminus, [0.5, 0.0])
    np.testing.assert_allclose([tested[1].error_x.array[0], tested[1].error_x.arrayminus[0]], [10.0, 5.0])
    bars = [list(one.x) for one in figure.data if one.name.startswith("5th")]
    assert bars[:2] == [[pytest.approx(0.05), pytest.approx(0.95)], [0.25, 0.5]]
    points = [list(one.x) for one in figure.data if "control sets" in one.name]
    assert points == [list(controls), [pytest.approx(1.0), pytest.approx(3.0)]]
    assert figure.layout.xaxis.title.text.endswith("choice, nats") and "points" in figure.layout.xaxis2.title.text
    assert figure.layout.yaxis.ticktext == ("mean", "zero") and figure.layout.yaxis2.ticktext == ("mean",)
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1], "one above the other"


def test_noisy_rankings_are_not_drawn() -> None:
    pairs = [("copa", "rte"), ("copa", "wic"), ("rte", "wic")]
    rows = frame(*({"a": a, "b": b, "shots": 5} for a, b in pairs))
    place = {"kind": "reliability", "b": "importance/token", "shots": 5}
    known = [("copa", "global", 0.5), ("rte", "global", 0.8), ("wic", "global", 0.7), ("rte", "within_layer", 0.1)]
    comparisons = frame(*({**place, "a": a, "level": level, "value": value} for a, level, value in known))
    assert reliable(rows, comparisons, "global")["a"].tolist() == ["rte"]
    assert reliable(rows, comparisons, "within_layer_corrected")["b"].tolist() == ["wic"]
    shots = frame({"a": "rte@0", "b": "rte@5", "shots": -1})
    assert len(reliable(shots, comparisons, "global")) == 1 and reliable(shots, comparisons, "within_layer").empty


def test_dots_of_a_run_are_the_rows_of_its_primary(run: Run) -> None:
    rows = run.comparisons
    dots = dots_of(rows)
    assert [(dot.outcome, dot.name) for dot in dots[:4]] == [
        ("choice", "mean"),
        ("choice", "zero"),
        ("choice", "mean, last position"),
        ("mass", "mean"),
    ]
    drop = rows[(rows["kind"] == "primary_drop") & (rows["level"] == "choice/mean")].iloc[0]
    controls = rows[(rows["kind"] == "primary_control") & (rows["level"] == "choice/mean")]["value"]
    assert (dots[0].value, dots[0].interval) == (drop["value"], (drop["ci_low"], drop["ci_high"]))
    assert dots[0].controls == tuple(controls) and len(controls) == 39
    related = rows[rows["level"] == "choice/mean"].assign(level="margin/mean")
    assert len(dots_of(pd.concat([rows, related]))) == len(dots), "what is nearly choice stands in the tables alone"
    without = dots_of(rows[rows["kind"] != "primary_control"])
    np.testing.assert_allclose(without[0].reach, dots[0].reach, atol=1e-6)


def test_the_scatter_leaves_out_heads_without_a_score_and_marks_classes() -> None:
    induction, importance = np.array([[0.9, 0.1], [np.nan, 0.2]]), np.array([[1.0, 2.0], [3.0, np.nan]])
    classes = np.array([["copying", ""], ["", ""]], dtype=object)
    figure = importance_scatter(induction, importance, classes=classes)
    points = {one.name: (list(one.x), list(one.y), list(one.text)) for one in figure.data}
    assert points == {"copying": ([0.9], [1.0], ["0.0"]), "no induction head": ([0.1], [2.0], ["0.1"])}


def test_ffn_knockout_averages_tasks_and_shows_the_interval_of_one() -> None:
    row = {"score": "knock_out", "variant": "", "shots": 0, "ci_low": 0.0, "ci_high": 1.0}
    rows = frame(
        *({**row, "task": task, "layer": k, "mean": k + add} for task, add in (("a", 0), ("b", 1)) for k in (0, 1))
    )
    np.testing.assert_allclose(trace(ffn_knockout(rows), "all positions, mean of 2 tasks").y, [0.5, 1.5])
    (line,) = ffn_knockout(rows[rows["task"] == "a"]).data
    np.testing.assert_allclose(line.error_y.array, [1.0, 0.0])


def test_aggregate_importance_gives_each_task_the_same_weight(tmp_path: Path) -> None:
    rows = []
    for task, scale in (("a", 1.0), ("b", 100.0)):
        for head, value in enumerate((1.0, 3.0) if task == "a" else (1.0, 1.0)):
            place = {"layer": 0, "head": head, "kv_head": 0, "task": task, "shots": 5}
            rows.append({**place, "score": "importance", "variant": "token", "mean": value * scale})
    stored = Stored(Run(tmp_path))
    vars(stored)["head_scores"] = frame(*rows)
    found = stored.aggregate("token", 5)
    assert found is not None
    np.testing.assert_allclose(found, [[0.375, 0.625]])
    assert stored.aggregate("signed", 5) is None


@pytest.mark.parametrize("name", ["knockout", "pruning"])
def test_outcomes_that_are_nearly_choice_have_no_panel(run: Run, name: str) -> None:
    stored = Stored(run)
    draw = {"knockout": _knockouts, "pruning": _pruning("head")}[name]
    panels = [panel.title for panel in draw(stored)]
    table, column = {"knockout": ("ffn_scores", "variant"), "pruning": ("metrics", "metric")}[name]
    rows = getattr(stored, table)
    related = rows[rows["score"] == "knock_out"] if name == "knockout" else rows
    related = related[related[column] == related[column].iloc[0]]
    assert panels
    vars(stored)[table] = pd.concat([rows, *(related.assign(**{column: other}) for other in ("margin", "per_token"))])
    assert [panel.title for panel in draw(stored)] == panels


def test_profiles_of_importance_are_the_aggregates_and_samples_say_how_many_heads(tmp_path: Path) -> None:
    """Task b's values are a hundred times those of a: their plain mean would be b's."""
    rows: list[dict[str, Any]] = []
    for task, scale, values in (("a", 1.0, (1.0, 3.0)), ("b", 100.0, (1.0, 1.0))):
        for head, value in enumerate(values):
            place = {"layer": 0, "head": head, "kv_head": 0, "task": task, "shots": 5}
            rows.append({**place, "score": "importance", "variant": "token", "mean": value * scale})
            if not head:
                rows.append({**place, "score": "knock_out_sample", "variant": "choice", "mean": value})
    stored = Stored(Run(tmp_path))
    vars(stored)["head_scores"] = frame(*rows)
    importance, sampled = (
        next(panel for panel in _profiles(stored) if panel.labels["score"] == score)
        for score in ("importance", "knock_out_sample")
    )
    lines = {line.name: list(line.y) for line in importance.draw().data}
    assert lines["highest"] == [pytest.approx(0.625)] and lines["mean"] == [pytest.approx(0.5)]
    assert importance.title.endswith("5 shots, mean over 2 tasks, each over its total")
    assert sampled.title.endswith("5 shots, mean over 2 tasks, 1 head")


# --- what holds for all of them ------------------------------------------------------------------------------------


def test_every_figure_has_data_in_the_full_run(drawn: list[tuple[str, go.Figure]]) -> None:
    assert {name for name, _ in drawn} == set(figures.NAMES)
    assert all(figure.data for _, figure in drawn)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def test_every_colour_has_its_counterpart_in_the_dark_theme(drawn: list[tuple[str, go.Figure]]) -> None:
    known = set(for_scripts()["swaps"])
    for name, figure in drawn:
        for text in strings(json.loads(figure.to_json())):
            if re.fullmatch(r"#[0-9a-fA-F]{3,8}|rgba?\(.*\)", text):
                assert text in known, f"{name} is drawn with {text}"


def test_names_of_tasks_are_escaped_for_plotly(drawn: list[tuple[str, go.Figure]]) -> None:
    for name, figure in drawn:
        assert not any("<b>rte" in text for text in strings(json.loads(figure.to_json()))), name
    assert plain_text("<a>&%{x}") == "&lt;a&gt;&amp;% {x}"


def test_long_names_are_cut_and_stay_apart() -> None:
    long = [f"a_task_with_a_very_long_name_{k}" for k in (1, 2, 3)]
    rows = frame(*(comparison("cross_task", *pair, "global", 0.1) for pair in ((long[0], long[1]), (long[1], long[2]))))
    figure = rank_matrix(rows)
    assert np.shape(figure.data[0].z) == (3, 3) and set(figure.layout.xaxis.ticktext) == {"a_task_with_a_very_…"}
    assert long[2] in figure.data[0].customdata[1][2]


def test_no_light_colour_stands_for_two_dark_ones() -> None:
    for scale in ("sequential", "diverging"):
        for (_, light), (_, dark) in zip(colourscale(scale), colourscale(scale, "dark"), strict=True):
            assert for_scripts()["swaps"][light] == dark
    lights, swaps = [pair[0] for pair in PALETTE.values()], for_scripts()["swaps"]
    assert len(set(lights)) == len(lights) and all(swaps[light] == dark for light, dark in PALETTE.values())


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_stand_out_from_the_page(theme: int) -> None:
    def contrast(a: str, b: str) -> float:
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    paper = PALETTE["paper"][theme]
    for role in ("ink", "muted", "accent"):
        assert contrast(PALETTE[role][theme], paper) >= 4.5, role
    for role in ("blue", "vermilion", "green", "purple", "ochre", "sky", "grey"):
        assert contrast(PALETTE[role][theme], paper) >= 3.0, role


def test_the_sequential_scale_only_gets_darker_or_lighter() -> None:
    for theme, way in (("light", -1), ("dark", 1)):
        steps = np.diff([luminance(stop) for _, stop in colourscale("sequential", theme)])
        assert (way * steps > 0).all(), theme


def test_cells_show_true_minus_signs_and_no_signed_zero() -> None:
    cells = cell_texts(np.array([[-0.001, 0.126, -0.126, np.nan]]), 2)
    assert cells == [["0.00", "+0.13", "\u22120.13", ""]]


# --- asking for one ------------------------------------------------------------------------------------------------


def test_run_figure_picks_by_label(run: Run) -> None:
    assert run.figure("pruning_heads", task="copa", shots=5).layout.title.text == "copa, 5 shots"
    assert run.figure("pruning_heads", shots=5).layout.title.text == "Mean of 2 tasks, 5 shots"
    assert run.figure("mosaic", score="copying", variant="signed").data[0].zmin < 0
    assert run.figure("cross_task").layout.title.text == "Spearman's rho, 5 shots"


def test_what_the_primary_test_is_about_comes_first(run: Run) -> None:
    """Method 5: prefix matching, importance by token, with the most examples in the context."""
    titles = {name: run.figure(name).layout.title.text for name in ("importance_scatter", "retention", "overlap")}
    assert titles == {
        "importance_scatter": "Importance (token), 5 shots",
        "overlap": "5 shots",
        "retention": "Importance (token) as the order, 5 shots",
    }
    assert run.figure("mosaic").layout.title.text == "Prefix matching"
    importance = run.figure("mosaic", score="importance").layout.title.text
    assert importance.startswith("Importance (token), ") and importance.endswith(", 5 shots")
    assert run.figure("pruning_heads").layout.title.text == "Mean of 2 tasks, 5 shots"
    stored, retention = Stored(run), next(entry for entry in figures.CATALOGUE if entry.name == "retention")
    rows = stored.comparisons
    more = [rows.assign(b=b, shots=shots) for b in ("importance/signed", "importance/token") for shots in (0, 5)]
    stored.__dict__["comparisons"] = pd.concat(more)
    assert [panel.title for panel in retention.panels(stored)] == [
        f"Importance ({variant}) as the order, {shots} shots" for variant in ("token", "signed") for shots in (5, 0)
    ]


def test_unknown_figures_and_panels_are_named(run: Run) -> None:
    with pytest.raises(UsageError, match="did you mean 'retention'"):
        run.figure("retentions")
    with pytest.raises(UsageError, match=r"no panel with {'task': 'wsc'}; it has .*'shots': 0"):
        run.figure("pruning_heads", task="wsc")


def test_a_figure_without_data_names_the_command(tmp_path: Path) -> None:
    run = begin_stage(tmp_path / "run", IDENTITY, Stage("induction", "quick"))
    for name in figures.NAMES:
        with pytest.raises(UsageError, match=r"no data for the figure .*`headscope \w+"):
            run.figure(name)
