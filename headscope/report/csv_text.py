"""Rows as CSV text that a spreadsheet takes for text: a cell that would be a formula gets an apostrophe in front.

Names of tasks and tokens come from whoever made a run or a model. The rule is OWASP's (CSV injection): text that begins
with = + - @, a tab or a line break. Numbers stay as they are, and so does a single sign, which is no formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

Row = Iterable[Any]
FORMULA = re.compile(r"[=+\-@\t\r\n].", re.DOTALL)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def text_of(header: Row, rows: Iterable[Row]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)  # with \r\n between rows, so that a cell with either stands in quotes
    writer.writerows([harmless(cell) for cell in row] for row in (header, *rows))
    return out.getvalue()


def harmless(cell: Any) -> Any:
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
