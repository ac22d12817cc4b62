"""Outcomes: the formulas of Method 4 by hand, their identities, and what has no choice to make."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.evaluation import Evaluation, evaluate, judged
from ablation.outcomes import OUTCOMES, Choices, Outcome, problem_of, with_choices
from ablation.tasks import PROBES, Document, Task, load_task
from interp.errors import HeadscopeError, UsageError
from interp.model import HookedModel
from tests.ablation.documents import SmallDocument, SmallTask, documents, partial
from tests.ablation.words import tokenizer
from tests.interp.families import build, load

VALUES = st.floats(-60, -0.01)


def document(name: str, choices: tuple[tuple[int, ...], ...], **fields: Any) -> SmallDocument:
    """A document with one context and these choices, the first one gold."""
    told = {"cluster": name, "unit": name, "gold": 0, "contexts": ((3, 4, 5),) * len(choices), **fields}
    return SmallDocument(id=name, choices=choices, dropped=0, trimmed=0, **told)


def logsumexp(values: list[float]) -> float:
    return max(values) + math.log(sum(math.exp(value - max(values)) for value in values))


def by_hand(row: list[float], right: list[int], lengths: list[int]) -> dict[str, float]:
    """Method 4 for one document whose gold is the first right choice."""
    wrong = [value for place, value in enumerate(row) if place not in right]
    short = [value / length for value, length in zip(row, lengths, strict=True)]
    return {
        "mass": logsumexp(row),
        "sum": row[right[0]],
        "choice": logsumexp([row[place] for place in right]) - logsumexp(row),
        "margin": logsumexp([row[place] for place in right]) - sum(wrong) / len(wrong),
        "per_token": logsumexp([short[place] for place in right]) - logsumexp(short),
    }


@st.composite
def rows(draw: Any) -> tuple[list[list[float]], list[list[int]], list[list[int]]]:
    """Log-likelihoods, right choices and lengths of a few documents with two to six choices."""
    counts = draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    values = [draw(st.lists(VALUES, min_size=n, max_size=n)) for n in counts]
    rights = [draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n - 1, unique=True)) for n in counts]
    lengths = [draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)) for n in counts]
    return values, rights, lengths


@settings(max_examples=60, deadline=None)
@given(given_rows=rows())
def test_every_outcome_is_its_formula(given_rows: tuple[Any, Any, Any]) -> None:
    values, rights, lengths = given_rows
    docs = [  # ids that differ from the first one on: no choice begins another
        document(f"d{n}", tuple((10 + k,) * length for k, length in enumerate(counts)), gold=right[0])
        for n, (counts, right) in enumerate(zip(lengths, rights, strict=True))
    ]
    choices = Choices.of(docs, right=rights)
    flat = np.array([value for row in values for value in row])
    expected = [by_hand(*one) for one in zip(values, rights, lengths, strict=True)]
    for name in OUTCOMES:
        np.testing.assert_allclose(choices.outcome(name, flat).values, [one[name] for one in expected], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(row=st.lists(VALUES, min_size=2, max_size=6), gold=st.integers(0, 1))
def test_mass_and_choice_add_up_to_the_papers_loss(row: list[float], gold: int) -> None:
    docs = [document("d", tuple((10 + k,) for k in range(len(row))), gold=gold)]
    mass, choice, total = (Choices.of(docs).outcome(name, np.array(row)).values for name in ("mass", "choice", "sum"))
    np.testing.assert_allclose(mass + choice, total, atol=1e-9)
    assert total[0] == row[gold] and choice[0] <= 0


@settings(max_examples=60, deadline=None)
@given(row=st.tuples(VALUES, VALUES))
def test_of_two_choices_the_choice_is_the_logistic_of_the_margin(row: tuple[float, float]) -> None:
    choices = Choices.of([document("d", ((7,), (8,)))])
    margin = float(choices.outcome("margin", np.array(row)).values[0])
    expected = -math.log1p(math.exp(-margin)) if margin > -30 else margin
    assert float(choices.outcome("choice", np.array(row)).values[0]) == pytest.approx(expected, abs=1e-9)


def test_equal_choices_are_at_chance() -> None:
    choices = Choices.of([document("d", ((7,), (8,), (9,), (10,)))])
    assert choices.outcome("choice", np.full(4, -3.0)).values[0] == pytest.approx(-math.log(4))


def test_a_choice_that_begins_another_has_a_margin_for_a_choice() -> None:
    docs = [document("nested", ((7, 8), (9,), (7, 8, 6))), document("apart", ((7, 8), (9,), (7, 6)))]
    choices = Choices.of(docs)
    assert choices.nested.tolist() == [True, False]
    row = [-1.0, -2.0, -4.0]
    found = choices.outcome("choice", np.array(row * 2)).values
    assert found[0] == pytest.approx(-1 - (-2 - 4) / 2) and found[1] == pytest.approx(-1 - logsumexp(row))


def test_the_same_ids_behind_other_contexts_are_not_nested() -> None:
    assert not bool(Choices.of(partial()).nested.any())


def test_record_is_told_from_chance() -> None:
    docs = [document(f"d{n}", tuple((10 + k,) for k in range(n))) for n in (2, 5)]
    plain, record = Choices.of(docs), Choices.of(docs, metric="em")
    flat = np.full(7, -2.0)
    np.testing.assert_allclose(record.outcome("choice", flat).values, 0, atol=1e-12)
    np.testing.assert_allclose(plain.outcome("choice", flat).values, [-math.log(2), -math.log(5)])
    np.testing.assert_allclose(record.outcome("mass", flat).values, plain.outcome("mass", flat).values)


def test_winogrande_has_no_mass() -> None:
    choices = Choices.of(partial())
    assert "mass" not in choices.available and "choice" in choices.available
    flat = np.array([-1.0, -3.0, -5.0, -2.0])
    np.testing.assert_allclose(choices.outcome("choice", flat).values[0], -1 - logsumexp([-1.0, -3.0]))
    with pytest.raises(UsageError, match="contexts, not continuations"):
        choices.outcome("mass", flat)


def test_a_question_is_the_mean_over_its_answers() -> None:
    pair = ((7,), (8,))
    docs = [document(f"a{n}", pair, unit=unit, cluster="p") for n, unit in enumerate(["q2", "q1", "q2"])]
    choices = Choices.of(docs)
    flat = np.array([-1.0, -2.0, -2.0, -1.0, -3.0, -1.0])
    found = choices.outcome("choice", flat)
    single = [-math.log1p(math.exp(x)) for x in (-1, 1, 2)]
    assert found.items == ("q2", "q1") and found.clusters == ("p", "p")
    np.testing.assert_allclose(found.values, [(single[0] + single[2]) / 2, single[1]])
    assert math.isnan(found.stderr)  # a single cluster


def test_the_same_formulas_over_more_axes() -> None:
    docs = documents(4)
    choices = Choices.of(docs)
    stack = -torch.rand(5, sum(len(d.choices) for d in docs), dtype=torch.float64) * 9
    for name in OUTCOMES:
        together = choices.by_item(choices.values(name, choices.padded(stack)))
        single = np.stack([choices.outcome(name, row.numpy()).values for row in stack])
        np.testing.assert_allclose(together.numpy(), single)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_evaluations_outcomes_are_those_of_plain_hugging_face(family: str) -> None:
    """Every choice scored by itself through the untouched model, every formula written again."""
    task, hf = SmallTask(tuple(documents(5))), build(family)
    found = evaluate(load(family), task)
    assert found.outcomes == ("metric", *OUTCOMES)
    for place, d in enumerate(task.documents):
        row = []
        for context, choice in zip(d.contexts, d.choices, strict=True):
            with torch.no_grad():
                log_p = hf(input_ids=torch.tensor([[*context, *choice]])).logits[0].double().log_softmax(-1)
            row.append(sum(float(log_p[len(context) + j - 1, token]) for j, token in enumerate(choice)))
        expected = by_hand(row, [d.gold], [len(choice) for choice in d.choices])
        for name in ("choice", "mass", "margin", "per_token"):
            assert float(getattr(found, name)[place]) == pytest.approx(expected[name], abs=1e-4)
        assert found.outcome("sum").values[place] == pytest.approx(expected["sum"], abs=1e-4)


def test_metric_and_gold_are_outcomes_by_name() -> None:
    task = SmallTask(tuple(documents(5)))
    found = evaluate(load("gpt2"), task)
    assert found.outcome("metric").values is found.values and found.outcome("metric").clusters == found.clusters
    np.testing.assert_allclose(found.outcome("sum").values, found.outcome("log_likelihood").values)
    assert found.outcome("choice").stderr == pytest.approx(found.choice.std(ddof=1) / math.sqrt(5))
    with pytest.raises(UsageError, match="no outcome; there are metric, choice, mass"):
        found.outcome("loss")
    with pytest.raises(UsageError, match="without its documents' choices"):
        replace(found, choices=None).outcome("choice")


def test_differences_are_paired() -> None:
    one = Outcome("choice", np.array([-1.0, -2.0]), ("a", "b"), ("a", "b"))
    two = Outcome("choice", np.array([-3.0, -1.0]), ("a", "b"), ("a", "b"))
    assert one.minus(two).values.tolist() == [2.0, -1.0] and one.minus(two).mean == 0.5
    for other in (replace(two, items=("b", "a")), replace(two, name="mass")):
        with pytest.raises(UsageError, match="can't be paired"):
            one.minus(other)


@pytest.mark.parametrize(
    ("made", "right", "words"),
    [
        (document("d", ((7,),)), [0], "offers 1 choice, where two or more"),
        (document("d", ((7,), (8,), (7,))), [0], "two of the 3 choices of d are the same text"),
        (document("d", ((7,), (8,))), [0, 1], "2 of the 2 choices of d count as right"),
        (document("d", ((7,), (8,))), [], "0 of the 2 choices of d count as right"),
    ],
)
def test_what_has_no_choice_gets_a_sentence(made: SmallDocument, right: list[int], words: str) -> None:
    assert words in (problem_of(made, right) or "")
    choices = Choices.of([made, document("fine", ((7,), (8,)))], right=[right, [0]])
    flat = np.full(len(made.choices) + 2, -1.0)
    for name in ("choice", "mass", "margin", "per_token"):
        with pytest.raises(UsageError, match=words):
            choices.outcome(name, flat)
    assert choices.available == ("sum",) and choices.outcome("sum", flat).mean == -1


def test_no_document_and_numbers_that_overflow_are_refused() -> None:
    assert Choices.of([]).why_not("sum") is not None
    with pytest.raises(HeadscopeError, match="choice of d is not a finite number"):
        Choices.of([document("d", ((7,), (8,)))]).outcome("choice", np.array([-np.inf, -1.0]))


def test_documents_without_a_choice_can_be_left_out_with_their_unit() -> None:
    def text(name: str, continuations: tuple[str, ...], unit: str) -> Document:
        return Document(name, unit, unit, "", (), ("w3 w4",) * len(continuations), continuations, 0, (0,), "acc")

    given_documents = (
        text("a", (" w5", " w6"), "q1"),
        text("b", (" w5", " w5"), "q2"),
        text("c", (" w5", " w6"), "q2"),
        text("d", (" w7",), "q3"),
    )
    task = Task("t", 0, given_documents, "question_acc", "validation", 0, "document", "true", "auto", "built in")
    model = load("gpt2", tokenizer=tokenizer())
    kept, reasons = with_choices(task, model)
    assert [d.id for d in kept.documents] == ["a"] and len(reasons) == 2
    assert with_choices(kept, model) == (kept, ())
    assert evaluate(model, kept).choice.shape == (1,)
    with pytest.raises(UsageError, match=r"2 of 4 documents are like it.*with_choices"):
        evaluate(model, task).outcome("choice")


def test_judged_keeps_all_right_answers() -> None:
    class Several(SmallDocument):
        @property
        def right(self) -> tuple[int, ...]:
            return (0, 2)

    docs = [Several(**{name: getattr(d, name) for name in d.__dataclass_fields__}) for d in documents(2)]
    found: Evaluation = judged(SmallTask(tuple(docs)), docs, [[-1.0, -2.0, -3.0]] * 2)
    np.testing.assert_allclose(found.choice, [logsumexp([-1.0, -3.0]) - logsumexp([-1.0, -2.0, -3.0])] * 2)
    assert found.outcome("sum").values.tolist() == [-1.0, -2.0]  # the gold choices, 0 and 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*PROBES[:4], *(pytest.param(name, marks=pytest.mark.longest) for name in PROBES[4:8])]
)
def test_the_real_models_outcomes_are_those_of_plain_transformers(smollm2: HookedModel, name: str) -> None:
    """20 documents a task, every choice by itself; a choice that begins another one has a margin in its place."""
    task = load_task(name, shots=1, limit=20, split="train")
    found = evaluate(smollm2, task)
    for place, d in enumerate(task.token_documents(smollm2)):
        row = []
        for context, choice in zip(d.contexts, d.choices, strict=True):
            with torch.no_grad():
                ids = torch.tensor([[*context, *choice]])
                log_p = smollm2.hf(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            row.append(sum(float(log_p[len(context) + j - 1, token]) for j, token in enumerate(choice)))
        nested = any(a != b and b[: len(a)] == a for a in d.choices for b in d.choices)
        expected = by_hand(row, [d.gold], [len(choice) for choice in d.choices])
        assert found.choice[place] == pytest.approx(expected["margin" if nested else "choice"], abs=1e-4)
        assert found.mass[place] == pytest.approx(expected["mass"], abs=1e-4)
        assert found.outcome("sum").values[place] == pytest.approx(expected["sum"], abs=1e-4)
