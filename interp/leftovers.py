"""Marks in the names of what is being written: by which machine and process, so that a killed one's can be swept."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
from functools import cache

MARK = re.compile(r"([0-9a-f]{8})-([0-9]{1,9})-[0-9a-f]{16}")


def mark() -> str:
    """One of this process, never the same twice."""
    return f"{machine()}-{os.getpid()}-{secrets.token_hex(8)}"


def left_behind(text: str) -> bool:
    """Whether this is a mark that this machine made, in a process that is no longer there."""
    found = MARK.fullmatch(text)
    if found is None or found[1] != machine():
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no number of a process
        return False
    return False


@cache
def machine() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]
