"""A task of few small documents in a folder, to be changed between two commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.ablation.tasks.own_yaml import own_yaml

YAML = own_yaml("sums", "{{question}}", "answers")


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"{n} plus {n % 3} is", "answers": [str(n + k) for k in range(3)], "label": n % 3}
        for n in range(first, first + count)
    ]


def write(path: Path, held: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in held))


def write_sums(root: Path) -> Path:
    """ROOT/sums with the task's definition and both splits."""
    folder = root / "sums"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(YAML)
    write(folder / "train.jsonl", rows(0, 30))
    write(folder / "validation.jsonl", rows(50, 20))
    return folder


def last_row_mended(data: Path) -> None:
    write(data / "train.jsonl", [*rows(0, 29), {**rows(29, 1)[0], "question": "mended"}])
