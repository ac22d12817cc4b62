"""T, the check by knock-out, and Holm over all secondaries: from stored tables, against numpy and SciPy (Method 5)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ablation.statistics import ClusteredScores
from headscope.comparison.class_rank import class_ranks, interval_of
from headscope.comparison.scored import Scored, Shelf
from headscope.stages.comparison import compare_rankings
from headscope.store.comparisons import PRIMARY, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.scores import HeadScores
from tests.headscope.comparison.test_compare import holm
from tests.headscope.ranked import IDENTITY, SHAPE, write_ranked_run

TASKS = ("copa", "rte")
LAYERS, HEADS = SHAPE


def add_costs(
    run: Run,
    name: str,
    variant: str = "choice",
    *,
    follows: float = 0.0,
    sampled: int | None = None,
    documents: int = 30,
    tasks: tuple[str, ...] = TASKS,
) -> None:
    """Head knock-outs of the tasks at 5 shots: noise, and `follows` for the classed heads."""
    draw, classes = np.random.default_rng(3), run.classes
    classed = np.zeros(SHAPE)
    classed[classes["layer"], classes["head"]] = classes["class"] != ""
    with begin_stage(run.folder, IDENTITY, Stage(f"knockout --component head {name} {variant}", name)) as writer:
        for task in tasks:
            items = follows * classed + 0.5 * draw.random(SHAPE) + 0.1 * draw.standard_normal((documents, *SHAPE))
            if sampled is not None:
                items.reshape(documents, -1)[:, sampled:] = np.nan
            score = HeadScores.from_items(name, torch.from_numpy(items).float(), variant=variant, n_kv_heads=5)
            columns = {"cluster": [f"c{place}" for place in range(documents)]}
            writer.add_scores(score, task=task, shots=5, item_columns=columns)


def measured(run: Run, name: str) -> np.ndarray:
    """The aggregate of both tasks."""
    tables = [run.head_score(name, "choice", task=task, shots=5).mean.double().numpy() for task in TASKS]
    return np.mean([table / np.abs(table).sum() for table in tables], axis=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("ranked") / "run"
    made = write_ranked_run(folder, tasks=TASKS, shots=(0, 5), documents=16)
    add_costs(made, "knock_out_mean", follows=1.0)
    effects = [
        row("primary_effect", "induction heads", "group_matched", 5, level, value, p=p, n=39)
        for level, value, p in (
            ("choice/mean", 4.0, 0.001),
            ("metric/mean", 2.0, 0.02),
            ("margin/mean", 3.0, 0.001),
            ("choice/zero", 1.0, 0.3),
        )
    ]
    with begin_stage(folder, IDENTITY, Stage("primary", "x")) as writer:
        writer.replace_comparisons(frame(effects), kinds=PRIMARY)
    compare_rankings(folder)
    return open_run(folder)


def classed_heads(run: Run) -> np.ndarray:
    heads = np.zeros(SHAPE, dtype=bool)
    heads[run.classes["layer"], run.classes["head"]] = run.classes["class"] != ""
    return heads


def ranked(table: np.ndarray, heads: np.ndarray) -> float:
    """Mid-ranks in every layer, from -1 to 1, mean over the class."""
    places = (2 * stats.rankdata(table, axis=1) - HEADS - 1) / (HEADS - 1)
    return float(places[heads].mean())


def test_t_is_the_mean_mid_rank_of_the_class_by_exact_knock_out(run: Run) -> None:
    (found,) = run.comparisons.query("kind == 'class_rank'").itertuples(index=False)
    assert (found.a, found.b, found.shots, found.level) == (
        "induction heads",
        "knock_out_mean/choice",
        5,
        "within_layer",
    )
    table, heads = measured(run, "knock_out_mean"), classed_heads(run)
    assert found.value == pytest.approx(ranked(table, heads), abs=1e-6) and found.n == heads.sum()
    assert found.value > 0.6 and found.ci_low <= found.value <= found.ci_high


def test_t_ranks_by_what_is_nearest_to_the_cost_by_mean(tmp_path: Path) -> None:
    run = write_ranked_run(tmp_path / "run", tasks=TASKS, shots=(5,), documents=8)
    for score, variant in (
        ("importance", "signed/choice"),
        ("importance", "signed/choice/mean"),
        ("knock_out", "choice"),
        ("knock_out_mean", "choice"),
    ):
        add_costs(run, score, variant, documents=8)
        assert {one["b"] for one in class_ranks(Shelf(open_run(run.folder)), 5)} == {f"{score}/{variant}"}


def test_t_ranks_by_what_most_tasks_have(tmp_path: Path) -> None:
    """One exact knock-out of a task does not stand for the others, whose importance is stored."""
    run = write_ranked_run(tmp_path / "run", tasks=TASKS, shots=(5,), documents=8)
    add_costs(run, "importance", "signed/choice", documents=8)
    add_costs(run, "knock_out_mean", documents=8, tasks=TASKS[:1])
    assert {one["b"] for one in class_ranks(Shelf(open_run(run.folder)), 5)} == {"importance/signed/choice"}


def test_its_p_is_that_of_classes_dealt_out_anew_in_every_layer(run: Run) -> None:
    table, heads, draw = measured(run, "knock_out_mean"), classed_heads(run), np.random.default_rng(8)
    null = np.array([ranked(table, draw.permuted(heads, axis=1)) for _ in range(4000)])
    (found,) = run.comparisons.query("kind == 'class_rank'").itertuples(index=False)
    assert found.p == pytest.approx((np.abs(null) >= abs(found.value) - 1e-9).mean(), abs=0.01)
    (could,) = run.comparisons.query("kind == 'class_rank_detectable'").itertuples(index=False)
    assert could.ci_low == pytest.approx(np.quantile(np.abs(null), 0.95), abs=0.08)
    assert could.ci_low < could.value


def test_holm_is_over_t_and_the_primarys_secondary_effects(run: Run) -> None:
    """The primary itself is in no family, nor is what is nearly choice."""
    effects = run.comparisons.query("kind == 'primary_effect'").set_index("level")
    assert math.isnan(effects.loc["choice/mean", "p_holm"]) and math.isnan(effects.loc["margin/mean", "p_holm"])
    (found,) = run.comparisons.query("kind == 'class_rank'").itertuples(index=False)
    family = [effects.loc["metric/mean", "p"], effects.loc["choice/zero", "p"], found.p]
    wanted = holm(np.array(family))
    assert [*effects.loc[["metric/mean", "choice/zero"], "p_holm"], found.p_holm] == pytest.approx(list(wanted))
    before = run.comparisons
    compare_rankings(run.folder)
    pd.testing.assert_frame_equal(open_run(run.folder).comparisons, before)


def test_the_interval_of_t_is_as_wide_as_other_documents_would_move_it() -> None:
    """Sixty studies of the same heads on other documents."""
    draw = np.random.default_rng(5)
    truth, heads = draw.random(SHAPE), np.zeros(SHAPE, dtype=bool)
    heads[[1, 2, 2, 4], [0, 1, 3, 2]] = True
    values, reaches = [], []
    for seed in range(60):
        items = truth + 2.0 * draw.standard_normal((60, *SHAPE))
        scored = Scored("x", items.mean(axis=0), ClusteredScores(items, np.arange(60)), seed=seed)
        value = ranked(scored.table, heads)
        low, high = interval_of(scored, heads, value)
        values.append(value)
        reaches.append((high - low) / 2 / 1.96)
    assert 0.7 < float(np.mean(reaches)) / float(np.std(values)) < 1.5


def test_no_knock_out_falls_back_on_signed_choice_and_none_is_no_row(tmp_path: Path) -> None:
    made = write_ranked_run(tmp_path / "run", tasks=TASKS, shots=(5,), documents=8)
    assert list(class_ranks(Shelf(made), 5)) == []
    with begin_stage(made.folder, IDENTITY, Stage("importance", {"limit": 8})) as writer:
        for task in TASKS:
            items = torch.from_numpy(np.random.default_rng(1).standard_normal((8, *SHAPE))).float()
            score = HeadScores.from_items("importance", items, variant="signed/choice", n_kv_heads=5)
            columns = {"cluster": [*"abcdefgh"], "length": [9] * 8}
            writer.add_scores(score, task=task, shots=5, item_columns=columns)
    add_costs(made, "knock_out_mean_sample", sampled=12)
    shelf = Shelf(open_run(made.folder))
    assert {found["b"] for found in class_ranks(shelf, 5)} == {"importance/signed/choice"}, "a sample ranks nothing"
    rows = compare_rankings(made.folder)
    part = rows.query("level == 'knock_out_mean_sample/choice' and b == 'importance/signed/choice'")
    for task in TASKS:
        exact = made.head_score("knock_out_mean_sample", "choice", task=task, shots=5).mean.flatten()[:12]
        score = open_run(made.folder).head_score("importance", "signed/choice", task=task, shots=5).mean.flatten()[:12]
        found = part[part["a"] == task].set_index("kind")
        wanted = float(stats.spearmanr(exact, score).statistic)
        assert found.loc["knock_out_spearman", "value"] == pytest.approx(wanted, abs=1e-6)
        assert found.loc["knock_out_signs", "value"] == pytest.approx(
            float((exact.sign() == score.sign()).float().mean())
        )
        assert set(found["n"]) == {12}
    assert {"cross_task_choice"} <= set(rows["kind"]) and set(part["a"]) == {*TASKS, "aggregate"}
