"""First-order importance beside exact knock-outs, on the documents that both have: from items, by plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from headscope.comparison.knock_out import against_knock_outs
from headscope.comparison.scored import Shelf
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.scores import HeadScores
from tests.headscope.ranked import IDENTITY, SHAPE, write_ranked_run

TASKS, SAMPLED = ("copa", "rte"), 12
RANKED, KNOCKED = ("a", "b", "c", "d", "e"), ("e", "c", "x", "b")  # documents of each; in no common order
LENGTHS = {"a": 5, "b": 40, "c": 11, "d": 7, "e": 23}


def add(run: Run, name: str, variant: str, documents: tuple[str, ...], seed: int, *, told: bool = True) -> np.ndarray:
    """Noise as items: [task, document, head], of the first heads alone for a sample."""
    made = np.random.default_rng(seed).standard_normal((len(TASKS), len(documents), *SHAPE))
    if name.endswith("_sample"):
        made.reshape(len(TASKS), len(documents), -1)[:, :, SAMPLED:] = np.nan
    columns: dict[str, list[object]] = {"cluster": [*documents]}
    if told:
        columns |= {"document": [*documents], "demo_seed": [0] * len(documents)}
    if name == "importance":
        columns["length"] = [LENGTHS[document] for document in documents]
    with begin_stage(run.folder, IDENTITY, Stage(f"{name} by hand", {"variant": variant})) as writer:
        for task, items in zip(TASKS, made, strict=True):
            score = HeadScores.from_items(name, torch.from_numpy(items).float(), variant=variant, n_kv_heads=5)
            writer.add_scores(score, task=task, shots=5, item_columns=columns)
    return made.reshape(len(TASKS), len(documents), -1)


def found(run: Run, kind: str) -> dict[str, float]:
    rows = against_knock_outs(Shelf(open_run(run.folder)))
    return {one["a"]: one["value"] for one in rows if one["kind"] == kind and one["b"] == "importance/signed/choice"}


@pytest.mark.parametrize("name", ["knock_out_sample", "knock_out_mean"])
def test_over_the_documents_and_heads_that_both_have(tmp_path: Path, name: str) -> None:
    run = write_ranked_run(tmp_path / "run", tasks=TASKS, shots=(5,), documents=8)
    scores = add(run, "importance", "signed/choice", RANKED, 1)
    costs = add(run, name, "choice", KNOCKED, 2)
    heads = SAMPLED if name.endswith("_sample") else costs.shape[-1]
    both, wanted, signs = [], {}, {}
    for index, task in enumerate(TASKS):
        estimated, cost = np.zeros(heads), np.zeros(heads)
        for document in {*RANKED} & {*KNOCKED}:
            estimated += scores[index, RANKED.index(document), :heads] / sum(LENGTHS[one] - 1 for one in "bce")
            cost += costs[index, KNOCKED.index(document), :heads] / 3
        both.append((estimated / np.abs(estimated).sum(), cost / np.abs(cost).sum()))
        wanted[task] = float(stats.spearmanr(estimated, cost).statistic)
        signs[task] = float((np.sign(estimated) == np.sign(cost)).mean())
    together = np.mean(both, axis=0)
    wanted["aggregate"] = float(stats.spearmanr(*together).statistic)
    signs["aggregate"] = float((np.sign(together[0]) == np.sign(together[1])).mean())
    assert found(run, "knock_out_spearman") == pytest.approx(wanted, abs=1e-6)
    assert found(run, "knock_out_signs") == pytest.approx(signs)


@pytest.mark.parametrize(("documents", "told"), [(("x", "y", "z"), True), (KNOCKED, False)])
def test_without_a_common_document_the_stored_tables_are_compared(
    tmp_path: Path, documents: tuple[str, ...], told: bool
) -> None:
    run = write_ranked_run(tmp_path / "run", tasks=TASKS, shots=(5,), documents=8)
    add(run, "importance", "signed/choice", RANKED, 1)
    add(run, "knock_out_mean", "choice", documents, 2, told=told)
    stored = open_run(run.folder)
    values = found(run, "knock_out_spearman")
    for task in TASKS:
        names = (("importance", "signed/choice"), ("knock_out_mean", "choice"))
        pair = [stored.head_score(*name, task=task, shots=5).mean.flatten() for name in names]
        assert values[task] == pytest.approx(float(stats.spearmanr(*pair).statistic), abs=1e-6)
