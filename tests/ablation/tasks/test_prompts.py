"""The prompts of Method 6, letter by letter, on made-up documents of all 14 tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablation.tasks import ICL14, Document, load_task

WSC = 'Question: In the passage above, does the pronoun "*{}*" refer to "*{}*"?\nAnswer:'
WIC = "Question: Is the word '{}' used in the same way in the two sentences above?\nAnswer:"
CORRECT = " {}\nIs the answer correct? {}"

# Context of every choice (one, if all are the same), continuations, gold; for each validation document.
EXPECTED: dict[str, list[tuple[list[str], list[str], int]]] = {
    "hellaswag": [
        (["Home: How to sweep. Find a broom. Look around. Then you"], [" eat.", "  sweep."], 1),
        (["Sport: A ball rolls. A girl"], [" kicks it.", " is a ball."], 0),
    ],
    "piqa": [
        (["Question: Dry a cup\nAnswer:"], [' Say "dry"', " It's best to use a towel"], 1),
        (["Question: Cut bread\nAnswer:"], [" Use a knife", " Use a spoon"], 0),
    ],
    "arc_easy": [
        (["Question: Which is a metal?\nAnswer:"], [" Wood", " Wool", " Iron", " Clay"], 2),
        (["Question: What falls?\nAnswer:"], [" Rain", " Light"], 0),
    ],
    "openbookqa": [
        (["12"], [" 10", " 11", " 14", " 13"], 3),
        (["Plants need"], [" paint", " paper", " light", " noise"], 2),
    ],
    "winogrande": [
        (["Tom paid Sue since Tom", "Tom paid Sue since Sue"], [" owed money.", " owed money."], 0),
        (["Tom paid Sue since Tom", "Tom paid Sue since Sue"], [" needed money.", " needed money."], 1),
    ],
    "boolq": [
        (["Snow is cold.\nQuestion: is snow hot?\nAnswer:"], [" yes", " no"], 1),
        (["Snow is cold.\nQuestion: is snow cold?\nAnswer:"], [" yes", " no"], 0),
    ],
    "cb": [
        (["It rains.\nQuestion: it is dry. True, False or Neither?\nAnswer:"], [" True", " False", " Neither"], 1),
        (["I think so.\nQuestion: it is so. True, False or Neither?\nAnswer:"], [" True", " False", " Neither"], 2),
    ],
    "copa": [
        (["The ice melted because"], [" it was hot.", " it was cold."], 0),
        (["The dog barked therefore"], [" i slept.", " i woke."], 1),
    ],
    "wic": [
        (["Sentence 1: She plays well.\nSentence 2: He saw the play.\n" + WIC.format("plays")], [" yes", " no"], 1),
        (["Sentence 1: A light coat.\nSentence 2: A light bag.\n" + WIC.format("light")], [" yes", " no"], 0),
    ],
    "wsc": [
        (
            ["Passage: The cat ate the fish because *it* was hungry.\n" + WSC.format("it", "The cat")],
            [" yes", " no"],
            0,
        ),
        (['Passage: Pip fell. "Good for *him*," said it.\n' + WSC.format("him", "Pip")], [" yes", " no"], 1),
    ],
    "multirc": [
        (
            ["Joy has two cats.\nQuestion: Who has cats?\nAnswer:"],
            [CORRECT.format("Joy", "yes"), CORRECT.format("Joy", "no")],
            0,
        ),
        (
            ["Joy has two cats.\nQuestion: Who has cats?\nAnswer:"],
            [CORRECT.format("Max", "yes"), CORRECT.format("Max", "no")],
            1,
        ),
        (
            ["Joy has two cats.\nQuestion: How many?\nAnswer:"],
            [CORRECT.format("Two", "yes"), CORRECT.format("Two", "no")],
            0,
        ),
    ],
    "rte": [
        (["Oslo is in Norway.\nQuestion: Oslo is a town. True or False?\nAnswer:"], [" True", " False"], 0),
        (["No one came.\nQuestion: Ed came. True or False?\nAnswer:"], [" True", " False"], 1),
    ],
    "record": [
        (
            ["Ann and Eve left Paris.\n\n  - They left.\n  - Paris is far.\n"],
            [f"  - The town of {e} is far from {e}'s home" for e in ("Eve", "the Paris", "Ann", "Paris")],
            3,
        ),
        (["Ann and Eve left Paris.\n\n"], ["  - Eve left", "  - Ann left"], 0),
    ],
}
EXPECTED["arc_challenge"] = EXPECTED["arc_easy"]

# Each train document as a demonstration.
TURNS = {
    "hellaswag": ["Baking: A man has flour. He adds water.", "Rowing: Two boats wait. They start."],
    "piqa": ["Question: Open a jar\nAnswer: Twist the lid", "Question: Warm up\nAnswer: Wear a coat"],
    "arc_easy": ["Question: What is ice?\nAnswer: Water", "Question: What do bees make?\nAnswer: Honey"],
    "arc_challenge": ["Question: What is ice?\nAnswer: Water", "Question: What do bees make?\nAnswer: Honey"],
    "openbookqa": ["Frogs eat flies", "The moon is far"],
    "winogrande": ["Ann fed Bob because Bob was hungry.", "The cup beat the jug as the cup was light."],
    "boolq": [
        "Sky -- The sky is blue.\nQuestion: is the sky blue?\nAnswer: yes",
        "Pigs stay on the ground.\nQuestion: can pigs fly?\nAnswer: no",
    ],
    "cb": [
        "He left.\nQuestion: he left. True, False or Neither?\nAnswer: True",
        "She may come.\nQuestion: she comes. True, False or Neither?\nAnswer: Neither",
    ],
    "copa": ["The cup fell therefore it broke.", "I smiled because i won."],
    "wic": [
        "Sentence 1: The bank is closed.\nSentence 2: He sat on the bank.\n" + WIC.format("bank") + " no",
        "Sentence 1: Run home!\nSentence 2: They run fast.\n" + WIC.format("Run") + " yes",
    ],
    "wsc": [
        "Passage: Ann saw Eve when *she* ran.\n" + WSC.format("she", "Eve") + " yes",
        "Passage: Bo hit Al. *He* cried.\n" + WSC.format("He", "Bo") + " no",
    ],
    "multirc": [
        "Ida sold tea.\nQuestion: What was sold?\nAnswer:" + CORRECT.format("Tea", "yes"),
        "Max ran.\nQuestion: Who ran?\nAnswer:" + CORRECT.format("Ida", "no"),
    ],
    "rte": [
        "All is well.\nQuestion: It is well. True or False?\nAnswer: True",
        "Ed is ill.\nQuestion: Ed is fine. True or False?\nAnswer: False",
    ],
    "record": ["Bo met Al.\n\n  - Bo won.\n  - Bo won", "Rome lost.\n\n  - In Rome"],
}


def seen(document: Document) -> tuple[list[str], list[str], int]:
    return list(dict.fromkeys(document.contexts)), list(document.continuations), document.gold


@pytest.mark.parametrize("name", ICL14)
def test_the_prompt_is_that_of_the_table(name: str, folder: Path) -> None:
    task = load_task(name, data=folder)
    found = [seen(document) for document in task.documents]
    contexts = [(contexts if name == "winogrande" else contexts[:1], rest, gold) for contexts, rest, gold in found]
    assert contexts == EXPECTED[name]
    assert all(len(contexts) == 1 for contexts, _, _ in found) or name == "winogrande"


@pytest.mark.parametrize("name", ICL14)
def test_demonstrations_are_text_target_and_a_blank_line(name: str, folder: Path) -> None:
    zero, two = load_task(name, data=folder), load_task(name, data=folder, shots=2)
    turns = {f"{name}/train/{place}": f"{turn}\n\n" for place, turn in enumerate(TURNS[name])}
    for bare, document in zip(zero.documents, two.documents, strict=True):
        assert {shown.id: shown.text for shown in document.demonstrations} == turns
        front = "".join(turns[shown.id] for shown in document.demonstrations)
        assert document.contexts == tuple(front + query for query in bare.contexts)
        assert (document.continuations, document.gold) == (bare.continuations, bare.gold)


def test_context_and_target_are_those_of_the_gold_choice(folder: Path) -> None:
    first, second = load_task("winogrande", data=folder).documents
    assert (first.context, first.target) == ("Tom paid Sue since Tom", " owed money.")
    assert (second.context, second.target) == ("Tom paid Sue since Sue", " needed money.")


def test_a_pronoun_whose_number_is_off_is_found_nearby() -> None:
    from ablation.tasks.prompts import pronoun_start

    text = "She said it was hers, it was."
    assert pronoun_start(text, "it", 2) == 9
    assert pronoun_start(text, "it", 3) == 9
    assert pronoun_start(text, "it", 4) == 22
    assert pronoun_start(text, "hers", 0) == 16


def test_shuffled_labels_show_choices_of_the_demonstration_itself(folder: Path) -> None:
    true = load_task("probe_capitals", shots=8).documents
    shuffled = load_task("probe_capitals", shots=8, labels="shuffled").documents
    again = load_task("probe_capitals", shots=8, labels="shuffled").documents
    assert shuffled == again
    kept = 0
    for left, right in zip(true, shuffled, strict=True):
        assert [d.id for d in left.demonstrations] == [d.id for d in right.demonstrations]
        for a, b in zip(left.demonstrations, right.demonstrations, strict=True):
            assert a.text.partition("Output:")[0] == b.text.partition("Output:")[0]
            kept += a.text == b.text
    assert 0.2 < kept / (8 * len(true)) < 0.3  # one of four choices is the true one
    sentence = "Ann fed Bob because {} was hungry.\n\n"
    texts = {
        shown.text
        for seed in range(8)
        for document in load_task("winogrande", shots=2, labels="shuffled", seed=seed, data=folder).documents
        for shown in document.demonstrations
        if shown.id == "winogrande/train/0"
    }
    assert texts == {sentence.format("Ann"), sentence.format("Bob")}
