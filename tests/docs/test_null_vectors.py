"""Function vectors where there is nothing to find: what the script makes of a model."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.tasks.names import PROBES
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.docs.scripts import script
from tests.interp.families import load


def test_a_row_tells_the_heads_that_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    null, asked = script("null_vectors.py"), []

    def made(name: str, **options: object) -> object:
        asked.append((name, options))
        labels = str(options.get("mean_labels", "true"))
        return vector_task(name, n_mean=4, n_queries=15, lengths=(1, 1), seed=len(asked), mean_labels=labels)

    model = load("llama", tokenizer=tokenizer())
    monkeypatch.setattr("ablation.vector_tasks.vector_task", made)
    found = null.study(model, PROBES[:5], "wrong", 3, 15)
    cells = [cell.strip() for cell in null.row(found, "wrong", 3).strip("|").split("|")]
    assert cells[:3] == ["wrong", "3", "none"] and 0 < float(cells[4]) <= 1
    assert [options.get("seed", 0) for _, options in asked] == [0, 3] * 5
    right, wrong = null.drawn(found)
    heads = model.n_layers * model.n_heads
    assert right.shape == wrong.shape == (5, heads)
    net = found.scores.mean.flatten()
    np.testing.assert_allclose((right - wrong).mean(0), net, atol=1e-6)


def test_calls_over_all_orders_keep_the_stated_rate_and_find_what_is_there() -> None:
    null, draw = script("null_vectors.py"), np.random.default_rng(0)
    nothing = [draw.normal(size=(6, 20)) + draw.normal(size=(6, 1)) for _ in range(3)]
    studies, above, called = null.calls(nothing)
    assert studies == 3 * 64 and called <= above <= 0.05 * studies
    there = [nothing[0] + 99.0 * (np.arange(20) == 4), nothing[1]]
    assert null.calls(there) == (64, 3, 3), "three orders of 64 are the highest 5%"
    many = [draw.normal(size=(10, 8)) for _ in range(2)]
    assert null.calls(many)[0] == null.ORDERS
