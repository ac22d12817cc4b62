"""What a browser asks for, read from what it sends: nothing in it is believed before it is checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, cast, get_args

from interp.errors import UsageError, quoted

PromptKind = Literal["text", "task", "repeated", "stored"]
Ablation = Literal["zero", "mean"]
CHARACTERS = 20_000
SHOTS, DOCUMENTS, LENGTH, REPEATS = 10, 10_000, 256, 16


@dataclass(frozen=True)
class Prompt:
    """A text, a task's document with its demonstrations, a random repeated sequence, or the stored one of a run."""

    kind: PromptKind
    text: str = ""
    task: str = ""
    shots: int = 0
    document: int = 0
    length: int = 12
    repeats: int = 4
    seed: int = 0

    @property
    def key(self) -> str:
        """A name for this prompt that can stand in an address."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class RemovedParts:
    """Heads and FFNs that are removed, and by what they are replaced."""

    heads: tuple[tuple[int, int], ...] = ()
    ffns: tuple[int, ...] = ()
    ablation: Ablation = "zero"

    def __bool__(self) -> bool:
        return bool(self.heads or self.ffns)

    @property
    def in_words(self) -> str:
        """In words; empty where nothing is removed."""
        names = [*(f"{layer}.{head}" for layer, head in self.heads), *(f"FFN {layer}" for layer in self.ffns)]
        return f"{', '.join(names)} by {self.ablation}" if names else ""


def asked_prompt(value: Any) -> Prompt:
    """The prompt that was asked for. Raises UsageError where it is none, or too long."""
    fields = value if isinstance(value, Mapping) else {}
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in get_args(PromptKind):
        raise UsageError(f"there is no kind of prompt {quoted(kind)}; there are {', '.join(get_args(PromptKind))}")
    if kind == "text":
        return Prompt("text", text=_text(fields.get("text")))
    if kind == "task":
        return Prompt(
            "task",
            task=str(fields.get("task", ""))[:200],
            shots=whole(fields.get("shots", 0), "shots", 0, SHOTS),
            document=whole(fields.get("document", 0), "document", 0, DOCUMENTS),
        )
    if kind == "repeated":
        return Prompt(
            "repeated",
            length=whole(fields.get("length", 12), "block length", 2, LENGTH),
            repeats=whole(fields.get("repeats", 4), "repeats", 2, REPEATS),
            seed=whole(fields.get("seed", 0), "seed", 0, 1_000_000),
        )
    return Prompt("stored")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("The prompt is empty: write a text of at least one token.")
    if len(value) > CHARACTERS:
        raise UsageError(
            f"The prompt has {len(value):,} characters, and the inspector reads at most {CHARACTERS:,}: shorten it. "
            "Heads are scored on longer texts by the commands `headscope induction` and `headscope importance`."
        )
    return value


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises UsageError for anything else."""
    if not str(value).strip():
        raise UsageError(f"{name} is empty: give a whole number from {low} to {high}")
    found = re.fullmatch(r"([+-]?[0-9]{1,20})(?:\.0)?", str(value).strip())  # 2.0 is how some browsers write 2
    if found is None:
        raise UsageError(f"{name} is {str(value)[:40]!r}, which is no whole number from {low} to {high}")
    read = int(found[1])
    if not low <= read <= high:
        raise UsageError(f"{name} is {read}; it can lie between {low} and {high}")
    return read


def asked_head(value: Any, layers: int, heads: int) -> tuple[int, int]:
    """(layer, head). Raises UsageError where there is no such head."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UsageError(f"{quoted(value)} is not a head: expected [layer, head]")
    if not all(re.fullmatch("-?[0-9]{1,9}", str(part)) for part in value):
        raise UsageError(f"{quoted(value)} is not a head: expected [layer, head]")
    layer, head = (int(part) for part in value)
    if not (0 <= layer < layers and 0 <= head < heads):
        raise UsageError(f"head {layer}.{head} does not exist: there are layers 0-{layers - 1}, heads 0-{heads - 1}")
    return layer, head


def asked_removal(value: Any, layers: int, heads: int) -> RemovedParts:
    """What is removed, each once, in order. Raises UsageError for heads and FFNs that are not there."""
    fields = value if isinstance(value, Mapping) else {}
    ablation = fields.get("ablation", "zero")
    if not isinstance(ablation, str) or ablation not in get_args(Ablation):
        raise UsageError(f"there is no replacement {quoted(ablation)}; there are {', '.join(get_args(Ablation))}")
    chosen = {asked_head(head, layers, heads) for head in _listed(fields.get("heads"))}
    ffns = {whole(layer, "FFN", 0, layers - 1) for layer in _listed(fields.get("ffns"))}
    return RemovedParts(tuple(sorted(chosen)), tuple(sorted(ffns)), cast(Ablation, ablation))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
