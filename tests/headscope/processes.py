"""Faults of whole processes, counted as in faults.py: too little memory, two writers at once, kills by SIGKILL."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from tests.headscope.commands import units
from tests.headscope.faults import Told, contents, stored_names, unreadable
from tests.headscope.forking import DONE, KILLED, forks
from tests.headscope.limited_memory import told as told_beside

LONGEST = 0.4  # seconds after which a writer is killed: it takes about so long


def limited_memory(model: Path, home: Path, limits: list[int]) -> Told:
    """`importance` with so many MiB more than the process has at the start; then with as many as it likes."""
    told = Told("memory limit")
    with forks("limited_memory.py", model) as script:

        def ended(folder: Path, *more: int) -> str:
            script.begin(folder, *more)
            return script.ended()

        if ended(home / "whole") != DONE:
            raise AssertionError(told_beside(home / "whole").read_text())
        for more in limits:
            folder = home / f"memory-{more}"
            told.made += 1
            how = ended(folder, more)
            refused = how != DONE and in_words(folder)
            told.refused += refused
            told.wrong += how != DONE and not refused
            told.lost += unreadable(folder)
            there = stored_names(folder) if folder.exists() else set()
            if how != DONE and not refused:
                print(f"{more} MiB: {how}", said(folder))
            again = ended(folder) == DONE and contents(folder) == contents(home / "whole")
            told.lost += len(there - stored_names(folder))
            told.mended += refused and again
            told.harmless += how == DONE and again
            told.wrong += not again
            if not again:
                print(f"after {more} MiB: {said(folder)}")
    return told


def in_words(folder: Path) -> bool:
    """Whether what the command printed at its end is one sentence."""
    last = said(folder).strip().splitlines()[-1:]
    return bool(last) and last[0].startswith("headscope: ") and "Traceback" not in said(folder)


def said(folder: Path) -> str:
    return told_beside(folder).read_text() if told_beside(folder).is_file() else ""


def two_processes(home: Path, rounds: int) -> Told:
    """Two processes that write one stage into one folder; in every second round one is killed, and given again."""
    told, chance = (
        Told("two processes that write into one folder, one of them killed every second time"),
        random.Random(5),
    )
    with forks("killed_writer.py") as one, forks("killed_writer.py") as other:
        one.begin(home / "whole")
        ended = [one.ended()]
        for number in range(rounds):
            folder = home / f"two-{number}"
            child = one.begin(folder)
            other.begin(folder)
            if number % 2:
                time.sleep(LONGEST * chance.random())
                one.kill(child)
            ended += [other.ended(), one.ended()]
            killed = ended[-1] == KILLED
            told.lost += unreadable(folder)
            if killed:
                one.begin(folder)
                ended[-1] = one.ended()
            told.made += 1
            same = contents(folder) == contents(home / "whole")
            told.mended += killed and same
            told.harmless += not killed and same
            told.wrong += not same
            shutil.rmtree(folder)
    told.wrong += sum(how != DONE for how in ended)
    return told


def killed_study(model: Path, home: Path, kills: int) -> Told:
    """A study (killed_study.py) that is killed at random numbers of units, in `killed`, beside one in `whole`."""
    told, draw = Told("a study killed by SIGKILL at random moments, and given again"), random.Random(7)
    whole, folder = home / "whole", home / "killed"
    with forks("killed_study.py", model) as script:
        script.begin(whole)
        if script.ended() != DONE:
            raise AssertionError(f"the study in {whole} did not end")
        total = len(units(whole))
        for moment in sorted(draw.sample(range(1, total), kills)):
            child = script.begin(folder)
            while len(units(folder)) < moment:
                time.sleep(0.002)
            time.sleep(0.05 * draw.random())
            script.kill(child)
            told.made += script.ended() == KILLED
            told.lost += unreadable(folder) + (len(units(folder)) < moment)
        script.begin(folder)
        same = script.ended() == DONE and contents(folder) == contents(whole) and units(folder) == units(whole)
    told.mended += told.made * same
    told.wrong += not same
    return told
