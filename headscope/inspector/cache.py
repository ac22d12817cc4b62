"""Answers kept for a while: bounded in number and in bytes, the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """At most `entries` values of at most `size` bytes together; a value larger than that is not kept."""

    def __init__(self, *, entries: int, size: int = 1 << 62, weigh: Callable[[Value], int] = lambda value: 0) -> None:
        self._entries, self._size, self._weigh = entries, size, weigh
        self._held: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = RLock()

    def get(self, key: Hashable) -> Value | None:
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, value: Value) -> Value:
        weight = self._weigh(value)
        with self._lock:
            self._held.pop(key, None)
            if weight <= self._size:
                self._held[key] = (value, weight)
            while len(self._held) > self._entries or self.size > self._size:
                self._held.popitem(last=False)
        return value

    def made(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of the key, made if it is not held. The caller sees to it that no two make one at once."""
        known = self.get(key)
        return self.put(key, make()) if known is None else known

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(weight for _, weight in self._held.values())
