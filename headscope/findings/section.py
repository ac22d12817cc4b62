"""What a page is made of: sections, each with sentences, a table and figures, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BAR = "\\|"  # a bar in a cell that ends no cell


@dataclass(frozen=True)
class PageTable:
    """The first cell of a row names it. numbers: the others are numbers, not words."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = False

    def markdown(self) -> Iterator[str]:
        yield f"| {' | '.join(self.headings)} |"
        yield f"|{'---|' * len(self.headings)}"
        yield from (f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |" for row in self.rows)


@dataclass(frozen=True)
class Section:
    """name: what the pages know it by. figures: names in the catalogue of figures, drawn under the sentences.

    note: a sentence under the table or the figures that says how to read them.
    """

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    table: PageTable | None = None
    figures: tuple[str, ...] = ()
    note: str = ""
