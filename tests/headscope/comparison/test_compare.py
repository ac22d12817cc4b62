"""The rows of `headscope compare` against SciPy and numpy, from the stored items alone (Method 5)."""

from __future__ import annotations

import math
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from headscope.comparison.induction_heads import primary_shots
from headscope.comparison.scored import Shelf
from headscope.findings.evidence import Evidence
from headscope.findings.ranks import sentences
from headscope.stages.comparison import compare_rankings
from headscope.store.atomic import write_atomically
from headscope.store.parquet import encode
from headscope.store.run import TABLE_FILES, Run
from headscope.store.sealed import copy_sealed, put_sealed
from headscope.store.tables import HEAD_SCORES, SCORE_VALUES
from tests.headscope.commands import command, refused, tables
from tests.headscope.ranked import SHAPE, TASKS, write_ranked_run

LAYERS, HEADS = SHAPE
N = LAYERS * HEADS
PREFIX, TOKEN, SIGNED = "prefix_matching", "importance/token", "importance/signed"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    found = write_ranked_run(tmp_path_factory.mktemp("runs") / "drawn")
    compare_rankings(found.folder)
    return found


@pytest.fixture(scope="module")
def rows(run: Run) -> pd.DataFrame:
    return run.comparisons


def one(rows: pd.DataFrame, **values: Any) -> Any:
    found = rows
    for name, value in values.items():
        found = found[found[name] == value]
    assert len(found) == 1, (values, len(found))
    return found.iloc[0]


# ---- a slow second way ----------------------------------------------------------------------------------------------


def table(run: Run, name: str) -> np.ndarray:
    """The mean over items of a parquet file, as it stands there."""
    items = run.items(name)
    names = [f"{layer}.{head}" for layer in range(LAYERS) for head in range(HEADS)]
    return np.asarray(items[names].astype(np.float64).mean().to_numpy().reshape(SHAPE))


def importance(run: Run, variant: str, shots: int, task: str | None = None, name: str = "importance") -> np.ndarray:
    """One task's table, or the aggregate: each task's divided by its total, then averaged."""
    tables = [table(run, f"head-{name}-{variant}-{one}-{shots}shot") for one in ((task,) if task else TASKS)]
    return np.mean([found / np.abs(found).sum() for found in tables], axis=0)


def rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.spearmanr(a.ravel(), b.ravel()).statistic)


def within(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([stats.spearmanr(left, right).statistic for left, right in zip(a, b, strict=True)]))


def permuted_p(a: np.ndarray, b: np.ndarray, *, layers: bool, draws: int = 4000) -> float:
    """Two-sided, by this file's own permutations."""
    draw = np.random.default_rng(99)
    statistic = within if layers else rho
    rows_a, rows_b = (scores if layers else scores.reshape(1, -1) for scores in (a, b))
    ranks_a, ranks_b = (stats.rankdata(rows, axis=1) for rows in (rows_a, rows_b))
    centred = ranks_a - ranks_a.mean(axis=1, keepdims=True)
    scale = (centred**2).sum(axis=1)
    null = np.array([np.mean((centred * draw.permuted(ranks_b, axis=1)).sum(axis=1) / scale) for _ in range(draws)])
    return float((np.abs(null) >= abs(statistic(a, b)) - 1e-9).mean())


def holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(np.minimum(1, p[order] * (len(p) - np.arange(len(p)))))
    found = np.empty(len(p))
    found[order] = stepped
    return found


# ---- the descriptive coefficient -------------------------------------------------------------------------------------


def test_the_descriptive_coefficient_is_within_layers_at_5_shots(run: Run, rows: pd.DataFrame) -> None:
    found = one(rows, kind="induction_importance_descriptive")
    assert (found["a"], found["b"], found["shots"], found["level"]) == (PREFIX, TOKEN, 5, "within_layer")
    prefix, token = table(run, "head-prefix_matching"), importance(run, "token", 5)
    assert found["value"] == pytest.approx(within(prefix, token), abs=1e-6)
    assert found["n"] == N and math.isnan(found["p_holm"])
    assert found["p"] == pytest.approx(permuted_p(prefix, token, layers=True), abs=0.02)
    assert (found["p"] * 10_000) == pytest.approx(round(found["p"] * 10_000), abs=1e-6)  # B = 9,999
    again = one(rows, kind="induction_importance", a=PREFIX, b=TOKEN, shots=5, level="within_layer")
    assert again["value"] == found["value"] and again["p"] == found["p"]


@pytest.mark.parametrize(
    ("tasks", "shots", "primary"),
    [
        (("copa", "rte"), (0, 1), 1),
        (("copa", "rte"), (0, 5, 10), 5),
        (("probe_plurals", "probe_labels"), (0, 5, 10), 5),
        (("probe_plurals",), (0, 10), 10),
    ],
)
def test_the_primary_number_of_shots(
    tmp_path: Path, tasks: tuple[str, ...], shots: tuple[int, ...], primary: int
) -> None:
    """5; the most where 5 were not run."""
    place: dict[str, Any] = {"layer": 0, "head": 0, "kv_head": 0, "score": "importance", "variant": "token", "n": 4}
    place |= dict.fromkeys(SCORE_VALUES, 0.0)
    rows = [{**place, "task": task, "shots": count} for task in tasks for count in shots]
    write_atomically(HEAD_SCORES.path(tmp_path), encode(HEAD_SCORES.checked(pd.DataFrame(rows))))
    assert primary_shots(Shelf(Run(tmp_path))) == primary


def test_its_interval_is_a_jackknifes(run: Run, rows: pd.DataFrame) -> None:
    """About as wide as leaving out one cluster of documents, and one sequence, at a time."""
    found = one(rows, kind="induction_importance_descriptive")
    reach = (found["ci_high"] - found["ci_low"]) / 2
    prefix, token = table(run, "head-prefix_matching"), importance(run, "token", 5)
    names = [f"{layer}.{head}" for layer in range(LAYERS) for head in range(HEADS)]
    frames = {task: run.items(f"head-importance-token-{task}-5shot") for task in TASKS}
    moved = []
    for task in TASKS:
        for cluster in frames[task]["cluster"].unique():
            shares = []
            for other, frame in frames.items():
                kept = frame[frame["cluster"] != cluster] if other == task else frame
                mean = kept[names].sum().to_numpy().reshape(SHAPE) / (kept["length"] - 1).sum()
                shares.append(mean / np.abs(mean).sum())
            moved.append(within(prefix, np.mean(shares, axis=0)))
    variance = (len(moved) - 1) / len(moved) * ((np.array(moved) - np.mean(moved)) ** 2).sum()
    items = run.items("head-prefix_matching")[names].to_numpy().reshape(-1, *SHAPE)
    moved = [within(np.delete(items, place, axis=0).mean(axis=0), token) for place in range(len(items))]
    variance += (len(moved) - 1) / len(moved) * ((np.array(moved) - np.mean(moved)) ** 2).sum()
    assert 0.4 < reach / (1.96 * math.sqrt(variance)) < 1.6


def test_the_released_statistic_stands_beside_it(run: Run, rows: pd.DataFrame) -> None:
    prefix, token = table(run, "head-prefix_matching"), importance(run, "token", 5)
    found = one(rows, kind="induction_importance", a=PREFIX, b=TOKEN, shots=5, level="bansal_released")
    orders = [np.argsort(scores.ravel(), kind="stable") for scores in (prefix, token)]
    assert found["value"] == pytest.approx(float(stats.spearmanr(*orders).statistic), abs=1e-6)
    assert math.isnan(found["p"]) and math.isnan(found["ci_low"])
    kendall = one(rows, kind="induction_importance", a=PREFIX, b=TOKEN, shots=5, level="kendall")
    assert kendall["value"] == pytest.approx(stats.kendalltau(prefix.ravel(), token.ravel()).statistic, abs=1e-6)
    everywhere = one(rows, kind="induction_importance", a=PREFIX, b=TOKEN, shots=5, level="global")
    assert everywhere["value"] == pytest.approx(rho(prefix, token), abs=1e-6)
    assert everywhere["p"] == pytest.approx(permuted_p(prefix, token, layers=False), abs=0.02)


# ---- the exploratory family -----------------------------------------------------------------------------------------


def exploratory(rows: pd.DataFrame) -> pd.DataFrame:
    """All rows of the family: what `exploratory_family` counts."""
    kinds = ["induction_importance", "induction_importance_partial", "induction_importance_gain", "set_overlap"]
    found = rows[rows["kind"].isin(kinds) & rows["p_holm"].notna() & (rows["level"] != "global")]
    return found


def test_holm_is_over_the_whole_exploratory_family(rows: pd.DataFrame) -> None:
    """3 copying scores with token, 4 with signed, for each importance: partial, set, two gains."""
    family, size = exploratory(rows), one(rows, kind="exploratory_family")
    assert len(family) == size["value"] == 3 + 4 + 2 * (1 + 1 + 2)
    np.testing.assert_allclose(family["p_holm"], holm(family["p"].to_numpy()), atol=1e-12)
    assert size["n"] == max(9_999, 100 * len(family))
    assert not (family["kind"] == "induction_importance_descriptive").any()


@pytest.mark.parametrize(("b", "variant"), [(TOKEN, "token"), (SIGNED, "signed")])
def test_gains_are_differences_of_coefficients(run: Run, rows: pd.DataFrame, b: str, variant: str) -> None:
    prefix, many = table(run, "head-prefix_matching"), importance(run, variant, 5)
    none, shuffled = importance(run, variant, 0), importance(run, variant, 5, name="importance_shuffled")
    for name, less in ((f"{b}@5 - {b}@0", none), (f"{b}@5 - importance_shuffled/{variant}@5", shuffled)):
        found = one(rows, kind="induction_importance_gain", b=name)
        assert found["value"] == pytest.approx(within(prefix, many) - within(prefix, less), abs=1e-6)
        assert found["ci_low"] < found["value"] < found["ci_high"]


def test_the_partial_coefficient_is_that_of_the_residual_ranks(run: Run, rows: pd.DataFrame) -> None:
    prefix, token = table(run, "head-prefix_matching"), importance(run, "token", 5)
    norms = np.log(np.mean([table(run, f"head-head_norm-{task}-5shot") for task in TASKS], axis=0))
    previous = table(run, "head-previous_token")
    coefficients = []
    for layer in range(LAYERS):
        ranks = [stats.rankdata(scores[layer]) for scores in (prefix, token, norms, previous)]
        design = np.stack([np.ones(HEADS), *ranks[2:]], axis=1)
        left = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in ranks[:2]]
        if min(np.linalg.norm(rest) for rest in left) > 1e-9:  # else the covariates say all: the layer is skipped
            coefficients.append(left[0] @ left[1] / math.sqrt((left[0] @ left[0]) * (left[1] @ left[1])))
    assert LAYERS / 2 < len(coefficients) < LAYERS
    found = one(rows, kind="induction_importance_partial", b=TOKEN)
    assert found["value"] == pytest.approx(np.mean(coefficients), abs=1e-6)


def test_the_set_of_induction_heads_against_as_many_important_heads(run: Run, rows: pd.DataFrame) -> None:
    token = importance(run, "token", 5)
    heads = np.zeros(SHAPE, dtype=bool)
    classes = run.classes
    heads[classes["layer"], classes["head"]] = classes["class"] != ""
    k = int(heads.sum())
    top = token >= np.sort(token, axis=None)[-k]
    found = one(rows, kind="set_overlap", b=TOKEN)
    assert found["level"] == f"k={k}" and found["value"] == pytest.approx((heads & top).sum() / k)
    assert found["p"] == pytest.approx(layer_p(heads, top), abs=1e-9)
    free = one(rows, kind="set_overlap_expected_free", b=TOKEN)
    assert free["value"] == pytest.approx(k / N)
    assert free["p"] == pytest.approx(stats.hypergeom.sf((heads & top).sum() - 1, N, k, k), abs=1e-9)


def layer_p(a: np.ndarray, b: np.ndarray) -> float:
    """P(overlap at least as large) where each layer keeps its numbers: SciPy's hypergeometrics, convolved."""
    sizes = zip(a.sum(axis=1), b.sum(axis=1), strict=True)
    parts = [stats.hypergeom.pmf(np.arange(HEADS + 1), HEADS, left, right) for left, right in sizes]
    return float(reduce(np.convolve, parts)[int((a & b).sum()) :].sum())


# ---- tasks, shots, overlaps, retention ------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["token", "signed"])
@pytest.mark.parametrize("shots", [0, 5])
def test_tasks_against_tasks(run: Run, rows: pd.DataFrame, variant: str, shots: int) -> None:
    kind = "cross_task" if variant == "token" else "cross_task_signed"
    part = rows[(rows["kind"] == kind) & (rows["shots"] == shots)]
    for a, b in combinations(TASKS, 2):
        left, right = (importance(run, variant, shots, task) for task in (a, b))
        assert one(part, a=a, b=b, level="global")["value"] == pytest.approx(rho(left, right), abs=1e-6)
        inside = one(part, a=a, b=b, level="within_layer")
        assert inside["value"] == pytest.approx(within(left, right), abs=1e-6)
        assert inside["p"] == pytest.approx(permuted_p(left, right, layers=True), abs=0.03)
    for level in ("global", "within_layer"):
        held = part[part["level"] == level]
        np.testing.assert_allclose(held["p_holm"], holm(held["p"].to_numpy()), atol=1e-12)


def test_the_corrected_coefficient_divides_by_the_reliabilities(rows: pd.DataFrame) -> None:
    for level in ("global", "within_layer"):
        for a, b in combinations(TASKS, 2):
            plain, freed = (
                one(rows, kind="cross_task", a=a, b=b, shots=5, level=name) for name in (level, f"{level}_corrected")
            )
            rel = [one(rows, kind="reliability", a=t, b=TOKEN, shots=5, level=level)["value"] for t in (a, b)]
            assert freed["value"] == pytest.approx(plain["value"] / math.sqrt(rel[0] * rel[1]), abs=1e-6)


def test_reliability_is_spearman_browns_of_half_splits_by_cluster(run: Run, rows: pd.DataFrame) -> None:
    """Against this file's own 200 splits of whole clusters."""
    frame = run.items("head-importance-token-copa-5shot")
    names = [f"{layer}.{head}" for layer in range(LAYERS) for head in range(HEADS)]
    draw, clusters = np.random.default_rng(3), frame["cluster"].unique()
    agreed = []
    for _ in range(200):
        half = frame["cluster"].isin(draw.permutation(clusters)[: len(clusters) // 2])
        parts = [frame[side][names].sum().to_numpy() / (frame[side]["length"] - 1).sum() for side in (half, ~half)]
        agreed.append(rho(*parts))
    q = float(np.mean(agreed))
    found = one(rows, kind="reliability", a="copa", b=TOKEN, shots=5, level="global")
    assert found["value"] == pytest.approx(2 * q / (1 + q), abs=0.03) and found["n"] == 20


def test_noisy_rankings_have_a_reliability_under_the_wanted_one(tmp_path: Path) -> None:
    """By any importance, of every task and of their aggregate; not those that are reliable."""
    run = write_ranked_run(tmp_path / "run", documents=24, noise=12.0, shots=(5,), tasks=("copa", "rte"))
    rows = compare_rankings(run.folder)
    for variant in ("token", "signed"):
        low = rows.query(f"kind == 'reliability' and b == 'importance/{variant}' and level == 'within_layer'")
        assert set(low["a"]) == {"copa", "rte", "aggregate"} and (low["value"] < 0.6).all()
    aggregate = one(rows, kind="reliability", a="aggregate", b=TOKEN, level="within_layer")["value"]
    prefix = one(rows, kind="reliability", a=PREFIX, b="", level="within_layer")["value"]
    assert prefix > 0.9
    assert aggregate < 0.6


def test_the_reliabilities_of_the_primary_test_are_those_that_rho_star_divides_by(rows: pd.DataFrame) -> None:
    place: dict[str, Any] = {"kind": "induction_importance", "a": PREFIX, "b": TOKEN, "shots": 5}
    plain, freed = (one(rows, **place, level=name)["value"] for name in ("within_layer", "within_layer_corrected"))
    rel = [
        one(rows, kind="reliability", a=a, b=b, shots=5, level="within_layer")["value"]
        for a, b in ((PREFIX, ""), ("aggregate", TOKEN))
    ]
    assert min(rel) > 0.6 and freed == pytest.approx(plain / math.sqrt(rel[0] * rel[1]), abs=1e-6)


def test_shots_against_shots(run: Run, rows: pd.DataFrame) -> None:
    for name, task in (("aggregate", None), ("copa", "copa")):
        few, many = (importance(run, "token", shots, task) for shots in (0, 5))
        found = one(rows, kind="cross_shot", a=f"{name}@0", b=f"{name}@5", level="within_layer")
        assert found["value"] == pytest.approx(within(few, many), abs=1e-6) and found["shots"] == -1


@pytest.mark.parametrize("q", [1, 10, 30])
def test_overlaps_and_what_chance_gives(run: Run, rows: pd.DataFrame, q: int) -> None:
    prefix, token = table(run, "head-prefix_matching"), importance(run, "token", 5)
    k = math.ceil(q * N / 100)
    tops = [scores >= np.sort(scores, axis=None)[-k] for scores in (prefix, token)]
    place: dict[str, Any] = {"a": PREFIX, "b": TOKEN, "shots": 5, "level": f"q={q}"}
    both = int((tops[0] & tops[1]).sum())
    found = one(rows, kind="overlap", **place)
    assert found["value"] == pytest.approx(both / k) and found["p"] == pytest.approx(layer_p(*tops), abs=1e-9)
    assert one(rows, kind="overlap_expected_free", **place)["value"] == pytest.approx(k / N)
    expected = sum(a.sum() * b.sum() / HEADS for a, b in zip(*tops, strict=True)) / k
    assert one(rows, kind="overlap_expected_layer", **place)["value"] == pytest.approx(expected)
    assert one(rows, kind="overlap_jaccard", **place)["value"] == pytest.approx(both / (2 * k - both))
    family = rows[(rows["kind"] == "overlap") & (rows["shots"] == 5)]
    np.testing.assert_allclose(family["p_holm"], holm(family["p"].to_numpy()), atol=1e-12)


def test_retention_is_what_is_left_of_the_score(run: Run, rows: pd.DataFrame) -> None:
    token = importance(run, "token", 5).ravel()
    score, prefix = run.head_score(PREFIX), table(run, "head-prefix_matching").ravel()
    excess = np.maximum(0, prefix - score.null_mean.double().numpy().ravel())
    order = np.argsort(token)
    for percent in (0, 10, 70, 90):
        kept = order[percent * N // 100 :]
        place: dict[str, Any] = {"a": PREFIX, "b": TOKEN, "shots": 5, "level": f"p={percent}"}
        for kind, values in (("retention_raw", prefix), ("retention_excess", excess)):
            found = one(rows, kind=kind, **place)["value"]
            assert found == pytest.approx(values[kept].sum() / values.sum(), abs=1e-6)


@pytest.mark.parametrize("variant", ["token", "signed"])
def test_the_aggregate_is_the_same_from_stored_means_and_from_documents(tmp_path: Path, variant: str) -> None:
    """Where items were not kept the stored tables are averaged: each divided by its total, tasks alike."""
    tasks = ("copa", "rte")
    run = write_ranked_run(tmp_path / "run", documents=12, tasks=tasks, shots=(5,))
    with_items = Shelf(run).aggregate("importance", variant, 5).table
    (tmp_path / "published").mkdir()
    copy_sealed(run.folder, tmp_path / "published", TABLE_FILES)
    without = Shelf(Run(tmp_path / "published")).aggregate("importance", variant, 5)
    assert without.items is None
    np.testing.assert_allclose(without.table, with_items, atol=1e-6)
    tables = [run.head_score("importance", variant, task=task, shots=5).mean.double().numpy() for task in tasks]
    shares = [found / np.abs(found).sum() for found in tables]
    np.testing.assert_allclose(without.table, np.mean(shares, axis=0), atol=1e-7)


# ---- known answers, and what can't be said --------------------------------------------------------------------------


SMALL: dict[str, Any] = {"tasks": ("copa",), "shots": (5,)}


def test_rankings_that_have_nothing_in_common_are_not_said_to_agree(tmp_path: Path) -> None:
    run = write_ranked_run(tmp_path / "run", follows=0.0, seed=4, **SMALL)
    rows = compare_rankings(run.folder)
    found = one(rows, kind="induction_importance_descriptive")
    assert found["p"] > 0.05 and abs(found["value"]) < 0.5
    assert f"{found['value']:+.2f}".lstrip("+-") in next(told for told in sentences(Evidence(run)) if "token" in told)


def test_a_ranking_that_follows_is_found(tmp_path: Path) -> None:
    rows = compare_rankings(write_ranked_run(tmp_path / "run", follows=8.0, seed=4, **SMALL).folder)
    found = one(rows, kind="induction_importance_descriptive")
    assert found["value"] > 0.9 and found["p"] == pytest.approx(1e-4) and found["ci_low"] > 0.5


@pytest.mark.parametrize(("documents", "classed", "tasks"), [(2, 0, ("copa",)), (12, 30, ("copa", "rte"))])
def test_few_documents_one_task_and_no_induction_heads(
    tmp_path: Path, documents: int, classed: int, tasks: tuple[str, ...]
) -> None:
    """Nothing crashes; what has too few documents for an interval says so."""
    run = write_ranked_run(tmp_path / "run", documents=documents, classed=classed, tasks=tasks, shots=(5,))
    rows = compare_rankings(run.folder)
    told = list(sentences(Evidence(run)))
    assert told and not any("nan" in sentence for sentence in told)
    if documents < 8:
        assert any(sentence.endswith("95% interval: too few documents for one.") for sentence in told)
    assert (len(rows[rows["kind"] == "cross_task"]) > 0) == (len(tasks) > 1)


def test_without_induction_scores_tasks_are_compared_all_the_same(tmp_path: Path) -> None:
    run = write_ranked_run(tmp_path / "other", documents=10, tasks=("copa", "rte"))
    scores = run.head_scores
    put_sealed(run.folder, {HEAD_SCORES.file: encode(scores[scores["task"] != ""])})
    kinds = set(compare_rankings(run.folder)["kind"])
    assert {"cross_task", "cross_shot"} <= kinds and not any("induction" in kind for kind in kinds)


def test_nothing_to_compare(tmp_path: Path) -> None:
    refused(command("compare", tmp_path / "none"), "is not there", "headscope induction -o")
    run = write_ranked_run(tmp_path / "run", documents=4, **SMALL)
    (run.folder / "head_scores.parquet").write_bytes(b"")
    refused(command("compare", run.folder), "head_scores.parquet", "damaged")
    put_sealed(run.folder, {HEAD_SCORES.file: encode(HEAD_SCORES.empty())})
    refused(command("compare", run.folder), "holds no importance of any task", "headscope importance MODEL -o")


def test_another_seed_is_another_comparison(tmp_path: Path) -> None:
    run = write_ranked_run(tmp_path / "run", documents=4, **SMALL)
    compare_rankings(run.folder)
    refused(command("compare", run.folder, "--seed", 1), "seed 0", "seed 1")


def test_a_published_copy_is_not_compared_again(run: Run, tmp_path: Path) -> None:
    """It has the intervals, and not the documents that they were made from."""
    copy = tmp_path / "published"
    copy.mkdir()
    copy_sealed(run.folder, copy, TABLE_FILES)
    before = tables(copy)
    assert run.comparisons["ci_low"].notna().any()
    refused(command("compare", copy), "published copy", "items/head-importance", "nothing was changed")
    assert tables(copy) == before


def test_a_run_that_lost_its_items_without_intervals_is_compared(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "first"
    copy.mkdir()
    copy_sealed(run.folder, copy, [name for name in TABLE_FILES if name != "comparisons.parquet"])
    assert len(compare_rankings(copy))
