"""A kept folder is whole or it is made again, whatever happened to it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from interp.cache import MARKER, cache_root, facts_of, is_whole, kept_folder
from interp.errors import HeadscopeError, StoreError
from tests.interp.full_disk import STEPS, fill

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Fills a folder with two files and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, str]:
        self.calls += 1
        (folder / "inner").mkdir()
        (folder / "weights").write_bytes(b"0123456789" * 1000)
        (folder / "inner" / "config").write_text("{}")
        return {"colour": "green"}


def flip(folder: Path) -> None:
    content = bytearray((folder / "weights").read_bytes())
    content[5000] ^= 1
    (folder / "weights").write_bytes(content)


def noted(resealed: bool = True, **changed: object) -> Callable[[Path], object]:
    """Another value in the marker, under its old hash or a new one."""

    def change(folder: Path) -> None:
        marker = {**json.loads((folder / MARKER).read_text()), **changed}
        sealed = {name: value for name, value in marker.items() if name != "sha256"}
        digest = hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()
        (folder / MARKER).write_text(json.dumps({**marker, "sha256": digest} if resealed else marker))

    return change


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "a truncated file": lambda folder: os.truncate(folder / "weights", 500),
    "a missing file": lambda folder: (folder / "inner" / "config").unlink(),
    "one more file": lambda folder: (folder / "adapter_config.json").write_text("{}"),
    "no marker": lambda folder: (folder / MARKER).unlink(),
    "half a marker": lambda folder: os.truncate(folder / MARKER, 40),
    "a marker of another kind": lambda folder: (folder / MARKER).write_text("[1]"),
    "another version": noted(format=-1),
    "other facts": noted(facts={"colour": "red"}, resealed=False),
    "facts of another type": noted(facts=[1]),
    "a file without a hash": noted(files={"weights": 5}),
    "a size that is none": noted(files={"weights": ["10000", "0" * 64], "inner/config": [2, "0" * 64]}),
    "files of another type": noted(files=None),
}


def test_the_cache_is_where_the_environment_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_root() == cache
    monkeypatch.delenv("HEADSCOPE_CACHE")
    assert cache_root().name == "headscope"


def test_a_folder_is_made_once() -> None:
    make = Maker()
    folder = kept_folder("thing", make)
    assert kept_folder("thing", make) == folder
    assert make.calls == 1
    assert (folder / "inner" / "config").read_text() == "{}"
    assert facts_of(folder) == {"colour": "green"}
    assert facts_of(folder / "inner") == {}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_made_again(damage: Callable[[Path], object]) -> None:
    make = Maker()
    folder = kept_folder("thing", make)
    damage(folder)
    assert not is_whole(folder)
    assert kept_folder("thing", make) == folder
    assert make.calls == 2
    assert is_whole(folder)
    assert facts_of(folder) == {"colour": "green"}
    assert sorted(path.name for path in folder.parent.iterdir()) == ["thing", "thing.lock"]


def test_a_failure_leaves_nothing_behind(cache: Path) -> None:
    def fail(folder: Path) -> dict[str, str]:
        (folder / "half").write_text("x")
        raise HeadscopeError("the reason")

    with pytest.raises(HeadscopeError, match="the reason"):
        kept_folder("thing", fail)
    assert [path.name for path in (cache / "models").iterdir()] == ["thing.lock"]


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    cache: Path, monkeypatch: pytest.MonkeyPatch, step: str, damaged: bool
) -> None:
    def make(folder: Path) -> dict[str, str]:
        safetensors.torch.save_file({"x": torch.ones(3)}, folder / "weights.safetensors")
        (folder / "config").write_text("{}")
        return {"colour": "green"}

    (cache / "models").mkdir(parents=True)
    if damaged:
        (kept_folder("thing", make) / "config").unlink()
    with monkeypatch.context() as patch:
        fill(patch, step)
        with pytest.raises(
            StoreError, match=r"cache folder .* can't be used: .*No space left on device.*HEADSCOPE_CACHE"
        ):
            kept_folder("thing", make)
    left = {path.name for path in (cache / "models").iterdir()} - {"thing", "thing.lock"}
    assert not left and not is_whole(cache / "models" / "thing")
    assert is_whole(kept_folder("thing", make)), "with room it is made"


CHILD = """
import os, sys, time, types

sys.modules["interp"] = types.ModuleType("interp")  # without what interp/__init__.py loads: torch, transformers
sys.modules["interp"].__path__ = ["interp"]
from interp.cache import kept_folder

def make(folder):
    with open(sys.argv[1], "a") as log:
        log.write("made\\n")
    (folder / "weights").write_text("half")
    time.sleep(0.5)
    if sys.argv[2] == "die":
        os._exit(9)
    (folder / "weights").write_text("whole")
    return {}

print((kept_folder("thing", make) / "weights").read_text())
"""


def start(log: Path, end: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(log), end], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    children = [start(tmp_path / "log", "live") for _ in range(2)]
    assert [child.communicate(timeout=60)[0].strip() for child in children] == ["whole", "whole"]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_killed_process_leaves_no_half_folder(tmp_path: Path, cache: Path) -> None:
    assert start(tmp_path / "log", "die").wait(timeout=60) == 9
    assert not (cache / "models" / "thing").exists()
    assert list((cache / "models").glob(".thing.*"))
    folder = kept_folder("thing", Maker())
    assert is_whole(folder)
    assert not list((cache / "models").glob(".thing.*"))


def test_an_unusable_cache_folder_is_named(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"cache.*HEADSCOPE_CACHE"):
        kept_folder("thing", Maker())
