"""What a browser sends: every callback's request is checked before anything reads it.

A request names a callback that is there, brings exactly its inputs and states, and each value has its type. Anything
else is answered 400, with a sentence. Whether a well-formed value means anything (a head that the model has, a task
that exists) is for asked.py to say.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from headscope.inspector.asked import CHARACTERS
from interp.errors import field_of, quoted

if TYPE_CHECKING:
    from dash import Dash

ROUTE = "/_dash-update-component"
LISTED = 100_000

Index = Annotated[int, Field(ge=-(1 << 31), le=1 << 31)]
Position = Annotated[int, Field(ge=0, le=1 << 20)]  # of a prompt
Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=2 * CHARACTERS)]
Word = Annotated[str, Field(max_length=1000)]
Typed = Index | Number | Word | None  # what stands in a field, before it is read as a number
Pair = Annotated[list[Index], Field(min_length=2, max_length=2)]


class _Sent(BaseModel):
    """More may stand in it: the page keeps notes of its own there."""

    model_config = ConfigDict(strict=True, extra="allow")


class SentPrompt(_Sent):
    kind: Word | None = None
    text: Annotated[str, Field(max_length=64 * CHARACTERS)] | None = None
    task: Word | None = None
    shots: Typed = None
    document: Typed = None
    length: Typed = None
    repeats: Typed = None
    seed: Typed = None


class SentRemoval(_Sent):
    heads: Annotated[list[Pair], Field(max_length=LISTED)] = []
    ffns: Annotated[list[Index], Field(max_length=LISTED)] = []
    ablation: Word = "zero"


class SentWindow(_Sent):
    kind: Word | None = None
    start: Typed = None


class SentLook(_Sent):
    """What is looked at: a head, on a prompt, from a token, after a removal."""

    head: Pair | None = None
    prompt: SentPrompt | None = None
    after: SentRemoval | None = None
    query: Index | None = None
    toward: bool = False
    window: Pair | None = None
    vis: SentWindow | None = None
    key: Word | None = None


class SentList(_Sent):
    heads: Text | None = None
    ffns: Text | None = None


class SentQuestion(_Sent):
    """What is asked of the model beside the selected head: a prompt, what is removed, and what each panel needs."""

    prompt: SentPrompt | None = None
    removal: SentRemoval | None = None
    query: Index | None = None
    key: Word | None = None
    count: Typed = None
    answer: Text | None = None
    other: Text | None = None
    corrupt: Text | None = None
    lines: Text | None = None
    head: Pair | None = None
    at: Word | None = None


class SentFile(_Sent):
    what: Word | None = None
    head: Pair | None = None


TYPES: dict[str, Any] = {
    "look.data": SentLook | None,
    "row-asked.data": SentLook,
    "drawing.data": SentLook | None,
    "reading.data": SentLook | None,
    "prompt.data": SentPrompt | None,
    "removal.data": SentRemoval | None,
    "after.data": SentRemoval | None,
    "resting.data": Pair | None,
    "vis.data": SentWindow | None,
    "query.data": Position | None,
    "version.data": Index | None,
    "list-asked.data": SentList | None,
    "write-asked.data": SentQuestion | None,
    "writers-asked.data": SentQuestion | None,
    "patch-asked.data": SentQuestion | None,
    "grid-asked.data": SentQuestion | None,
    "average-asked.data": SentQuestion | None,
    "csv.data": SentFile | None,
    "stored-choice.data": Annotated[list[Word | Index], Field(min_length=2, max_length=2)] | None,
    "tab.data": Word | None,
    "prompt-name.children": Text | None,
    "poll.n_intervals": Index | None,
    "scoring-poll.n_intervals": Index | None,
}


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    id: Word
    property: Word
    value: Any = None

    @builtins.property  # the field below that name is no decorator
    def name(self) -> str:
        return f"{self.id}.{self.property}"


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    output: Annotated[str, Field(max_length=10_000)]
    outputs: _Value | Annotated[list[_Value], Field(max_length=100)]
    inputs: Annotated[list[_Value], Field(max_length=100)] = []
    state: Annotated[list[_Value], Field(max_length=100)] = []
    changedPropIds: Annotated[list[Word], Field(max_length=100)] = []


class NotAsked(Exception):
    """A request that the page does not make."""


def checked(body: bytes, callbacks: Mapping[str, Any]) -> None:
    """Raises NotAsked, with a sentence, for anything that the page could not have sent."""
    try:
        asked = _Request.model_validate(json.loads(body, parse_constant=_no_number))
    except ValidationError as error:
        raise NotAsked(_told(error)) from error
    except (ValueError, RecursionError, UnicodeError) as error:
        raise NotAsked(f"The request is not JSON ({quoted(error)}).") from error
    known = callbacks.get(asked.output)
    if known is None or "callback" not in known:  # the page's own scripts are in this list too
        raise NotAsked(f"There is nothing called {quoted(asked.output)} to be asked for.")
    outputs = asked.outputs if isinstance(asked.outputs, list) else [asked.outputs]
    names = [value.name for value in outputs]
    if asked.output != (f"..{'...'.join(names)}.." if isinstance(asked.outputs, list) else names[0]):
        raise NotAsked(f"The request asks for {quoted(asked.output)} and says that it is {quoted(names)}.")
    for kind, given in (("inputs", asked.inputs), ("state", asked.state)):
        expected = [f"{part['id']}.{part['property']}" for part in known[kind]]
        if [value.name for value in given] != expected:
            raise NotAsked(f"The request brings the {kind} {quoted([value.name for value in given])}, not {expected}.")
        for value in given:
            _check_value(value)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _check_value(value: _Value) -> None:
    try:
        _validator_of(value.name)(value.value, strict=True)
    except ValidationError as error:
        raise NotAsked(f"{value.name}: {_told(error)}") from error


@cache
def _validator_of(name: str) -> Callable[..., Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(TYPES[name])
    return adapter.validate_python


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = field_of(part for part in first["loc"] if isinstance(part, int) or part[:1].islower())
    return f"{where or 'the value'} is {quoted(first['input'])}; {first['msg'][:1].lower()}{first['msg'][1:]}."


def guard(app: Dash) -> None:
    """Put the check in front of every callback of the application; call it when all callbacks are there."""
    from flask import Response, request

    def check() -> Any:
        if request.path != ROUTE or request.method != "POST":
            return None
        try:
            checked(request.get_data(cache=True), app.callback_map)
        except NotAsked as refused:
            return Response(f"{refused}\n".encode("utf-8", "replace"), 400, mimetype="text/plain")
        return None

    hooks: Any = app.server
    hooks.before_request(check)
