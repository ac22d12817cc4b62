"""The page on the architecture names files that are there, and rooms with the rule that each states of itself."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_rooms import ALLOWED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:interp|induction|ablation|headscope|docs|tests)/[\w/.]+\.py)`", PAGE))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).is_file()]
    folders = set(re.findall(r"`((?:interp|induction|ablation|headscope)/(?:\w+/)*)`", PAGE))
    assert folders and not [name for name in folders if not (ROOT / name).is_dir()]


def test_every_room_stands_in_the_table_with_its_rule() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
    rooms = {room: rule for names, rule in rows for room in re.findall(r"`(\w+)/`", names)}
    there = {room for room in ALLOWED if (ROOT / "headscope" / room).is_dir()}
    assert set(rooms) == there
    for room in there - {"inspector", "report"}:
        words = (ROOT / "headscope" / room / "__init__.py").read_text(encoding="utf-8")
        assert rooms[room].split(":")[0].rstrip(".") in words, f"headscope/{room}/__init__.py states another rule"
