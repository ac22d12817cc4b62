"""Tasks in the language of the small models, as files: TASK/{task.yaml, train.jsonl, validation.jsonl}.

headscope reads them with `--data FOLDER --tasks NAME`. In each, documents come under many rules, and only examples of
the same rule (`pool_id`) are shown; what a query asks for is decided by its rule, which is not in the query:

- small_recall: four things have four labels, another four under every rule. With seven examples the
  query's own thing is among them: the answer is a copy. Chance at choosing is 1/4.
- small_kinds: two kinds of things have a label each. The query is a thing that no example shows. Chance is 1/2.
- small_facts: a thing's kind, look or place; the examples are of other things, and say which is asked for. Chance is
  1/3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from small_models.corpus import FACTS, Corpus, pick
from small_models.words import ARROW, LABELS, THINGS

SPLITS = ("train", "validation")
RECALL_RULES, RECALLED = 96, 4
KIND_RULES, ASKED = 48, 2
Row = dict[str, Any]

YAML = """\
task: {name}
output_type: multiple_choice
custom_dataset: !function ablation.tasks.data.load
dataset_kwargs: {{task: {name}}}
training_split: train
validation_split: validation
doc_to_text: text
doc_to_choice: choices
doc_to_target: gold
fewshot_delimiter: "\\n"
fewshot_config:
  sampler: !function ablation.tasks.sampler.DocumentSampler
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


def write_tasks(folder: Path, *, seed: int = 0) -> None:
    """Three tasks; `seed` as in the corpus, whose facts they ask for."""
    corpus = Corpus(seed)
    for place, (name, rows_of) in enumerate(TASKS.items()):
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "task.yaml").write_text(YAML.format(name=name), encoding="utf-8")
        rows = list(rows_of(corpus, np.random.default_rng([seed, 4, place])))
        for split in SPLITS:
            lines = (json.dumps(row) for row in numbered(rows, name, split))
            (home / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def numbered(rows: Iterable[Row], name: str, split: str) -> Iterator[Row]:
    """The rows of one split, each with an id."""
    held = (row for row in rows if row["split"] == split)
    yield from ({**row, "document_id": f"{name}/{split}/{place}"} for place, row in enumerate(held))


def recall_rows(corpus: Corpus, rng: np.random.Generator) -> Iterator[Row]:
    for number in range(RECALL_RULES):
        labels = dict(zip(pick(tuple(corpus.facts), rng, RECALLED), pick(LABELS, rng, RECALLED), strict=True))
        choices = pick(tuple(labels.values()), rng, RECALLED)
        for copy in (1, 2):
            for thing, label in labels.items():
                yield row(
                    "train", thing, choices, label, rule=number, cluster=f"train-{number}-{thing}-{copy}", copy=copy
                )
        asked = pick(tuple(labels), rng, 1)[0]
        yield row("validation", asked, choices, labels[asked], rule=number, cluster=f"rule-{number}")


def kind_rows(corpus: Corpus, rng: np.random.Generator) -> Iterator[Row]:
    for number in range(KIND_RULES):
        labels = dict(zip(pick(tuple(THINGS), rng, 2), pick(LABELS, rng, 2), strict=True))
        choices = pick(tuple(labels.values()), rng, 2)
        for kind, label in labels.items():
            things = pick(THINGS[kind], rng, len(THINGS[kind]))
            for thing in things[ASKED:]:
                yield row("train", thing, choices, label, rule=number, cluster=f"train-{number}-{thing}")
            for thing in things[:ASKED]:
                yield row("validation", thing, choices, label, rule=number, cluster=f"rule-{number}")


def fact_rows(corpus: Corpus, rng: np.random.Generator) -> Iterator[Row]:
    things = pick(tuple(corpus.facts), rng, len(corpus.facts))
    for place, thing in enumerate(things):
        split = SPLITS[place % 2]
        choices = pick(corpus.facts[thing], rng, len(FACTS))
        for fact, answer in zip(FACTS, corpus.facts[thing], strict=True):
            yield row(split, f"{thing} {ARROW}", choices, answer, rule=fact, cluster=thing)


def row(
    split: str, text: str, choices: Sequence[str], answer: str, *, rule: object, cluster: str, **more: object
) -> Row:
    places = {"text": text, "choices": list(choices), "gold": list(choices).index(answer)}
    return {**places, "split": split, "pool_id": str(rule), "cluster_id": cluster, **more}


TASKS = {"small_recall": recall_rows, "small_kinds": kind_rows, "small_facts": fact_rows}
