"""What writes outside a run's stages, for a process that is killed by SIGKILL while a file is being written."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from ablation.export import export
from headscope.report.kit import write_kit
from headscope.report.page import render
from headscope.report.published import publish
from headscope.store.run import open_run
from tests.headscope.forking import serve
from tests.headscope.tiny_model import tiny_model

OUT = "out"


# What is written, and what a process is killed in: as the first file is on the disk under its temporary name.
WRITERS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "export": (lambda folder: export(tiny_model(), [(0, 1)], None, folder / OUT), "ablation.export", "_save"),
    "report": (render, "headscope.store.atomic", "_write_to_disk"),
    "kit": (lambda folder: write_kit(open_run(folder), folder / OUT), "headscope.store.atomic", "_write_to_disk"),
    "publish": (lambda folder: publish(open_run(folder), folder / OUT), "headscope.store.atomic", "_write_to_disk"),
}


def work(folder: Path, name: str, kill: str) -> None:
    write, module, step = WRITERS[name]
    place = importlib.import_module(module)
    real = getattr(place, step)

    def killed(*given: Any) -> None:
        real(*given)
        if kill == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    # No figures: a browser would draw them.
    drawn = [
        mock.patch("headscope.report.kit.figures_of", lambda run: ()),
        mock.patch("headscope.report.published.draw_figures"),
    ]
    with mock.patch.object(place, step, killed), drawn[0], drawn[1]:
        write(folder)


if __name__ == "__main__":
    tiny_model()
    serve(work)
