"""Metrics, units, clusters, chance: hand-worked values, and the harness's own aggregation as the second route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation.tasks import ICL14, PROBES, Task, load_task
from ablation.tasks.clusters import overlap, twins
from ablation.tasks.definitions import own_task
from ablation.tasks.metrics import normalised
from interp.errors import UsageError


def pick(task: Task, *chosen: int) -> list[list[float]]:
    """Log-likelihoods that make these choices the best ones."""
    return [
        [-1.0 if place == choice else -2.0 for place in range(len(document.continuations))]
        for document, choice in zip(task.documents, chosen, strict=True)
    ]


def test_accuracy_and_ties_to_the_first(folder: Path) -> None:
    task = load_task("arc_easy", data=folder)  # gold: 2 of 4, 0 of 2
    assert task.score([[-3, -2, -1, -4], [-2, -1]]).values.tolist() == [1.0, 0.0]
    assert task.score([[-1, -1, -1, -1], [-1, -1]]).values.tolist() == [0.0, 1.0]
    assert task.score(np.array([[-9, -9, -5, -5], [-2, -9]], dtype=object)).mean == 1.0
    score = task.score([[float("-inf")] * 3 + [-5], [-1, float("-inf")]])
    assert (score.values.tolist(), score.units) == ([0.0, 1.0], ("arc_easy/validation/0", "arc_easy/validation/1"))


def test_record_is_right_on_any_answer_after_normalisation(folder: Path) -> None:
    task = load_task("record", data=folder)  # Eve, the Paris, Ann, Paris (right: both Paris); Eve, Ann (both right)
    assert [document.right for document in task.documents] == [(1, 3), (0, 1)]
    assert [document.gold for document in task.documents] == [3, 0]
    assert [task.score(pick(task, a, 1)).values.tolist()[0] for a in range(4)] == [0.0, 1.0, 0.0, 1.0]
    assert [task.score(pick(task, 0, b)).values.tolist()[1] for b in range(2)] == [1.0, 1.0]
    assert task.metric == "em"
    assert normalised("The  U.S., an 'Ally'") == "us ally"


def test_a_question_is_right_when_all_its_answers_are(folder: Path) -> None:
    task = load_task("multirc", data=folder)  # two answers (yes, no), one answer (yes)
    results = {chosen: task.score(pick(task, *chosen)).values.tolist() for chosen in np.ndindex(2, 2, 2)}
    assert results == {chosen: [float(chosen[:2] == (0, 1)), float(chosen[2] == 0)] for chosen in results}
    score = task.score(pick(task, 0, 1, 1))
    assert score.mean == 0.5
    assert len(set(score.units)) == 2 and len(set(score.clusters)) == 1
    assert task.chance == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert task.majority == 0.5  # always yes: the second question
    assert task.metric == "question_acc"


def test_a_limit_counts_questions(folder: Path) -> None:
    assert [d.id for d in load_task("multirc", data=folder, limit=1).documents] == [
        "multirc/validation/0",
        "multirc/validation/1",
    ]
    assert len(load_task("multirc", data=folder, limit=2).documents) == 3
    assert len(load_task("copa", data=folder, limit=1).documents) == 1
    assert len(load_task("copa", data=folder, limit=9).documents) == 2


def test_answers_of_a_question_may_stand_apart(tmp_path: Path, write: Any) -> None:
    base = {"paragraph": "P.", "answer": "x", "label": 1}
    rows = [{**base, "question": q, "answer": a} for q, a in [("A", "1"), ("B", "2"), ("A", "3"), ("C", "4")]]
    write(tmp_path, "multirc", rows, rows)
    for limit in (1, 2, 3):
        documents = load_task("multirc", data=tmp_path, limit=limit).documents
        asked = {document.unit for document in documents}
        assert len(asked) == limit
        whole = [d.id for d in load_task("multirc", data=tmp_path).documents if d.unit in asked]
        assert sorted(document.id for document in documents) == whole


def test_chance_and_majority(folder: Path) -> None:
    assert load_task("arc_easy", data=folder).chance == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert load_task("record", data=folder).chance == pytest.approx((2 / 4 + 2 / 2) / 2)  # several are right
    assert load_task("cb", data=folder).chance == pytest.approx(1 / 3)
    assert load_task("cb", data=folder).majority == 0.5
    assert load_task("boolq", data=folder).majority == 0.5
    assert load_task("arc_easy", data=folder).majority == 0.5  # no answer is right twice


def test_the_place_of_an_answer_is_no_majority(tmp_path: Path, write: Any) -> None:
    """A model sees texts: that the right one always stands first helps nobody who answers at random."""
    texts = [[f"right {n % 3}", "wrong", "no"] for n in range(12)]
    rows = [
        {"id": f"{n}", "question": f"Q{n}?", "choices": {"text": text, "label": ["A", "B", "C"]}, "answerKey": "A"}
        for n, text in enumerate(texts)
    ]
    write(tmp_path, "arc_easy", rows, rows)
    assert load_task("arc_easy", data=tmp_path).majority == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", [*ICL14, *PROBES])
def test_scores_equal_the_harness_on_random_log_likelihoods(name: str, folder: Path) -> None:
    """The second route: `process_results` and the aggregation that the YAML file names."""
    task = load_task(name, data=folder)
    task = task.select(range(min(40, len(task.documents))))
    theirs = own_task(name, None if name in PROBES else folder)
    metric = "em" if name == "record" else "acc"
    numbers = np.random.default_rng(0)
    for _ in range(20):
        rows = [numbers.normal(size=len(document.continuations)).round(1).tolist() for document in task.documents]
        items = [
            theirs.process_results(row, [(value, False) for value in values])[metric]
            for row, values in zip(theirs.eval_docs, rows, strict=False)
        ]
        assert task.score(rows).mean == pytest.approx(theirs.aggregation()[metric](items))


def test_what_can_not_be_scored_is_refused(folder: Path) -> None:
    task = load_task("copa", data=folder)
    with pytest.raises(UsageError, match="Log-likelihoods of 1 documents were given, expected 2"):
        task.score([[-1, -2]])
    with pytest.raises(UsageError, match="copa/validation/1 has 2 choices, but 3 log-likelihoods"):
        task.score([[-1, -2], [-1, -2, -3]])
    with pytest.raises(UsageError, match="A log-likelihood of copa/validation/0 is NaN"):
        task.score([[-1, float("nan")], [-1, -2]])


def test_passages_are_clusters_across_splits(tmp_path: Path, write: Any) -> None:
    rows = [{"question": f"q{i}", "passage": p, "label": 1} for i, p in enumerate(["one", "two", "one", "three"])]
    write(tmp_path, "boolq", rows[:2], rows[2:])
    both = [
        d.cluster for split in ("train", "validation") for d in load_task("boolq", data=tmp_path, split=split).documents
    ]
    assert both[0] == both[2] and len(set(both)) == 3
    for seed in range(10):
        shown = load_task("boolq", data=tmp_path, shots=1, seed=seed).documents[0].demonstrations
        assert [demonstration.id for demonstration in shown] == ["boolq/train/1"]


def test_a_wsc_passage_with_two_nouns_is_one_cluster_and_never_shows_itself(tmp_path: Path, write: Any) -> None:
    base = {"text": "Ann saw Eve when she ran.", "span2_text": "she", "span2_index": 4, "span1_index": 0, "label": 0}
    asked = [{**base, "span1_text": noun, "label": label} for noun, label in (("Ann", 0), ("Eve", 1))]
    other = {**base, "text": "Bo hit Al when she cried.", "span1_text": "Al"}
    write(tmp_path, "wsc", [*asked, other], asked)
    task = load_task("wsc", data=tmp_path, shots=1, split="train")
    assert [document.cluster == task.documents[0].cluster for document in task.documents] == [True, True, False]
    for seed in range(10):
        for document in load_task("wsc", data=tmp_path, shots=1, seed=seed).documents:
            assert [shown.id for shown in document.demonstrations] == ["wsc/train/2"]


def test_twins_share_options_and_words() -> None:
    sentences = [
        "Ann paid Eve because _ owed a lot of money to her friend.",
        "Ann taught Eve to swim in the sea since _ could not.",
        "Ann paid Eve because _ needed a lot of money from her friend.",
        "Ann paid Eve because _ owed a lot of money to her friend.",
    ]
    options = [frozenset({"ann", "eve"})] * 3 + [frozenset({"ann", "bo"})]
    assert twins(list("abcd"), sentences, options) == ["a", "b", "a", "d"]
    assert overlap(frozenset("abc"), frozenset("bcd")) == 0.5
    assert overlap(frozenset(), frozenset()) == 0.0


def test_winogrande_twins_are_one_cluster(folder: Path) -> None:
    task = load_task("winogrande", data=folder)
    assert [document.cluster for document in task.documents] == ["winogrande/validation/0"] * 2
    assert task.score(pick(task, 0, 1)).clusters == ("winogrande/validation/0",) * 2


def test_the_fingerprint_follows_what_is_scored(folder: Path) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"shots": 1},
        {"shots": 1, "seed": 1},
        {"limit": 1},
        {"split": "train"},
        {"bos": "never"},
    ]
    prints = [load_task("copa", data=folder, **options).fingerprint for options in asked]
    assert len(set(prints)) == len(asked)
    assert load_task("copa", data=folder).fingerprint == prints[0]
