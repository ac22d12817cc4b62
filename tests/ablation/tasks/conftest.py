"""A folder with two train and two validation documents of each of the 14 tasks, made up, in the hub's field names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]


def choices(*texts: str) -> Row:
    return {"text": list(texts), "label": list("ABCDE"[: len(texts)])}


def arc(question: str, key: str, *texts: str) -> Row:
    return {"id": "x", "question": question, "choices": choices(*texts), "answerKey": key}


def book(stem: str, key: str, *texts: str) -> Row:
    return {"id": "x", "question_stem": stem, "choices": choices(*texts), "answerKey": key}


def wic(word: str, first: str, second: str, label: int) -> Row:
    start = first.lower().index(word)
    return {
        "word": word,
        "sentence1": first,
        "sentence2": second,
        "start1": start,
        "end1": start + len(word),
        "label": label,
    }


def swag(label: str, activity: str, ctx_a: str, ctx_b: str, *endings: str) -> Row:
    return {"activity_label": activity, "ctx_a": ctx_a, "ctx_b": ctx_b, "endings": list(endings), "label": label}


ARC = [
    arc("What is ice?", "B", "Steam", "Water"),
    arc("What do bees make?", "A", "Honey", "Milk", "Silk"),
    arc("Which is a metal?", "C", "Wood", "Wool", "Iron", "Clay"),
    arc("What falls?", "1", "Rain", "Light"),
]
ARC[3]["choices"]["label"] = ["1", "2"]

# The first two rows of each task are train, the others validation.
ROWS: dict[str, list[Row]] = {
    "hellaswag": [
        swag("1", "Baking", "A man has flour.", "he", "sings.", "adds water."),
        swag("0", "Rowing", "Two boats wait.", "", "They start.", "They fly."),
        swag(
            "1",
            "Home",
            "[header] How to sweep [title] Find a broom. [step] Look around.",
            "then You",
            "eat.",
            "[substeps] sweep.",
        ),
        swag("0", "Sport", "A ball rolls.", "a girl", "kicks it.", "is a ball."),
    ],
    "piqa": [
        {"goal": "Open a jar", "sol1": "Twist the lid", "sol2": "Paint the lid", "label": 0},
        {"goal": "Warm up", "sol1": "Eat ice", "sol2": "Wear a coat", "label": 1},
        {"goal": "Dry a cup", "sol1": 'Say "dry"', "sol2": "It's best to use a towel", "label": 1},
        {"goal": "Cut bread", "sol1": "Use a knife", "sol2": "Use a spoon", "label": 0},
    ],
    "arc_easy": ARC,
    "arc_challenge": ARC,
    "openbookqa": [
        book("Frogs eat", "B", "rocks", "flies"),
        book("The moon is", "A", "far", "near"),
        book("12", "D", "10", "11", "14", "13"),
        book("Plants need", "C", "paint", "paper", "light", "noise"),
    ],
    "winogrande": [
        {"sentence": "Ann fed Bob because _ was hungry.", "option1": "Ann", "option2": "Bob", "answer": "2"},
        {"sentence": "The cup beat the jug as the _ was light.", "option1": "cup", "option2": "jug", "answer": "1"},
        {"sentence": "Tom paid Sue since _ owed money.", "option1": "Tom", "option2": "Sue", "answer": "1"},
        {"sentence": "Tom paid Sue since _ needed money.", "option1": "Tom", "option2": "Sue", "answer": "2"},
    ],
    "boolq": [
        {"question": "is the sky blue", "passage": "Sky -- The sky is blue.", "label": 1},
        {"question": "can pigs fly", "passage": "Pigs stay on the ground.", "label": 0},
        {"question": "is snow hot", "passage": "Snow is cold.", "label": 0},
        {"question": "is snow cold", "passage": "Snow is cold.", "label": 1},
    ],
    "cb": [
        {"premise": "He left.", "hypothesis": "he left", "label": 0},
        {"premise": "She may come.", "hypothesis": "she comes", "label": 2},
        {"premise": "It rains.", "hypothesis": "it is dry", "label": 1},
        {"premise": "I think so.", "hypothesis": "it is so", "label": 2},
    ],
    "copa": [
        {"premise": "The cup fell.", "choice1": "It broke.", "choice2": "It sang.", "question": "effect", "label": 0},
        {"premise": "I smiled.", "choice1": "I was sad.", "choice2": "I won.", "question": "cause", "label": 1},
        {
            "premise": "The ice melted. ",
            "choice1": "It was hot.",
            "choice2": "It was cold.",
            "question": "cause",
            "label": 0,
        },
        {"premise": "The dog barked", "choice1": "I slept.", "choice2": "I woke.", "question": "effect", "label": 1},
    ],
    "wic": [
        wic("bank", "The bank is closed.", "He sat on the bank.", 0),
        wic("run", "Run home!", "They run fast.", 1),
        wic("plays", "She plays well.", "He saw the play.", 0),
        wic("light", "A light coat.", "A light bag.", 1),
    ],
    "wsc": [
        {
            "text": "Ann saw Eve when she ran.",
            "span1_text": "Eve",
            "span2_text": "she",
            "span1_index": 2,
            "span2_index": 4,
            "label": 1,
        },
        {
            "text": "Bo hit Al. He cried.",
            "span1_text": "Bo",
            "span2_text": "He",
            "span1_index": 0,
            "span2_index": 3,
            "label": 0,
        },
        {
            "text": "The cat ate the fish because it was hungry.",
            "span1_text": "The cat",
            "span2_text": "it",
            "span1_index": 0,
            "span2_index": 6,
            "label": 1,
        },
        {
            "text": 'Pip fell. "Good for him," said it.',
            "span1_text": "Pip",
            "span2_text": "him",
            "span1_index": 0,
            "span2_index": 3,
            "label": 0,
        },
    ],
    "multirc": [
        {"paragraph": "Ida sold tea.", "question": "What was sold?", "answer": "Tea", "label": 1},
        {"paragraph": "Max ran.", "question": "Who ran?", "answer": "Ida", "label": 0},
        {"paragraph": "Joy has two cats.", "question": "Who has cats?", "answer": "Joy", "label": 1},
        {"paragraph": "Joy has two cats.", "question": "Who has cats?", "answer": "Max", "label": 0},
        {"paragraph": "Joy has two cats.", "question": "How many?", "answer": "Two", "label": 1},
    ],
    "rte": [
        {"premise": "All is well.", "hypothesis": "It is well.", "label": 0},
        {"premise": "Ed is ill.", "hypothesis": "Ed is fine.", "label": 1},
        {"premise": "Oslo is in Norway.", "hypothesis": "Oslo is a town.", "label": 0},
        {"premise": "No one came.", "hypothesis": "Ed came.", "label": 1},
    ],
    "record": [
        {
            "passage": "Bo met Al.\n@highlight\nBo won",
            "query": "@placeholder won",
            "entities": ["Al", "Bo"],
            "answers": ["Bo"],
        },
        {"passage": "Rome lost.", "query": "In @placeholder", "entities": ["Rome", "Bari"], "answers": ["Rome"]},
        {
            "passage": "Ann and Eve left Paris.\n@highlight\nThey left\n@highlight\nParis is far",
            "query": "The town of @placeholder is far from @placeholder's home",
            "entities": ["Eve", "the Paris", "Ann", "Paris", "Eve"],
            "answers": ["Paris"],
        },
        {
            "passage": "Ann and Eve left Paris.",
            "query": "@placeholder left",
            "entities": ["Eve", "Ann"],
            "answers": ["Ann", "Eve"],
        },
    ],
}


def write_rows(folder: Path, task: str, train: list[Row], validation: list[Row]) -> None:
    (folder / task).mkdir(parents=True, exist_ok=True)
    for split, rows in {"train": train, "validation": validation}.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("icl14")
    for task, rows in ROWS.items():
        write_rows(place, task, rows[:2], rows[2:])
    return place


@pytest.fixture
def write() -> Callable[[Path, str, list[Row], list[Row]], None]:
    """Writes a task's train and validation rows into a folder."""
    return write_rows


@pytest.fixture(autouse=True)
def no_folder_from_outside(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The tests say where documents are; only those marked `data` use the folder of the environment."""
    if not request.node.get_closest_marker("data"):
        monkeypatch.delenv("HEADSCOPE_DATA", raising=False)
