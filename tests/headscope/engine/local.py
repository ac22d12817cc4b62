"""Units in this process, packed and unpacked as for a worker: what Ray does, without Ray.

It shows that units asked for ahead, run in another order from packed work, have the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headscope.engine.passing import Packer, from_bytes
from headscope.engine.ray import longest_first
from headscope.engine.worker import Worker
from headscope.store.ahead import Wanted

if TYPE_CHECKING:
    from headscope.store.units import UnitStore


@dataclass
class LocalEngine:
    """One worker, which holds a model that is there."""

    worker: Worker
    ran: list[Wanted] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)

    def fill(self, units: UnitStore, wanted: Sequence[Wanted]) -> None:
        """Run them, the longest first."""
        packer = Packer()
        for one in longest_first(wanted):
            packed, _ = packer.pack(one.compute)
            units.put(one.key, from_bytes(self.worker.run(packed, packer.shared.__getitem__)))
            self.ran.append(one)
            self.stored.add(units.path(one.key).name)
