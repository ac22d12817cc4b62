"""What a person types, read into values: a wrong one is refused while the command line is parsed, the right ones named.

Each function makes a parser for one option. Nothing heavy is loaded here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any

from interp.errors import UsageError, quoted

MOST = 10**9
LARGEST_SEED = 2**32 - 1
NEAR = 0.7  # how like a name must be to be meant
Parser = Callable[[Any], Any]


def refused(value: object, option: str, expected: str) -> UsageError:
    """The sentence for a value that an option does not take."""
    return UsageError(f"{quoted(value)} is not a value of {option}: give {expected}")


def text(option: str, expected: str = "some text") -> Parser:
    """Text that is not empty, and UTF-8."""

    def parse(value: str) -> str:
        if not value.strip():
            raise refused(value, option, expected)
        check_utf8(value, option, "write it in UTF-8, or set the terminal's encoding to it")
        return value

    return parse


def check_utf8(value: str, option: str, what_to_do: str) -> None:
    """Refuse bytes that are no UTF-8: they reach a program as lone surrogates, which few libraries can store."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        bytes_alone = not re.search("[\ud800-\udc7f\udd00-\udfff]", value)  # as the system hands over what is no text
        written = value.encode(errors="surrogateescape" if bytes_alone else "replace")[:40]
        raise UsageError(f"{option} is not UTF-8 ({written!r}): {what_to_do}") from error


def path(option: str) -> Parser:
    """A path in UTF-8; an empty one would be the current folder."""

    def parse(value: str | Path) -> Path:
        if not str(value) or (isinstance(value, str) and not value.strip()):
            raise refused(value, option, "a path (`.` is the current folder)")
        check_utf8(str(value), option, "rename the file or folder")
        if not possible(Path(value)):
            raise refused(value, option, "a path that this file system can have")
        return Path(value)

    return parse


def possible(path: Path) -> bool:
    """Whether there could be such a path: its names may be too long."""
    try:
        path.exists()
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def one_of(option: str, names: Sequence[str], *, also: Mapping[str, str] | None = None) -> Parser:
    """One of these names, in any case; `also` are other ways to write them."""

    def parse(value: str) -> str:
        written = value.strip().lower()
        written = (also or {}).get(written, written)
        if written not in names:
            near = get_close_matches(written, names, n=1, cutoff=NEAR)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise refused(value, option, f"{alternatives(names)}{hint}")
        return written

    return parse


def whole(option: str, low: int = 0, high: int = MOST, *, why: str = "") -> Parser:
    """A whole number within bounds; digits only as 0 to 9."""
    reach = f", {low:,} or more" if high == MOST else f" from {low:,} to {high:,}"
    expected = f"a whole number{reach}{why}"

    def parse(value: str | int) -> int:
        if isinstance(value, int):  # the default
            return value
        found = re.fullmatch(r"\s*([+-]?[0-9]{1,20})\s*", value)
        if found is None or not low <= int(found[1]) <= high:
            raise refused(value, option, expected)
        return int(found[1])

    return parse


def positive(option: str, expected: str) -> Parser:
    """A number above 0, and finite."""

    def parse(value: str | float) -> float:
        try:
            found = float(value)
        except ValueError:
            found = 0.0
        if not 0 < found < inf:
            raise refused(value, option, expected)
        return found

    return parse


def names(option: str, expected: str) -> Parser:
    """Names with commas between them, one at least."""
    read = text(option, expected)

    def parse(value: str) -> str:
        if not comma_list(read(value)):
            raise refused(value, option, expected)
        return value

    return parse


def whole_numbers(option: str, example: str, *, repeated: bool = False) -> Parser:
    """`0,10,20` -> (0, 10, 20); each once, unless the same number may stand there again."""
    split = (lambda value: [part.strip() for part in value.split(",")]) if repeated else comma_list

    def parse(value: str | tuple[int, ...]) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = split(value)
        if not parts or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
            raise refused(value, option, f"whole numbers with commas between them, for example {option} {example}")
        return tuple(int(part) for part in parts)

    return parse


def comma_list(value: str) -> list[str]:
    """`own, random` -> ["own", "random"], each once."""
    return list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def alternatives(names: Sequence[str]) -> str:
    """`zero, mean or resample`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def data(value: str) -> str:
    """Where documents come from: the hub, or a folder."""
    if value != "hub" and not (value.strip() and possible(Path(value)) and Path(value).is_dir()):
        raise refused(value, "--data", "hub, or a folder that is there")
    return value


DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")


def device(value: str) -> str:
    """`cuda:1` and the like; whether this machine has it is seen when the model is loaded."""
    name, _, number = value.strip().lower().partition(":")
    if name not in DEVICES or (":" in value and not re.fullmatch("[0-9]{1,3}", number)):
        raise refused(value, "--device", f"{alternatives(DEVICES)}, with a number where there are several (cuda:1)")
    return value.strip().lower()


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """The text as it stands, if it can be parsed."""

    def parser(value: str) -> str:
        parse(value)
        return value

    return parser
