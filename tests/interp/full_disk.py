"""A disk without room, where the operating system is asked: ENOSPC from the step that is named."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
from safetensors import SafetensorError

STEPS = ("a folder", "a file", "weights", "a new name")


def fill(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """From now on this step finds no room; reading and taking away go on."""
    opened = io.open

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_for_writing(file: Any, mode: str = "r", *more: Any, **given: Any) -> Any:
        return full() if set(mode) & set("wax+") else opened(file, mode, *more, **given)

    def full_in_rust(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    places: dict[str, list[tuple[Any, str, Callable[..., Any]]]] = {
        "a folder": [(os, "mkdir", full)],
        "a file": [(io, "open", full_for_writing)],
        "weights": [(safetensors.torch, "serialize_file", full_in_rust)],
        "a new name": [(os, "replace", full), (os, "rename", full)],
    }
    for where, name, fails in places[step]:
        monkeypatch.setattr(where, name, fails)
