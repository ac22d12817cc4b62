"""Memory that ran out: recognised by what libraries raise, and told with how much was wanted where they say.

PyTorch raises a RuntimeError, CUDA one of its own, the operating system an OSError, safetensors and Arrow a
MemoryError; a mapped file without room ends in a SystemError that names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from interp.errors import ModelLoadError

_SIGNS = re.compile(
    r"can(?:'t|not) allocate memory|DefaultCPUAllocator|out of memory|unable to allocate|malloc of size", re.IGNORECASE
)
_WANTED = re.compile(r"(?:allocate|mmap|malloc of size) ([\d.]+) ?([KMGTP]i?B|bytes)?", re.IGNORECASE)
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
SMALLER = (
    "Take a smaller dtype (--dtype bfloat16; in Python dtype='bfloat16'), or device auto with a folder for the weights "
    "that do not fit (--device auto --offload-folder FOLDER; in Python device='auto', offload_folder=FOLDER)"
)


def out_of_memory(error: BaseException) -> str:
    """The beginning of a sentence for memory that ran out, with how much was wanted; else empty."""
    said = str(error)
    broke = isinstance(error, SystemError) and "without exception set" in said  # what a mapped file does without room
    if not (isinstance(error, MemoryError) or broke or _SIGNS.search(said)):
        return ""
    wanted = _WANTED.search(said)
    return (
        f"there is not enough memory{f': the next {_sized(*wanted.groups())} could not be allocated' if wanted else ''}"
    )


@contextmanager
def needed_to_load(source: object) -> Iterator[None]:
    """Memory that runs out while a model is loaded is told as a ModelLoadError."""
    try:
        yield
    except Exception as error:
        if short := out_of_memory(error):
            raise ModelLoadError(f"the model {str(source)!r} can't be loaded: {short}. {SMALLER}") from error
        raise


def _sized(number: str, unit: str | None) -> str:
    """`1610612736 bytes` -> `1.5 GiB`."""
    if unit not in (None, "bytes"):
        return f"{number} {unit}"
    size, names = float(number), iter(_UNITS)
    told = f"{size:.0f} bytes"
    while size >= 1024 and (name := next(names, None)):
        size /= 1024
        told = f"{size:.1f} {name}"
    return told
