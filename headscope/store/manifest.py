"""manifest.json: whose numbers a run directory holds, and which commands made them.

A folder belongs to one model: another identity is refused. A command has one protocol and seed in a folder: another is
refused too, because its rows would stand beside the first's unmarked. Other tasks or options make another stage.
Compared: identity, command, protocol, seed, tasks, options. Not compared: versions, times, and what a stage recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from headscope.store.atomic import write_atomically
from headscope.store.canonical import canonical, plain
from headscope.store.names import MANIFEST
from interp.errors import StoreError, UsageError

FORMAT = 1
FILE = MANIFEST
PACKAGES = ("headscope", "torch", "transformers", "transformer-lens", "numpy", "lm-eval")


@dataclass(frozen=True)
class Stage:
    """One command that wrote into a run directory.

    protocol: a name or a mapping, all that must agree among the stages of one command.
    tasks, options: what may differ from stage to stage. record: facts found on the way (vocabulary rule, lengths).
    """

    command: str
    protocol: str | Mapping[str, Any]
    seed: int = 0
    tasks: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    record: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    finished: str = ""

    def same(self, other: Stage) -> bool:
        """Whether the other is this stage, run again or continued."""
        return canonical(self._compared()) == canonical(other._compared())

    def agrees(self, other: Stage) -> bool:
        """Whether both may stand in one folder."""
        told = [[stage.protocol, stage.seed] for stage in (self, other)]
        return self.command != other.command or canonical(told[0]) == canonical(told[1])

    def describe(self) -> str:
        """The protocol and the seed in words."""
        told = self.protocol
        if isinstance(told, Mapping):
            told = ", ".join(f"{name} {value}" for name, value in told.items())
        return f"protocol '{told}' with seed {self.seed}"

    def _compared(self) -> list[Any]:
        return [self.command, self.protocol, self.seed, list(self.tasks), dict(self.options)]


@dataclass(frozen=True)
class Manifest:
    """The identity of the model and the stages so far."""

    identity: Mapping[str, Any]
    stages: tuple[Stage, ...] = ()

    def recorded(self, name: str) -> Any:
        """What the first stage that noted something by this name noted; None where none did."""
        return next((stage.record[name] for stage in self.stages if name in stage.record), None)

    def with_stage(self, stage: Stage, folder: Path) -> Manifest:
        """The manifest with the stage added, or put in place of itself. Raises StoreError for another protocol."""
        for other in self.stages:
            if not stage.agrees(other):
                raise StoreError(
                    f"the folder '{folder}' already holds `headscope {stage.command}` by {other.describe()}, and you "
                    f"asked for {stage.describe()}. One folder holds one protocol of a command: choose another folder "
                    "with -o, or delete this one."
                )
        if any(stage.same(other) for other in self.stages):
            return Manifest(self.identity, tuple(stage if stage.same(other) else other for other in self.stages))
        return Manifest(self.identity, (*self.stages, stage))

    def refuse_other(self, identity: Mapping[str, Any], folder: Path) -> None:
        """Raises StoreError where the folder belongs to another model."""
        mine, asked = plain(self.identity), plain(identity)
        if mine == asked:
            return
        differ = sorted(name for name in {*mine, *asked} if mine.get(name) != asked.get(name))
        raise StoreError(
            f"the folder '{folder}' belongs to another model: it holds {describe(mine)}, and you asked for "
            f"{describe(asked)}; they differ in {', '.join(differ)}. Choose another folder with -o, or delete this one."
        )

    def write(self, folder: Path) -> None:
        told = {"format": FORMAT, "identity": dict(self.identity), "stages": [asdict(stage) for stage in self.stages]}
        write_atomically(folder / FILE, _readable(told).encode())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, None where there is none. Raises StoreError for a damaged or foreign one."""
    path = folder / FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{FILE} in '{folder}' can't be read ({error}). It is not one of headscope's, or was damaged: choose "
            "another folder with -o."
        ) from error
    _refuse_other_format(told, folder)
    try:
        stages = tuple(Stage(**{**stage, "tasks": tuple(stage["tasks"])}) for stage in told["stages"])
        return Manifest(told["identity"], stages)
    except (KeyError, TypeError) as error:
        raise StoreError(f"{FILE} in '{folder}' lacks a field or has one too many: {error}") from error


def _readable(told: Any) -> str:
    """Indented JSON with lists of numbers on one line; a line break is never part of a JSON string."""
    text = json.dumps(plain(told), indent=1)
    return re.sub(r"\[\n[-\d.,eE\s]+\]", lambda match: re.sub(r"\s+", "", match[0]), text) + "\n"


def _refuse_other_format(told: Any, folder: Path) -> None:
    found = told.get("format") if isinstance(told, dict) else None
    if found != FORMAT:
        raise StoreError(
            f"the folder '{folder}' was written in store format {found!r}, and this version of headscope reads format "
            f"{FORMAT}. Read it with the version that wrote it, or choose another folder with -o."
        )


def check_identity(identity: Mapping[str, Any]) -> None:
    """Raises UsageError for an identity that names no model or can't be written as JSON."""
    if not identity.get("source"):
        raise UsageError(f"a model identity must name its source (a hub id, a folder, ...), got {dict(identity)!r}")
    canonical(identity)


def describe(identity: Mapping[str, Any]) -> str:
    """The model in a few words: source, revision, quantisation, dtype, weights."""
    told = [str(identity[name]) for name in ("revision", "quantization", "dtype") if identity.get(name)]
    if identity.get("weight_hash"):
        told.append(f"weights {str(identity['weight_hash'])[:12]}")
    source = str(identity.get("source", "an unnamed model"))
    return f"{source} ({', '.join(told)})" if told else source


def versions() -> dict[str, str]:
    """Versions of the packages that numbers may depend on; those that are not installed are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
