"""From rows to documents: the harness's own texts, our demonstrations (Method 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ablation.tasks.choices import choices_of
from ablation.tasks.labels import meant, refuse_no_gold, right_choices
from ablation.tasks.nulls import refuse_nulls
from ablation.tasks.rows import Row, telling_row
from ablation.tasks.sampler import draw
from ablation.tasks.tokens import Demonstration, Document


@dataclass(frozen=True)
class Renderer:
    """Renders documents of one task; `pool` are the rows that demonstrations are drawn from.

    With `labels="shuffled"` each demonstration ends with a choice drawn evenly from its own choices (Method 4, gains;
    Min et al. 2022), seeded by the document and the demonstration; with `wrong`, with one drawn from those that are not
    right, where there are any.
    """

    definition: Any
    pool: Sequence[Row]
    shots: int
    seed: int
    demos: str
    labels: str
    metric: str
    shown: dict[tuple[int, int | None], str] = field(default_factory=dict)

    def document(self, row: Row) -> Document:
        """One document with its demonstrations."""
        identifier = str(row["document_id"])
        continuations = self.continuations(row)
        gold, right = right_choices(self.definition, row, self.metric)
        refuse_no_gold(row, gold, continuations)
        refuse_nulls(row, self.texts)
        preamble, queries = self.queries(row, len(continuations))
        return Document(
            id=identifier,
            cluster=str(row["cluster_id"]),
            unit=str(row.get("unit_id") or identifier),
            preamble=preamble,
            demonstrations=tuple(self.demonstrations(row)),
            queries=queries,
            continuations=continuations,
            gold=gold,
            right=right,
            metric=self.metric,
            pool=str(row.get("pool_id") or ""),
        )

    def texts(self, row: Row) -> tuple[str, ...]:
        """All that a row itself gives to its prompts."""
        continuations = self.continuations(row)
        preamble, queries = self.queries(row, len(continuations))
        return preamble, *queries, *continuations

    def continuations(self, row: Row) -> tuple[str, ...]:
        """What is scored behind each context."""
        task, choices = self.definition, choices_of(self.definition, row)
        texts = [task.doc_to_target(row)] * len(choices) if task.multiple_input else choices
        return tuple(f"{task.config.target_delimiter}{text}" for text in texts)

    def queries(self, row: Row, n: int) -> tuple[str, tuple[str, ...]]:
        """The task's description, and the prompt without demonstrations, one a choice."""
        task = self.definition
        preamble = task.resolve_field(row, task.config.description) or ""
        text = task.fewshot_context(row, 0, gen_prefix=task.doc_to_prefix(row))
        texts = text if task.multiple_input else [text] * n
        return preamble, tuple(query.removeprefix(preamble) for query in texts)

    def demonstrations(self, row: Row) -> Iterator[Demonstration]:
        """The demonstrations of one document, in prompt order."""
        if not self.shots:
            return
        for index in draw(self.pool, row, self.shots, seed=self.seed, demos=self.demos):
            shown = self.pool[index]
            choice = None if self.labels == "true" else self.random_choice(row, shown)
            yield Demonstration(id=str(shown["document_id"]), text=self.turn(index, choice))

    def random_choice(self, row: Row, shown: Row) -> int:
        """One of a demonstration's choices (of the wrong ones), seeded by the document and the demonstration."""
        key = f"{self.seed}|{row['document_id'] if self.demos == 'document' else ''}|{shown['document_id']}|label"
        places = list(range(len(choices_of(self.definition, shown))))
        if self.labels == "wrong":
            _, right = right_choices(self.definition, shown, self.metric)
            places = [place for place in places if place not in right] or places
        return places[Random(key).randrange(len(places))]  # noqa: S311  (no secret)

    def turn(self, index: int, choice: int | None) -> str:
        """A row of the pool as a demonstration, with its gold answer or with another choice; rendered once."""
        if (index, choice) not in self.shown:
            row = self.pool[index]
            with telling_row(row):
                self.shown[index, choice] = render_turn(self.definition, row, choice)
                refuse_nulls(row, lambda row: (render_turn(self.definition, row, choice),))
        return self.shown[index, choice]


def render_turn(task: Any, row: Row, choice: int | None) -> str:
    """Text, answer and blank line of one demonstration, by the harness's few-shot settings."""
    settings = task.fewshot_cfg
    text = task.doc_to_text(row, settings.doc_to_text)
    choices = choices_of(task, row, settings.doc_to_choice) if settings.doc_to_choice else None
    answer = task.doc_to_target(row, settings.doc_to_target)
    if task.multiple_input and choices is not None:
        text, choices = choices[text if choice is None else choice], None
    elif choice is not None:
        answer = choice
    elif choices is not None:
        answer = first_right(task, row, answer, choices)  # "1", 1.0 and true are places too
    turn = task.build_qa_turn(
        q=text,
        c=choices,
        a=answer,
        gen_prefix=task.resolve_field(row, settings.gen_prefix),
        tgt_delim=settings.target_delimiter,
        few_delim=settings.fewshot_delimiter,
    )
    return "".join(message.to_text() for message in turn)


def first_right(task: Any, row: Row, answer: Any, choices: Sequence[str]) -> Any:
    """The place of the first choice that a label, or a list of labels, means; the label itself where it means none."""
    found = [meant(task, row, one, choices) for one in (answer if isinstance(answer, list) else [answer])]
    return next((gold for gold in found if 0 <= gold < len(choices)), answer)
