"""A worker: one model, loaded once, that runs the units it is handed. It refuses to work for another model or code.

Compared with the driver's: hashes of weights, configuration and tokenizer, dtype, attention route, the hash of our
code, and the versions of the libraries that compute. A unit's bytes are then those that the driver would have made, if
it uses as many threads on a device of this kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interp.errors import ModelLoadError

if TYPE_CHECKING:
    from interp.model import HookedModel

# What stands in for removed parts of so many tasks and conditions is kept.
MOST_SHARED = 64
COMPARED = (
    "weight_hash",
    "weight_hash_covers",
    "config_hash",
    "tokenizer_hash",
    "architecture",
    "quantization",
    "dtype",
    "route",
)


@dataclass(frozen=True)
class Assignment:
    """What a worker loads, and what must be as it is with the driver. loading: keywords of `load_model`."""

    source: str
    loading: Mapping[str, Any]
    identity: Mapping[str, Any]
    versions: Mapping[str, str]
    code: str
    threads: int = 1


@dataclass
class Worker:
    """Runs units. The model is loaded by the first call of `ready`."""

    assignment: Assignment
    model: HookedModel | None = None
    shared: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def ready(self) -> str:
        """Load and compare; where this worker is. Raises ModelLoadError where something differs."""
        import platform

        import torch

        torch.set_num_threads(self.assignment.threads)
        self.model = loaded(self.assignment)
        check_same(self.assignment, self.model)
        return platform.node()

    def run(self, packed: bytes, shared: Callable[[str], bytes]) -> bytes:
        """One unit; shared(key) fetches what it shares with others."""
        from headscope.engine.passing import to_bytes, unpacked

        if self.model is None:
            raise ModelLoadError("the worker has no model: `ready` comes first")
        model = self.model

        def held(key: str) -> Any:
            if key not in self.shared:
                self.shared[key] = unpacked(shared(key), model, held)
                while len(self.shared) > MOST_SHARED:
                    self.shared.popitem(last=False)
            self.shared.move_to_end(key)
            return self.shared[key]

        return to_bytes(unpacked(packed, model, held)())


def loaded(assignment: Assignment) -> HookedModel:
    from interp import load_model

    return load_model(assignment.source, **assignment.loading)


def check_same(assignment: Assignment, model: HookedModel) -> None:
    """Raises ModelLoadError that names what differs."""
    from headscope.engine.passing import code_hash
    from headscope.store.manifest import versions

    mine, theirs = model.identity(), assignment.identity
    differ = [name for name in COMPARED if str(mine.get(name)) != str(theirs.get(name))]
    here, there = versions(), assignment.versions
    differ += [f"{name} {here.get(name)}" for name in {**here, **there} if here.get(name) != there.get(name)]
    if code_hash() != assignment.code:
        differ.append("headscope's code")
    if differ:
        import platform

        raise ModelLoadError(
            f"the worker on {platform.node()} would give other numbers than the driver: it differs in "
            f"{', '.join(differ)}. Install the same versions on all machines, and give a model that is the same on all "
            "of them (a hub id with --revision, or a folder on a shared disk)"
        )
