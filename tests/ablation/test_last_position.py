"""Sets removed at the last position, a row each: what whole evaluations with `At("last")` give."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.evaluation import evaluate
from ablation.last_position import without_at_last
from ablation.references import make_replacement
from ablation.replacement import At, Deferred
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.ablation.documents import SmallTask, documents, partial
from tests.interp.families import load

SETS = (((0, 1),), ((0, 0), (1, 3)), ((1, 0), (1, 1), (1, 2), (1, 3)))


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bloom", "olmo2", "mixtral"])
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_rows_are_whole_evaluations(family: str, ablation: str) -> None:
    """Contexts of several lengths, choices of several tokens, and contexts that differ from choice to choice."""
    model, task = load(family), SmallTask((*documents(4), *partial(2)))
    stand_in = make_replacement(model, ablation, documents(6, seed=2, name="ref"), minimum=1)
    found = without_at_last(model, task.documents, SETS, stand_in)
    for heads, rows in zip(SETS, found, strict=True):
        mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads)
        wanted = evaluate(model, task, heads=mask, replacement=At("last", stand_in)).log_likelihoods
        plain = evaluate(model, task).log_likelihoods
        for row, expected in zip(rows, wanted, strict=True):
            np.testing.assert_allclose(row, expected, atol=3e-5)
        assert max(np.abs(np.subtract(a, b)).max() for a, b in zip(rows, plain, strict=True)) > 1e-3


def test_the_mean_of_position_0_stands_in_at_position_0() -> None:
    model, long = load("llama"), documents(1)[0]
    one = type(long)("one", "one", "one", (long.context[:1],) * 3, long.choices, 0, 0, 0)
    means = make_replacement(model, "mean", documents(6, seed=2, name="ref"), minimum=1)
    (rows,) = without_at_last(model, [one], SETS[1:2], means)
    mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(SETS[1])
    wanted = evaluate(model, SmallTask((one,)), heads=mask, replacement=At("last", means)).log_likelihoods
    np.testing.assert_allclose(rows[0], wanted[0], atol=3e-5)


def test_what_goes_by_document_is_refused_and_a_mean_may_be_made_late() -> None:
    model = load("llama")
    references = documents(6, seed=2, name="ref")
    with pytest.raises(UsageError, match="resample goes by document"):
        without_at_last(model, documents(1), SETS, make_replacement(model, "resample", references, minimum=1))
    late = Deferred("mean", lambda: make_replacement(model, "mean", references, minimum=1))
    direct = make_replacement(model, "mean", references, minimum=1)
    assert without_at_last(model, documents(1), SETS, late) == without_at_last(model, documents(1), SETS, direct)
