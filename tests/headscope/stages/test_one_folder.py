"""What one command leaves in a folder is never read by another that asks for something else.

Each pair is run in one folder, one after the other; the second must find what it finds in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from ablation.orders import iterative_order
from ablation.tasks import load_task
from headscope.stages.cells import TaskChoice
from headscope.stages.evaluation import OTHER, StoredEvaluations, reference_task, replacement_for
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.removal_orders import ITERATIVE_DOCUMENTS, iterative
from headscope.store.run import open_run
from headscope.store.units import UnitStore
from tests.headscope.tiny_model import tiny_model

# So few documents that a shard of heads is one of FFNs, too.
CHOICE = TaskChoice(("probe_pattern",), shots=(2,), limit=4)
OTHERS = replace(CHOICE, names=("probe_labels",))
FEW, MORE = ((0, 1), (2, 3)), ((1, 0), (1, 2))


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


# --- knock-outs ------------------------------------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "heads": {"component": "head"},
    "FFNs": {"component": "ffn"},
    "few heads": {"component": "head", "heads": FEW},
    "other heads": {"component": "head", "heads": MORE},
    "heads by mean": {"component": "head", "ablation": "mean"},
    "other documents": {"choice": OTHERS, "component": "head"},
}


def knocked(model: interp.HookedModel, folder: Path, asked: str) -> list[torch.Tensor]:
    """What each item of what was asked for loses."""
    options = {"choice": CHOICE, **ASKED[asked]}
    choice = options.pop("choice")
    measure_knock_out(model, folder, choice, **options)
    run, ffns = open_run(folder), options["component"] == "ffn"
    name = "knock_out" + ("_mean" if "ablation" in options else "") + ("_sample" if "heads" in options else "")
    table, task = run.ffn_scores if ffns else run.head_scores, choice.names[0]
    table = table[(table["score"] == name) & (table["task"] == task)]
    assert len(table)
    read: Callable[..., Any] = run.ffn_score if ffns else run.head_score
    variants = sorted(set(table["variant"]))
    found = [read(name, variant, task=task, shots=2) for variant in variants]
    return [score.per_item for score in found]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("heads", "FFNs"),
        ("FFNs", "heads"),
        ("heads", "few heads"),
        ("few heads", "other heads"),
        ("few heads", "heads"),
        ("heads", "heads by mean"),
        ("heads", "other documents"),
    ],
)
def test_knock_outs_of_something_else_are_not_read(
    model: interp.HookedModel, tmp_path: Path, first: str, second: str
) -> None:
    knocked(model, tmp_path / "both", first)
    found, wanted = knocked(model, tmp_path / "both", second), knocked(model, tmp_path / "own", second)
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


# --- iterative orders ------------------------------------------------------------------------------------------------


def test_iterative_orders_of_something_else_are_not_read(model: interp.HookedModel, tmp_path: Path) -> None:
    """Of another component, of other documents, by other steps: each is what the library's function gives for it."""
    units = UnitStore(tmp_path / "units")
    orders = []
    for name, component, percents in (
        ("probe_pattern", "head", (0, 25, 50, 75)),
        ("probe_pattern", "ffn", (0, 25, 50, 75)),
        ("probe_labels", "head", (0, 25, 50, 75)),
        ("probe_pattern", "head", (0, 90)),
        ("probe_pattern", "head", (0, 25, 50, 75)),
    ):
        choice = replace(CHOICE, names=(name,))
        (evaluated,) = choice.tasks("validation")
        found = iterative(model, units, choice, evaluated, component, percents).ranking.order.tolist()
        ranked = load_task(name, shots=2, limit=ITERATIVE_DOCUMENTS, split="train")
        wanted = iterative_order(model, ranked, component=component, percents=percents).ranking.order.tolist()
        assert found == wanted
        orders.append(tuple(found))
    assert len(set(orders)) == 4 and len(units) == 4  # all differ, so that one read for another would be seen


# --- what stands in for what is removed ------------------------------------------------------------------------------


def test_what_stands_in_has_demonstrations_of_the_same_draw(model: interp.HookedModel) -> None:
    """A draw of demonstrations is evaluated against references of the same draw: other draws are other prompts."""
    choice = replace(CHOICE, demo_seeds=2)
    evaluated = choice.tasks("validation")
    assert [task.seed for task in evaluated] == [0, 1]
    references = [reference_task(choice, task, 64) for task in evaluated]
    for task, found in zip(evaluated, references, strict=True):
        wanted = load_task(task.name, shots=2, limit=64, seed=task.seed, split=OTHER[task.split])
        assert found.fingerprint == wanted.fingerprint and found.seed == task.seed
    assert references[0].fingerprint != references[1].fingerprint
    assert reference_task(replace(choice, labels="shuffled"), evaluated[0], 64).labels == "shuffled"
    means = [replacement_for(model, choice, task, "mean").made.z_rest for task in evaluated]  # type: ignore[union-attr]
    assert not torch.equal(*means)


def test_documents_that_stand_in_are_drawn_by_the_seed_and_kept_apart(
    model: interp.HookedModel, tmp_path: Path
) -> None:
    """Resampled by one seed and then by another in one folder: each as in a folder of its own."""
    (task,) = CHOICE.tasks("validation")
    without = torch.ones(model.n_layers, model.n_heads)
    without[1] = 0

    def evaluated(folder: str, seed: int) -> Any:
        stands_in = replacement_for(model, CHOICE, task, "resample", seed=seed)
        return StoredEvaluations(UnitStore(tmp_path / folder))(model, task, heads=without, replacement=stands_in)

    both = [evaluated("both", seed) for seed in (0, 1, 0)]
    own = [evaluated(f"own-{seed}", seed) for seed in (0, 1, 0)]
    for found, wanted in zip(both, own, strict=True):
        assert found.log_likelihoods == wanted.log_likelihoods
    assert both[0].log_likelihoods != both[1].log_likelihoods
