"""What demonstrations are worth: contrasts by hand, draws mixed document by document, conditions of a real probe."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ablation.evaluation import Evaluation, evaluate, judged
from ablation.gains import Conditions, Shots, load_conditions, mixed_draws
from interp.errors import UsageError
from tests.ablation.documents import SmallTask, documents
from tests.ablation.words import task
from tests.interp.families import load


def evaluation(rows: list[list[float]]) -> Evaluation:
    """Documents of three choices with these log-likelihoods; the gold choices are 0, 1, 2, 0, ..."""
    held = SmallTask(tuple(documents(len(rows))))
    return judged(held, list(held.documents), rows)


def choice(row: list[float], gold: int) -> float:
    return row[gold] - math.log(sum(math.exp(value) for value in row))


FEW = [[-1.0, -5.0, -6.0], [-4.0, -2.0, -6.0], [-3.0, -3.0, -1.0]]
NONE = [[-9.0, -9.0, -9.0], [-8.0, -9.0, -7.0], [-9.0, -8.0, -9.5]]
SHUFFLED = [[-3.0, -3.0, -3.5], [-4.0, -3.0, -4.0], [-2.0, -3.0, -3.0]]


def test_contrasts_are_paired_differences() -> None:
    shots = Shots(evaluation(FEW), evaluation(NONE), evaluation(SHUFFLED))
    few, none, shuffled = ([choice(row, place) for place, row in enumerate(rows)] for rows in (FEW, NONE, SHUFFLED))
    expected = {"gain": (few, none), "learning": (few, shuffled), "format": (shuffled, none)}
    for name, (more, less) in expected.items():
        found = shots.contrast("choice", name)
        np.testing.assert_allclose(found.values, np.subtract(more, less))
        assert found.items == tuple(f"t/{n}" for n in range(3))
    total = shots.contrast("choice", "learning").values + shots.contrast("choice", "format").values
    np.testing.assert_allclose(total, shots.gain("choice"))
    assert shots.levels("choice") == pytest.approx(
        {"few": np.mean(few), "none": np.mean(none), "shuffled": np.mean(shuffled)}
    )
    assert shots.levels("metric") == {"few": 1.0, "none": 1 / 3, "shuffled": 2 / 3}
    assert shots.outcomes[0] == "metric" and shots.outcomes[-1] == "log_likelihood"


def test_the_gain_of_the_sum_is_mass_and_choice() -> None:
    shots = Shots(evaluation(FEW), evaluation(NONE))
    np.testing.assert_allclose(shots.gain("mass") + shots.gain("choice"), shots.gain("sum"))


def test_what_was_not_evaluated_gets_a_sentence() -> None:
    shots = Shots(evaluation(FEW), evaluation(NONE))
    assert shots.contrasts == ("gain",) and math.isnan(shots.levels("choice")["shuffled"])
    with pytest.raises(UsageError, match="labels='shuffled'"):
        shots.contrast("choice", "learning")
    with pytest.raises(UsageError, match="gain, learning, format"):
        shots.contrast("choice", "drop")
    with pytest.raises(UsageError, match="same documents"):
        Shots(evaluation(FEW), evaluation(NONE), evaluation(SHUFFLED[:2]))


def test_conditions_are_evaluated_by_whoever_does_it() -> None:
    model, held = load("gpt2"), SmallTask(tuple(documents(3)))
    shuffled = replace(held, name="other")
    asked = []

    def keep(model: Any, task: Any, **options: Any) -> Evaluation:
        asked.append((task.name, options))
        return evaluate(model, task)

    shots = Conditions(held, held, shuffled).evaluated(model, evaluate=keep, heads=None)
    assert shots.shuffled is not None and asked[-1] == ("other", {"heads": None}) and len(asked) == 3
    assert Conditions(held, held).evaluated(model).shuffled is None


def test_every_third_document_is_of_another_draw() -> None:
    draws = [task(7, seed=seed) for seed in (0, 1, 2)]
    with pytest.raises(UsageError, match="hold different documents"):
        mixed_draws([draws[0], task(6)])
    mixed = mixed_draws(draws)
    assert [draws.index(next(d for d in draws if one in d.documents)) for one in mixed.documents] == [0, 1, 2] * 2 + [0]
    pairs = [
        replace(d, documents=tuple(replace(one, unit=f"q{n // 2}") for n, one in enumerate(d.documents))) for d in draws
    ]
    found = mixed_draws(pairs)  # the answers of one question see one draw
    assert [
        one == two.documents[n]
        for n, (one, two) in enumerate(zip(found.documents, [pairs[n // 2 % 3] for n in range(7)], strict=True))
    ] == [True] * 7


def test_the_conditions_of_a_probe() -> None:
    held = load_conditions("probe_labels", shots=2, limit=9, seed=4, split="train", part="screen")
    ids = [[document.id for document in one.documents] for one in held.tasks.values()]
    assert ids[0] == ids[1] == ids[2] and len(ids[0]) == 9
    for few, shuffled, none in zip(held.few.documents, held.shuffled.documents, held.none.documents, strict=True):
        assert [one.id for one in few.demonstrations] == [one.id for one in shuffled.demonstrations]
        assert len(few.demonstrations) == 2 and not none.demonstrations and few.queries == none.queries
    texts = [[d.contexts for d in one.documents] for one in (held.few, held.shuffled)]
    assert texts[0] != texts[1]
    with pytest.raises(UsageError, match="1 shot and 1 draw at least"):
        load_conditions("probe_labels", shots=0)
