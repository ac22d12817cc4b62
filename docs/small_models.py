"""Measure the small models at every checkpoint and write their page, docs/results/small-models.

    python examples/train_small_models.py --out small-models
    python docs/small_models.py small-models

1. Each checkpoint: the scores of every head (Method 2, protocol `quick`), the repeat score (2.6), and the choice gain
   of three tasks in the models' language (4): choice with examples minus choice without, document by document.
2. Each last checkpoint: what the choice gain loses when heads are replaced by their mean (3.3), one by one, and all
   induction heads (2.8) together.
3. The page and its pictures are made from the tables beside it, by small_models_page.py; `--page` does only that.
What a checkpoint gave is kept beside its weights and not measured again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from small_models_page import write_page
from small_models_tables import TABLES

import ablation
import induction
import interp
from ablation.gains import Conditions, Shots, load_conditions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "small-models"
TASKS = {"small_recall": 7, "small_kinds": 8, "small_facts": 5}  # and how many examples are shown
KEPT = "measured.json"
REFERENCES = 96  # documents that the mean is taken of
Rows = dict[str, list[dict[str, Any]]]  # by table


def conditions(name: str, data: Path, *, limit: int | None = None) -> Conditions:
    """A task with examples, without, and with shuffled labels of examples; every document has its own examples."""
    return load_conditions(name, shots=TASKS[name], draws=1, data=data, limit=limit)


def measured(folder: Path, tasks: dict[str, Conditions], *, sequences: int | None = None) -> Rows:
    """One checkpoint's rows of `heads`, `checkpoints` and `tasks`, and of `removals` if it is a model's last."""
    kept = folder / KEPT
    if kept.is_file():
        found: Rows = json.loads(kept.read_text(encoding="utf-8"))
        return found
    place = {"model": folder.parent.name, "step": int(folder.name.removeprefix("step-"))}
    model = interp.load_model(folder)
    repeated = induction.repeated_sequences(model, sequences=sequences)
    scores = induction.induction_scores(model, repeated)
    evaluated = {name: task.evaluated(model) for name, task in tasks.items()}
    rows: Rows = {
        "heads": [{**place, **row} for row in head_rows(scores)],
        "checkpoints": [{**place, **checkpoint_row(model, repeated, scores)}],
        "tasks": [{**place, **task_row(name, shots)} for name, shots in evaluated.items()],
        "removals": [],
    }
    if folder == checkpoints(folder.parent)[-1]:
        removed = removal_rows(model, scores.heads.heads, folder.parents[1] / "tasks", tasks, evaluated)
        rows["removals"] = [{"model": place["model"], **row} for row in removed]
    kept.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def head_rows(scores: induction.InductionScores) -> Iterator[dict[str, Any]]:
    """Every head: prefix matching with its interval and whether it is above both nulls, its class, previous token."""
    prefix, previous = scores.get("prefix_matching"), scores.get("previous_token")
    above = prefix.above_null()
    for layer, head in np.ndindex(*prefix.mean.shape):
        at = (layer, head)
        yield {
            "layer": layer,
            "head": head,
            "prefix_matching": decimals(prefix.mean[at]),
            "ci_low": decimals(prefix.ci_low[at]),
            "ci_high": decimals(prefix.ci_high[at]),
            "null": decimals(prefix.null_mean[at]),
            "above_null": bool(above[at]),
            "class": str(scores.heads.classes[at]),
            "previous_token": decimals(previous.mean[at]),
        }


def checkpoint_row(
    model: interp.HookedModel, repeated: induction.RepeatedSequences, scores: induction.InductionScores
) -> dict[str, Any]:
    """The whole model: parameters, its strongest head, how many induction heads it has, the repeat score."""
    learning = induction.in_context_learning_score(model, repeated)
    values = learning.per_sequence.double()
    return {
        "parameters": sum(weight.numel() for weight in model.hf.parameters()),
        "strongest": decimals(scores.get("prefix_matching").mean.max()),
        "induction_heads": len(scores.heads.heads),
        "repeat_score": decimals(learning.repeat),
        "repeat_stderr": decimals(values.std() / len(values) ** 0.5),
    }


def task_row(name: str, shots: Shots) -> dict[str, Any]:
    """A task: choice by the labels of the examples, the gains in nats with their standard errors, accuracy."""
    row: dict[str, Any] = {"task": name, "shots": shots.few.shots, "documents": len(shots.few.documents)}
    row |= {f"choice_{condition}": decimals(value) for condition, value in shots.levels("choice").items()}
    row |= {f"accuracy_{condition}": decimals(value) for condition, value in shots.levels("metric").items()}
    for contrast in shots.contrasts:
        found = shots.contrast("choice", contrast)
        row |= {contrast: decimals(found.mean), f"{contrast}_stderr": decimals(found.stderr)}
    return row


def removal_rows(
    model: interp.HookedModel,
    induction_heads: list[tuple[int, int]],
    data: Path,
    tasks: dict[str, Conditions],
    whole: dict[str, Shots],
) -> Iterator[dict[str, Any]]:
    """What the choice gain loses without each head, and without all induction heads where there are some."""
    everything = interp.HeadMask.keep_all(model.n_layers, model.n_heads)
    sets = {f"{layer}.{head}": [(layer, head)] for layer, head in np.ndindex(model.n_layers, model.n_heads)}
    if induction_heads:
        sets["all induction heads"] = induction_heads
    for name, task in tasks.items():
        shown = ablation.load_task(name, shots=TASKS[name], split="train", limit=REFERENCES, data=data)
        unshuffled = Conditions(task.few, task.none)
        mean = ablation.make_replacement(model, "mean", shown.token_documents(model))
        gain = whole[name].contrast("choice")
        for title, heads in sets.items():
            without = unshuffled.evaluated(model, heads=everything.without(heads), replacement=mean)
            drop = gain.minus(without.contrast("choice"))
            yield {"task": name, "removed": title, "drop": decimals(drop.mean), "stderr": decimals(drop.stderr)}


def write_tables(models: Path, out: Path) -> None:
    """All checkpoints of all models that are complete, one CSV file a table."""
    homes = sorted(path.parent for path in models.glob("*/recipe.json"))
    if not homes:
        raise SystemExit(f"There is no trained model in {models}: run examples/train_small_models.py --out {models}")
    tasks = {name: conditions(name, models / "tasks") for name in TASKS}
    rows: Rows = {name: [] for name in TABLES}
    for home in homes:
        rows["models"].append(model_row(home))
        losses = pd.read_csv(home / "losses.csv").assign(model=home.name)
        rows["losses"] += losses[["model", "step", "part", "loss"]].to_dict("records")
        for folder in checkpoints(home):
            for name, found in measured(folder, tasks).items():
                rows[name] += found
            print(f"{home.name} {folder.name}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, found in rows.items():
        pd.DataFrame(found).to_csv(out / f"{name}.csv", index=False, lineterminator="\n")


def model_row(home: Path) -> dict[str, Any]:
    """What a model was made by."""
    made = json.loads((home / "recipe.json").read_text(encoding="utf-8"))
    recipe = made["recipe"]
    row = {"model": home.name, **recipe["shape"], "steps": recipe["steps"], "seed": recipe["seed"]}
    return {**row, "core_seconds": made["core_seconds"], **made["versions"]}


def decimals(value: Any) -> float:
    """Four of them, so that tables are small and a run of the same weights writes the same."""
    return round(float(value), 4) + 0.0


def checkpoints(model: Path) -> list[Path]:
    return sorted(model.glob("step-*"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="?", default="small-models", help="what examples/train_small_models.py wrote")
    parser.add_argument("--page", action="store_true", help="only the page, from its tables")
    parser.add_argument("--out", default=RESULTS, type=Path)
    args = parser.parse_args()
    if not args.page:
        write_tables(Path(args.models), args.out)
    write_page(args.out)


if __name__ == "__main__":
    main()
