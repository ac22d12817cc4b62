"""A command whose process may take only so much more memory: `limited_memory.py MODEL` (forking.py).

Asked for with folders and MiB; what it prints goes into a file beside the folder. It has been run once before, so that
its work is limited, not its imports.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

import torch

from tests.headscope.commands import Outcome, command, done
from tests.headscope.forking import serve

TASK = "probe_pattern"


def asked(model: str, folder: Path) -> tuple[object, ...]:
    sizes = ("--shots", "0,2", "--limit", 6, "--objective", "choice")
    return ("importance", model, "--tasks", TASK, *sizes, "-o", folder)


def held() -> int:
    """Bytes of its own that the process has asked for (what RLIMIT_DATA counts), without reserved address space."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def work(model: str, folder: Path, more: int | None) -> Outcome:
    """more: MiB; None is no limit."""
    if more is None:
        return command(*asked(model, folder))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held() + (more << 20), hard))
    try:
        return command(*asked(model, folder))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def told(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.told")


if __name__ == "__main__":
    torch.set_num_threads(1)
    source = sys.argv[1]
    with tempfile.TemporaryDirectory() as home:
        done(*asked(source, Path(home) / "run"))

    def limited(folder: Path, more: str = "") -> None:
        found = work(source, folder, int(more) if more else None)
        told(folder).write_text(found.error)
        os._exit(found.status)

    serve(limited)
