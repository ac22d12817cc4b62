"""The built-in suite: 14 probes of 200 documents, chance at 0 shots, demonstrations that carry the rule."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import import_module

import numpy as np
import pytest

from ablation.tasks import PROBES, load_task
from ablation.tasks.names import ABSTRACTIVE, EXTRACTIVE, PROBE_KINDS
from ablation.tasks.probes import words
from ablation.tasks.probes.suite import Item, documents, half, rows_of, table

NAMES = tuple(name.removeprefix("probe_") for name in PROBES)
NO_CONTENT = {"=", "gave", "the", "in", "The", "met", "friends"}
RULES = {name: import_module(f"ablation.tasks.probes.{name}").RULES for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_item_is_asked_under_every_rule(name: str, split: str) -> None:
    rows, rules = documents(name, split), RULES[name]
    assert len(rows) == 200 and len(rules) in (2, 4)
    assert [row["document_id"] for row in rows] == [f"probe_{name}/{split}/{i}" for i in range(200)]
    for start in range(0, 200, len(rules)):
        item = rows[start : start + len(rules)]
        assert [row["pool_id"] for row in item] == list(rules)
        assert len({(row["text"], tuple(row["choices"]), row["cluster_id"]) for row in item}) == 1
        assert sorted(row["gold"] for row in item) == list(range(len(rules)))
    assert len({row["text"] for row in rows}) == 200 / len(rules)


@pytest.mark.parametrize("name", NAMES)
def test_train_and_validation_share_no_query_and_no_word_of_one(name: str) -> None:
    queries = {
        split: {row["text"].split("Input: ")[1].split("\n")[0] for row in documents(name, split)}
        for split in ("train", "validation")
    }
    assert not queries["train"] & queries["validation"]
    if name in ("pattern", "list_position", "list_category", "details", "lookup", "odd_one_out", "roles"):
        parts = {
            split: {word.strip(",;.") for query in found for word in query.split()} - NO_CONTENT
            for split, found in queries.items()
        }
        assert not parts["train"] & parts["validation"]


def test_each_kind_has_six_probes_and_more() -> None:
    kinds = Counter(PROBE_KINDS.values())
    assert set(kinds) == {EXTRACTIVE, ABSTRACTIVE} and min(kinds.values()) >= 6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_answer_stands_in_the_query_of_extractive_probes_only(name: str, split: str) -> None:
    """In the others a rule that leaves the word as it is has it there, and no other."""
    copied = {rule: 0 for rule in RULES[name]}
    for row in documents(name, split):
        query = row["text"].removeprefix("Input: ").removesuffix("\nOutput:")
        parts = [part.strip(",;.") for part in query.split()]
        copied[row["pool_id"]] += row["choices"][row["gold"]] in (query, *parts)
    each = 200 // len(copied)
    if PROBE_KINDS[f"probe_{name}"] == EXTRACTIVE:
        assert set(copied.values()) == {each}
    else:
        assert copied.pop("unchanged", each) == each
        assert max(copied.values()) <= 2  # a plural or a past tense that is its own word


@pytest.mark.parametrize("split", ["train", "validation"])
def test_new_lists_ask_for_every_place(split: str) -> None:
    """Neither the odd word nor the key that is asked for is given away by where it stands."""
    for name, rule in (("odd_one_out", "odd one out"), ("lookup", "unchanged")):
        places = Counter()
        for row in documents(name, split):
            if row["pool_id"] == rule:
                query, answer = row["text"].split("Input: ")[1].split(";")[0], row["choices"][row["gold"]]
                places[[answer in part.split() for part in query.replace("\n", ",").split(",")].index(True)] += 1
        assert min(places.values()) >= 6 and len(places) == (3 if name == "lookup" else 4), (name, places)


@pytest.mark.parametrize("name", PROBES)
def test_at_zero_shots_any_model_is_at_chance(name: str) -> None:
    task = load_task(name)
    assert task.majority <= task.chance == 1 / len(RULES[name.removeprefix("probe_")])
    assert {len(document.continuations) for document in task.documents} == {len(RULES[name.removeprefix("probe_")])}

    def model(text: str) -> float:  # any function of context and continuation
        return float(np.random.default_rng(abs(hash(text)) % 2**32).normal())

    rows = [[model(d.context + continuation) for continuation in d.continuations] for d in task.documents]
    assert task.score(rows).mean == pytest.approx(task.chance)


@pytest.mark.parametrize("name", PROBES)
def test_the_demonstrations_carry_the_rule(name: str) -> None:
    """A reader of the demonstrations who knows the word lists finds the rule, and with it the answer."""
    bare = name.removeprefix("probe_")
    key = {(row["text"], row["choices"][row["gold"]], row["pool_id"]) for row in documents(bare, "train")}
    rows = documents(bare, "validation")
    for document, row in zip(load_task(name, shots=5).documents, rows, strict=True):
        shown = [demonstration.text.rstrip("\n").rsplit(" ", 0)[0] for demonstration in document.demonstrations]
        rules = [{rule for text, answer, rule in key if f"{text} {answer}" == line} for line in shown]
        assert set.intersection(*rules) == {row["pool_id"]}
        assert document.target == f" {row['choices'][row['gold']]}"


def test_the_suite_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib, json\nfrom ablation.tasks.names import PROBES\n"
        "from ablation.tasks.probes.suite import documents\n"
        "rows = [documents(n[6:], s) for n in PROBES for s in ('train', 'validation')]\n"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_word_lists_hold_what_they_say() -> None:
    assert {kind: len(listed) for kind, listed in words.KINDS.items()} == {
        "animal": 100,
        "food": 100,
        "tool": 50,
        "clothing": 50,
    }
    assert len(set(words.NOUNS)) == 300
    tables = {
        "capitals": "COUNTRIES",
        "antonyms": "ADJECTIVES",
        "plurals": "NOUNS",
        "past_tense": "VERBS",
        "french": "WORDS",
    }
    for name, constant in tables.items():
        rows = getattr(import_module(f"ablation.tasks.probes.{name}"), constant)
        assert len(rows) == len({row[0] for row in rows}) == 100, name


def test_a_word_list_with_a_hole_or_a_double_is_noticed() -> None:
    with pytest.raises(AssertionError, match="expected 2 fields"):
        table("a, b\nc", 2)
    with pytest.raises(AssertionError, match="twice"):
        words.one_each("a b a")
    with pytest.raises(AssertionError, match="not 2 different ones"):
        rows_of(Item("q", ("x", "x")), ("r", "s"), "p", 0)


def test_halves_share_nothing_and_lose_nothing() -> None:
    left, right = (half(range(100), split, "key") for split in ("train", "validation"))
    assert Counter([*left, *right]) == Counter(range(100))
    assert left != list(range(50))


@pytest.mark.longest
@pytest.mark.slow
def test_the_embedded_model_learns_the_rule_from_the_demonstrations(smollm2) -> None:  # type: ignore[no-untyped-def]
    import torch

    def accuracy(shots: int) -> float:
        task = load_task("probe_past_tense", shots=shots).select(range(24))  # six items, each under all four rules
        rows = []
        for document in task.token_documents(smollm2):
            row = []
            for context, choice in zip(document.contexts, document.choices, strict=True):
                with torch.no_grad():
                    logits = smollm2(torch.tensor([[*context, *choice]]))[0, len(context) - 1 : -1]
                row.append(float(logits.log_softmax(-1)[range(len(choice)), list(choice)].sum()))
            rows.append(row)
        return task.score(rows).mean

    assert accuracy(0) == 0.25
    assert accuracy(5) > 0.75
