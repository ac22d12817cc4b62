"""Work that is killed while it runs, without waiting for imports each time.

A script (killed_*.py) imports everything once and calls `serve`; a test starts it by `forks` and has it work on one
folder after another. The folder's state, and not the child, knows what was finished.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
DONE, KILLED = "done", f"status {int(signal.SIGKILL)}"


def serve(work: Callable[..., None]) -> None:
    """In the script: fork a child for every folder named on stdin, with words behind tabs for `work` if it takes some.

    Its pid, and then how it ended, go to stdout.
    """
    torch.set_num_threads(1)  # A fork has no worker threads of its parent's.
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            folder, *words = line.rstrip("\n").split("\t")
            work(Path(folder), *words)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(DONE if status == 0 else f"status {status}", flush=True)


@dataclass(frozen=True)
class Forks:
    """In the test: the script, waiting for folders."""

    process: subprocess.Popen[str]

    def begin(self, folder: Path, *words: object) -> int:
        """The pid of a child that works on the folder."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\t".join(map(str, (folder, *words))) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ended(self) -> str:
        """How the child that was begun last came to its end, once it has."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    @staticmethod
    def kill(child: int) -> None:
        with suppress(ProcessLookupError):  # it may have come to its end first
            os.kill(child, signal.SIGKILL)


@contextmanager
def forks(name: str, *arguments: object) -> Iterator[Forks]:
    """The script of this name, with its arguments."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)
