"""The inspector as a person meets it: the real program in a process of its own, and a page that listens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MINUS = "\N{MINUS SIGN}"


@contextmanager
def inspector(*arguments: object, within: float = 300) -> Iterator[str]:
    """`headscope inspect ...` on a free port; the value is the address that it prints."""
    command = [sys.executable, "-m", "headscope", "inspect", *map(str, arguments), "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        late = threading.Timer(within, process.kill)
        late.start()
        said: list[str] = []
        try:
            yield address_of(process, said)
        finally:
            late.cancel()
            process.terminate()
            process.wait(30)


def address_of(process: subprocess.Popen[str], said: list[str]) -> str:
    """What stands behind `inspector:`. Raises AssertionError, with all that was said, where the program ends first."""
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        found = re.match(r"inspector: (http://127\.0\.0\.1:\d+/)", line)
        if found:
            drain = threading.Thread(target=said.extend, args=(process.stdout,), daemon=True)
            drain.start()  # a full pipe would stop the program
            return found[1]
    raise AssertionError(f"the inspector did not start:\n{''.join(said)}")


@dataclass
class Heard:
    """What pages said, and what they asked of anybody but the inspector."""

    messages: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def listen(self, context: Any, address: str) -> None:
        """To every page of this context; what is asked elsewhere is noted and cut off."""

        def asked(route: Any) -> None:
            url = route.request.url
            if url.startswith(address):
                route.continue_()
            else:
                self.elsewhere.append(url)
                route.abort()

        context.route(re.compile("^(?!data:|blob:)"), asked)
        context.on("page", self._listen_to)

    def _listen_to(self, page: Any) -> None:
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.messages.append(f"dialog: {dialog.message}"))


def mosaic_plot(letter: str) -> str:
    return f"#mosaic-{letter} .js-plotly-plot"


def number(text: str) -> float:
    """A number with a true minus sign."""
    return float(text.strip().replace(MINUS, "-"))


def column(page: Any, table: str, name: str) -> dict[str, float]:
    """A table's column: row heading -> number."""
    names = [text.strip() for text in page.locator(f"{table} thead th").all_inner_texts()]
    at = names.index(name)
    rows = page.locator(f"{table} tbody tr")
    cells = [rows.nth(row).locator("th, td").all_inner_texts() for row in range(rows.count())]
    return {row[0].strip(): number(row[at]) for row in cells}
