"""manifest.json: whose numbers a run directory holds, and which commands made them.

A folder belongs to one model: another identity is refused. A command has one protocol and seed in a folder: another is
refused too, because its rows would stand beside the first's unmarked. Other tasks or options make another stage.
Compared: identity, command, protocol, seed, tasks, options. Not compared: versions, times, and what a stage recorded.

It also holds the SHA-256 of every table and item file (store/sealed.py) and of itself, so that nothing is read as
another value than was written. A manifest of before that has neither: its files are read unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from headscope.store.atomic import read_regular, write_atomically
from headscope.store.canonical import canonical, digest, plain
from headscope.store.names import MANIFEST
from interp.errors import LONGEST_VALUE, StoreError, UsageError, quoted

FORMAT = 1
FILE = MANIFEST
SOURCES = "sources"  # of a stage's record: hashes of the rows that its tasks' prompts are made of
LARGEST = 64 << 20  # bytes of a manifest that is read
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
        compared = [[stage.protocol, stage.seed] for stage in (self, other)]
        return self.command != other.command or canonical(compared[0]) == canonical(compared[1])

    def describe(self) -> str:
        """The protocol and the seed in words."""
        protocol = self.protocol
        if isinstance(protocol, Mapping):
            protocol = ", ".join(f"{name} {value}" for name, value in protocol.items())
        return f"protocol '{protocol}' with seed {self.seed}"

    def _compared(self) -> list[Any]:
        return [self.command, self.protocol, self.seed, list(self.tasks), dict(self.options)]


@dataclass(frozen=True)
class Manifest:
    """The identity of the model, the stages so far, and what each file may hold.

    files: name -> SHA-256 of its content, or of either content while it is replaced; None where no file is checked.
    """

    identity: Mapping[str, Any]
    stages: tuple[Stage, ...] = ()
    files: Mapping[str, tuple[str, ...]] | None = None

    def recorded(self, name: str) -> Any:
        """What the first stage that noted something by this name noted; None where none did."""
        return next((stage.record[name] for stage in self.stages if name in stage.record), None)

    def stage_like(self, stage: Stage) -> Stage:
        """This stage as the manifest has it; itself where it is not there."""
        return next((other for other in self.stages if stage.same(other)), stage)

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
            return replace(self, stages=tuple(stage if stage.same(other) else other for other in self.stages))
        return replace(self, stages=(*self.stages, stage))

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

    def refuse_other_documents(self, stage: Stage, sources: Mapping[str, str], folder: Path) -> None:
        """Raises StoreError where another stage read other documents under the name of a task and split."""
        for other in self.stages:
            before = {} if stage.same(other) else other.record.get(SOURCES) or {}
            if differ := sorted(name for name in sources.keys() & before.keys() if sources[name] != before[name]):
                raise StoreError(
                    f"the folder '{folder}' holds `headscope {other.command}` of other documents or prompts of "
                    f"{'; '.join(differ)}: documents of one name would be paired that are not the same. Give the "
                    "earlier documents (--data), or choose another folder with -o."
                )

    def write(self, folder: Path) -> None:
        content: dict[str, Any] = {
            "format": FORMAT,
            "identity": dict(self.identity),
            "stages": [asdict(stage) for stage in self.stages],
        }
        if self.files is not None:
            content["files"] = {name: list(states) for name, states in self.files.items()}
            content["sha256"] = digest(content)
        text = _readable(content)
        _refuse_unreadable(text)
        write_atomically(folder / FILE, text.encode())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, None where there is none. Raises StoreError for a damaged or foreign one."""
    try:
        content = read_regular(folder / FILE, most=LARGEST)
        return None if content is None else _parsed(content)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{FILE} in '{folder}' can't be read ({error}). It is not one of headscope's, or was damaged: choose "
            "another folder with -o."
        ) from error
    except OtherFormat as error:
        raise StoreError(
            f"the folder '{folder}' was written in store format {error}, and this version of headscope reads "
            f"format {FORMAT}. Read it with the version that wrote it, or choose another folder with -o."
        ) from error


def _refuse_unreadable(text: str) -> None:
    """What could not be read back must not be written: the folder could never be opened again."""
    from headscope.store.schema import check

    try:
        check(json.loads(text))
    except ValueError as error:
        raise UsageError(f"a manifest can't hold this: {error}") from error


class OtherFormat(Exception):
    """The file is a manifest of another version."""


@lru_cache(maxsize=4)
def _parsed(content: bytes) -> Manifest:
    """Raises ValueError for what is no manifest, or no longer the one that was written, and OtherFormat."""
    from headscope.store.schema import check

    found = json.loads(content.decode("utf-8"))
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError("it names no store format")
    version = found["format"]
    if type(version) is not int or version != FORMAT:
        raise OtherFormat(quoted(version) if isinstance(version, str) else repr(version)[:LONGEST_VALUE])
    check(found)
    sealed = found.pop("sha256", None)
    if ("files" in found) != (sealed is not None) or (sealed is not None and sealed != digest(found)):
        raise ValueError("its content is not what its own SHA-256 says")
    stages = tuple(Stage(**{**stage, "tasks": tuple(stage.get("tasks", ()))}) for stage in found["stages"])
    files = found.get("files")
    states = None if files is None else {name: tuple(of_it) for name, of_it in files.items()}
    return Manifest(found["identity"], stages, states)


def _readable(content: Any) -> str:
    """Indented JSON with lists of numbers on one line; a line break is never part of a JSON string."""
    text = json.dumps(plain(content), indent=1)
    return re.sub(r"\[\n[-\d.,eE\s]+\]", lambda match: re.sub(r"\s+", "", match[0]), text) + "\n"


def check_identity(identity: Mapping[str, Any]) -> None:
    """Raises UsageError for an identity that names no model or can't be written as JSON."""
    if not identity.get("source"):
        raise UsageError(f"a model identity must name its source (a hub id, a folder, ...), got {dict(identity)!r}")
    canonical(identity)


def describe(identity: Mapping[str, Any]) -> str:
    """The model in a few words: source, revision, quantisation, dtype, weights."""
    parts = [str(identity[name]) for name in ("revision", "quantization", "dtype") if identity.get(name)]
    if identity.get("weight_hash"):
        parts.append(f"weights {str(identity['weight_hash'])[:12]}")
    source = str(identity.get("source", "an unnamed model"))
    return f"{source} ({', '.join(parts)})" if parts else source


def versions() -> dict[str, str]:
    """Versions of the packages that numbers may depend on; those that are not installed are left out."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
