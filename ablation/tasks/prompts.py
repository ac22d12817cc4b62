"""The texts of Method 6 that are more than a template in a YAML file.

Each function takes one row in the hub's field names. `*_choices` give the continuations without the space in front,
which is the harness's target delimiter (ReCoRD has none).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from interp.errors import UsageError

Row = Mapping[str, Any]
CONNECTIVES = {"cause": "because", "effect": "therefore"}
PLACEHOLDER = "@placeholder"
HIGHLIGHT = "\n@highlight\n"


def clean_wikihow(text: str) -> str:
    """HellaSwag text without the marks of its WikiHow half: a title ends a sentence, other bracketed marks go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def hellaswag_text(row: Row) -> str:
    return clean_wikihow(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")


def hellaswag_choices(row: Row) -> list[str]:
    return [clean_wikihow(ending) for ending in row["endings"]]


def winogrande_gold(row: Row) -> int:
    """The right option: as the row's `text` an integer, by which the harness knows that choices are contexts."""
    return int(row["answer"]) - 1


def winogrande_contexts(row: Row) -> list[str]:
    before = row["sentence"].partition("_")[0]
    return [before + row["option1"], before + row["option2"]]


def winogrande_target(row: Row) -> str:
    return row["sentence"].partition("_")[2].strip()


def copa_text(row: Row) -> str:
    return f"{row['premise'].strip().removesuffix('.')} {CONNECTIVES[row['question']]}"


def copa_choices(row: Row) -> list[str]:
    return [row[name][:1].lower() + row[name][1:] for name in ("choice1", "choice2")]


def wsc_text(row: Row) -> str:
    pronoun, noun = row["span2_text"], row["span1_text"]
    start = pronoun_start(row["text"], pronoun, int(row["span2_index"]))
    passage = f"{row['text'][:start]}*{pronoun}*{row['text'][start + len(pronoun) :]}"
    asked = f'In the passage above, does the pronoun "*{pronoun}*" refer to "*{noun}*"?'
    return f"Passage: {passage}\nQuestion: {asked}\nAnswer:"


def pronoun_start(text: str, pronoun: str, word: int) -> int:
    """Where the pronoun begins: at the word of that number, or at the nearest one if the number is off.

    The number counts words between white space. In the hub's data it points beside the pronoun in a few rows.
    """
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    alone = re.compile(rf"\W?{re.escape(pronoun)}\b")
    found = [
        (abs(number - word), text.index(pronoun, start))
        for number, start in enumerate(starts)
        if alone.match(text, start)
    ]
    if not found:
        raise UsageError(f"The pronoun {pronoun!r} is no word of {text!r}: expected `span2_text` to occur in `text`.")
    return min(found)[1]


def multirc_choices(row: Row) -> list[str]:
    return [f"{row['answer']}\nIs the answer correct? {verdict}" for verdict in ("yes", "no")]


def record_entities(row: Row) -> list[str]:
    """Each candidate once, in the order of the list."""
    return list(dict.fromkeys(row["entities"]))


def record_text(row: Row) -> str:
    passage, *highlights = row["passage"].strip().split(HIGHLIGHT)
    return f"{passage}\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def record_choices(row: Row) -> list[str]:
    return [f"  - {row['query'].replace(PLACEHOLDER, entity)}" for entity in record_entities(row)]


def record_gold(row: Row) -> int:
    """The first entity, in the order of the list, that is an answer; -1 if none is."""
    return next((i for i, entity in enumerate(record_entities(row)) if entity in row["answers"]), -1)
