"""The screen: a task that is learnt passes, the others get a reason, and nothing makes it fail."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from ablation.evaluation import Evaluation, evaluate
from ablation.gains import Conditions, with_common_choices
from ablation.screening import CONFIDENCE, Screen, load_screen, screen
from ablation.statistics.intervals import cluster_mean
from ablation.tasks import Task, load_task
from interp.errors import UsageError
from tests.ablation.words import task, tokenizer
from tests.interp.families import load


def conditions(n: int = 15, name: str = "words", **fields: Any) -> Conditions:
    """The same documents with two demonstrations, with none, and with other demonstrations."""
    few, shuffled = task(n, shots=2), task(n, shots=2)
    none = replace(few, shots=0, documents=tuple(replace(d, demonstrations=()) for d in few.documents))
    return Conditions(*(replace(one, name=name, **fields) for one in (few, none, shuffled)))


def with_gain(gain: float, spread: float = 0.1) -> Any:
    """An evaluator that gives the k-shot prompts this much choice; documents differ by `spread`."""

    def stands_in(model: Any, held: Task, **options: Any) -> Evaluation:
        found = evaluate(model, held)
        rows = []
        for place, document in enumerate(held.documents):
            more = 0.0 if held.shots == 0 else gain + spread * (-1) ** place
            odds = 1 / (1 + 2 * math.exp(-more))  # of three choices, all equal without a gain
            row = [math.log((1 - odds) / 2)] * 3
            row[document.gold] = math.log(odds)
            rows.append(row)
        return replace(found, log_likelihoods=rows)

    return stands_in


def test_a_task_that_is_learnt_passes_and_another_does_not() -> None:
    model = load("gpt2", tokenizer=tokenizer())
    (passed,) = screen(model, [conditions()], evaluate=with_gain(1.0)).tasks
    assert passed.passes and passed.reason == "" and passed.estimate().value > 0.3
    (failed,) = screen(model, [conditions()], evaluate=with_gain(-0.5)).tasks
    assert not failed.passes and "choice gain is -0." in failed.reason
    (unsure,) = screen(model, [conditions()], evaluate=with_gain(2.0, spread=3.0)).tasks
    assert unsure.estimate().value > 0.1 and not unsure.passes and "95% bound -0." in unsure.reason


def test_the_bound_is_students_by_cluster() -> None:
    model = load("gpt2", tokenizer=tokenizer())
    held = conditions(30)
    pairs = [
        replace(one, documents=tuple(replace(d, cluster=f"c{n // 2}") for n, d in enumerate(one.documents)))
        for one in held.tasks.values()
    ]
    (found,) = screen(model, [Conditions(pairs[0], pairs[1], pairs[2])], evaluate=with_gain(0.3)).tasks
    assert found.shots_of is not None
    means = found.shots_of.gain("choice").reshape(15, 2).mean(1)
    low = means.mean() - t.ppf(0.95, 14) * means.std(ddof=1) / math.sqrt(15)
    rows = {(row["outcome"], row["contrast"]): row for row in found.rows()}
    assert rows["choice", "gain"]["lower_bound"] == pytest.approx(low) and rows["choice", "gain"]["clusters"] == 15
    assert found.passes == (low > 0)


def test_rows_have_every_outcome_contrast_and_level() -> None:
    model = load("gpt2", tokenizer=tokenizer())
    found = screen(model, [conditions(name="a"), conditions(name="b")])
    frame = found.to_frame()
    assert set(frame["contrast"]) == {"gain", "learning", "format"} and set(frame["task"]) == {"a", "b"}
    one = frame[(frame["task"] == "a") & (frame["outcome"] == "choice")].set_index("contrast")
    assert one.loc["gain", "value"] == pytest.approx(one.loc["gain", "few"] - one.loc["gain", "none"])
    total = one.loc["learning", "value"] + one.loc["format", "value"]
    assert total == pytest.approx(one.loc["gain", "value"]) and (one["n"] == 15).all()
    gains = frame[frame["contrast"] == "gain"].set_index(["task", "outcome"])["value"]
    assert gains["b", "mass"] + gains["b", "choice"] == pytest.approx(gains["b", "sum"])


def test_a_screen_that_no_task_passes_says_so() -> None:
    model = load("gpt2", tokenizer=tokenizer())
    found = screen(model, [conditions(name="a"), conditions(name="b")], evaluate=with_gain(-1.0))
    assert found.learnt == () and found.sentence.startswith(
        "None of the 2 tasks is learnt from 2 demonstrations. a: its"
    )
    both = screen(model, [conditions(name="a")], evaluate=with_gain(1.0))
    joined = Screen((*both.tasks, found.tasks[1]))
    assert (
        joined.learnt == ("a",) and "1 of 2 tasks are learnt from 2 demonstrations: a. b: its choice" in joined.sentence
    )


def test_a_task_that_can_not_be_screened_does_not_pass() -> None:
    model, held = load("gpt2", tokenizer=tokenizer()), conditions(name="single")

    def single(one: Task) -> Task:
        return replace(
            one,
            documents=tuple(
                replace(d, queries=d.queries[:1], continuations=d.continuations[:1], gold=0, right=(0,))
                for d in one.documents
            ),
        )

    alone = Conditions(*map(single, held.tasks.values()))
    found = screen(model, [alone, conditions(5, name="short"), conditions(name="fine")], evaluate=with_gain(1.0))
    reasons = {one.task: one.reason for one in found.tasks}
    assert "no document has a choice to make (words/validation/0 offers 1 choice" in reasons["single"]
    assert reasons["short"] == "5 independent documents are kept for the screen, which takes 12"
    assert found.learnt == ("fine",) and set(found.to_frame()["task"]) == {"fine"}
    with pytest.raises(UsageError, match="single was not screened: no document"):
        found.tasks[0].estimate()


def test_single_documents_without_a_choice_are_left_out_and_named() -> None:
    model, held = load("gpt2", tokenizer=tokenizer()), conditions(14)

    def doubled(one: Task) -> Task:
        first = one.documents[0]
        return replace(one, documents=(replace(first, continuations=(" w5", " w5", " w6")), *one.documents[1:]))

    (found,) = screen(model, [Conditions(*map(doubled, held.tasks.values()))]).tasks
    assert found.left_out == ("two of the 3 choices of words/validation/0 are the same text to this model",)
    assert found.shots_of is not None and len(found.shots_of.few.documents) == 13


def test_a_choice_that_one_condition_lacks_is_left_out_of_all() -> None:
    """Paired by document, the conditions must hold the same ones."""
    model, held = load("gpt2", tokenizer=tokenizer()), conditions(14)
    first = held.none.documents[0]
    none = replace(held.none, documents=(replace(first, continuations=(" w5", " w5", " w6")), *held.none.documents[1:]))
    kept, reasons = with_common_choices(model, Conditions(held.few, none, held.shuffled))
    names = [document.id for document in held.few.documents[1:]]
    assert all([document.id for document in task.documents] == names for task in kept.tasks.values())
    assert len(reasons) == 1


def test_progress_and_bad_input() -> None:
    model, told = load("gpt2", tokenizer=tokenizer()), []
    screen(model, [conditions(), conditions()], evaluate=with_gain(1.0), progress=lambda *pair: told.append(pair))
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(UsageError, match="at least one task"):
        screen(model, [])
    with pytest.raises(UsageError, match="a screen of 5 documents a task can show nothing: it takes 12"):
        load_screen(["probe_labels"], shots=5, limit=5)


def test_the_documents_of_a_probes_screen() -> None:
    """Kept for it alone, and a third of them shown each of three draws."""
    (held,) = load_screen(["probe_labels"], shots=3, seed=7)
    rest = {document.id for document in load_task("probe_labels", split="train", part="rest").documents}
    ids = [document.id for document in held.few.documents]
    assert len(ids) == 60 and rest.isdisjoint(ids)
    for k in range(3):
        drawn = load_task("probe_labels", split="train", part="screen", limit=60, shots=3, seed=7 + k)
        assert held.few.documents[k::3] == drawn.documents[k::3]
        assert held.few.documents[(k + 1) % 3 :: 3] != drawn.documents[(k + 1) % 3 :: 3]


def baselines(selected_on: str, tasks: int = 20_000, documents: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """True gains of simulated tasks that pass, and the gains that are measured of them.

    Tasks bring -.3 to .3 nats, documents differ by 1. selected_on: `own` documents, those that are measured, or others.
    """
    draw = np.random.default_rng(0)
    true = draw.uniform(-0.3, 0.3, tasks)
    screened, measured = (true[:, None] + draw.standard_normal((tasks, documents)) for _ in range(2))
    judged = measured if selected_on == "own" else screened
    error = judged.std(axis=1, ddof=1) / math.sqrt(documents)
    passes = judged.mean(axis=1) - t.ppf(0.95, documents - 1) * error > 0
    labels = np.arange(documents)
    for place in range(20):  # the rule is the screen's
        assert passes[place] == (cluster_mean(judged[place], labels).lower_bound(CONFIDENCE) > 0)
    return true[passes], measured[passes].mean(axis=1)


def test_selecting_on_documents_of_its_own_inflates_no_baseline() -> None:
    """What is measured of the tasks that pass is their true gain on other documents, and too much on the same."""
    true, measured = baselines("other")
    error = (measured - true).std() / math.sqrt(true.size)
    assert true.size > 2_000 and abs((measured - true).mean()) < 4 * error and error < 0.003
    true, measured = baselines("own")
    assert (measured - true).mean() > 0.08 > 20 * error
