"""Function vectors where there is nothing to find: what the script makes of a model."""

from __future__ import annotations

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
        labels, seed = str(options["mean_labels"]), len(asked)
        return vector_task(name, n_mean=4, n_queries=15, lengths=(1, 1), seed=seed, mean_labels=labels)

    model = load("llama", tokenizer=tokenizer())
    monkeypatch.setattr("ablation.vector_tasks.vector_task", made)
    cells = [cell.strip() for cell in null.study(model, PROBES, "wrong", 3, 15).strip("|").split("|")]
    assert cells[:3] == ["wrong", "3", "none"] and 0 < float(cells[4]) <= 1
    assert len(asked) == 14 and all(options["seed"] == 3 for _, options in asked)
