"""What a manifest may hold, field by field: another is refused, with the field, its value and what was expected.

What commands note for themselves is free, but for the notes that a report, a comparison or a command reads again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from headscope.store.canonical import canonical
from interp.errors import UsageError, field_of, quoted

LARGEST_SEED = 2**64 - 1


def _moment(value: str) -> str:
    """A time with its zone, or nothing yet."""
    if value and datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time needs its zone")
    return value


def _name_in_the_folder(value: str) -> str:
    """`head_scores.parquet`, `items/NAME.parquet`: never outside."""
    parts = value.split("/")
    if not 1 <= len(parts) <= 2 or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise ValueError("a file in the run directory")
    return value


def _with_named_ways(protocol: str | dict[str, Any]) -> str | dict[str, Any]:
    """Where it says by what else removed heads are replaced, these are names."""
    ways = protocol.get("ways") if isinstance(protocol, dict) else None
    if not (ways is None or (isinstance(ways, list) and all(isinstance(way, str) for way in ways))):
        raise ValueError("its ways should be a list of names")
    return protocol


Text = Annotated[str, Field(max_length=100_000)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Moment = Annotated[str, AfterValidator(_moment)]
File = Annotated[str, AfterValidator(_name_in_the_folder)]
State = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]  # SHA-256; empty: not there yet
Protocol = Annotated[Text | dict[str, Any], AfterValidator(_with_named_ways)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StoredIdentity(BaseModel):
    """Whose numbers these are."""

    model_config = ConfigDict(strict=True, extra="allow")

    source: Name
    revision: Text | None = None
    quantization: Text | None = None
    dtype: Text | None = None
    architecture: Text | None = None
    weight_hash: Text | None = None


class _Read(BaseModel):
    """What stages note for themselves, with types for what others read of it."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class StoredLook(_Read):
    """How the primary question stood when so many documents were in."""

    look: Count = 1
    documents: Count = 0
    kind: Text = ""
    value: float = 0.0
    low: float = 0.0
    high: float = 0.0


class StoredCandidates(_Read):
    """What random sequences were drawn from."""

    ids: list[Count]
    rule: Text


class StoredOptions(_Read):
    """What may differ from stage to stage."""

    shots: int | list[int] = 0
    length: Count | None = None
    lengths: list[Count] = []


class StoredRecord(_Read):
    """What stages found on the way."""

    scores: dict[str, dict[str, Any]] = {}
    cut: dict[str, Count] = {}
    unlabelled: dict[str, Count] = {}
    budget: dict[str, Any] = {}
    refused: dict[str, Any] | None = None
    left_out: list[Text] | dict[str, Text] = []  # in words, or why by task
    looks: list[StoredLook] = []
    planned_looks: list[float] = []
    earlier: list[Text] = []
    learnt: list[Text] = []
    reasons: dict[str, Text] = {}
    choices: dict[str, list[Count]] = {}
    draws: Count = 0
    lengths: list[Count] = []
    parameters: Count | None = None
    candidates: StoredCandidates | None = None
    vector_heads: list[Text] = []
    vector_controls: Count = 0
    documents: dict[str, Any] | None = None
    sets: dict[str, list[Text] | Text] = {}
    missing_arms: dict[str, Any] = {}
    fv_heads: list[Annotated[str, Field(pattern=r"^[0-9]{1,5}\.[0-9]{1,5}$")]] = []
    fv_over_tasks: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = []
    fewer: Text | None = None
    question: Text | None = None
    hash: Text | None = None
    reason: Text | None = None
    post_norm: Text | None = None
    repeat_score: float | None = None


class StoredStage(_Strict):
    """One command that wrote into the folder."""

    command: Name
    protocol: Protocol
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    tasks: list[Name] = []
    options: StoredOptions = StoredOptions()
    versions: dict[str, Text] = {}
    record: StoredRecord = StoredRecord()
    started: Moment = ""
    finished: Moment = ""


class StoredManifest(_Strict):
    """The whole file."""

    format: int
    identity: StoredIdentity
    stages: list[StoredStage]
    files: dict[File, list[State]] | None = None
    sha256: State | None = None


def check(content: Any) -> None:
    """Raises ValueError with the field and what was expected, where this is no manifest."""
    try:
        canonical(content)
        StoredManifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = field_of(first["loc"]) or "the file"
        raise ValueError(
            f"{where} is {quoted(first['input'])}; {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from error
    except (UsageError, RecursionError, UnicodeError) as error:
        raise ValueError(f"{type(error).__name__}: {quoted(error, longest=300)}") from error
