"""Units on Ray: actors that hold the model, units streamed to whoever is free, and one writer, this process.

1. Ray is started on this machine, reachable from it alone, or a cluster is joined at `address`.
2. Each worker loads the model once and refuses to work where weights, code or libraries differ (worker.py).
3. Units go out the longest first, at most two to a worker at a time; what comes back is stored here at once.
4. A worker that dies is replaced and its units run elsewhere. A unit that takes three workers with it is given up, with
   what was said last. Errors of the unit itself end the command as they would here, and so do workers that say nothing
   for hours.
Whatever ends this process ends what it started: Ray's own processes on this machine, and its actors on a cluster.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headscope.engine.passing import Packer, code_hash, from_bytes
from headscope.engine.worker import Assignment, Worker
from headscope.store.ahead import Wanted, filled_by
from interp.errors import HeadscopeError, UsageError

if TYPE_CHECKING:
    from headscope.store.units import UnitStore

IN_FLIGHT = 2  # units a worker: one in work and one waiting
MOST_DEATHS = 3
LOADING = "loading"
TELL_SECONDS = 10.0
CLUSTER_SECONDS = 300.0  # for machines of a cluster to come
SILENT_SECONDS = 6 * 3600.0  # without an answer of any worker: far longer than a model loads, or a unit runs
STORE_BYTES = 256 << 20
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Resources:
    """How many workers, and what each has. address: of a cluster, `auto` for the one here; None starts one."""

    workers: int = 2
    cpus: int = 1
    gpus: int = 0
    address: str | None = None


class Lost(Exception):
    """A worker died."""


@dataclass
class _Actor:
    """One worker as the driver sees it."""

    handle: Any
    loading: Any = None
    ready: bool = False
    flying: list[Any] = field(default_factory=list)


@dataclass
class RayEngine:
    """Started by the first unit that is asked for. source, loading: what workers load, as `load_model` takes it."""

    source: str
    loading: Mapping[str, Any]
    resources: Resources
    ray: Any = None
    actors: list[_Actor] = field(default_factory=list)

    def fill(self, units: UnitStore, wanted: Sequence[Wanted]) -> None:
        """Run them all and store them."""
        if self.ray is None:
            self.start(units.common)
        _Round(self, units, wanted).run()

    def start(self, common: Mapping[str, Any]) -> None:
        """Ray, and as many workers as were asked for; common: the model and versions that units are filed under."""
        self.ray = imported(self.resources.address)
        self._init()
        self.assignment = Assignment(
            self.source,
            {**self.loading, "device": self.device, "dtype": str(common["identity"]["dtype"])},
            common["identity"],
            common["versions"],
            code_hash(),
            self.resources.cpus,
        )
        self._refuse_too_many()
        self.actors = [self.new() for _ in range(self.resources.workers)]
        self._wait_ready()

    @property
    def device(self) -> str:
        """One GPU, several by accelerate's map, or the CPU."""
        return {0: "cpu", 1: "cuda"}.get(self.resources.gpus, "auto")

    def _init(self) -> None:
        wanted = self.resources
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        threads = {"OMP_NUM_THREADS": str(wanted.cpus), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": "ERROR",
            "runtime_env": {"env_vars": threads},
        }
        if wanted.address is None:
            options |= {
                "num_cpus": wanted.workers * wanted.cpus,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_node_ip_address": LOOPBACK,
            }
        ending = signal.getsignal(signal.SIGTERM)
        try:
            self.ray.init(**options, address="local" if wanted.address is None else wanted.address)
        except (ConnectionError, RuntimeError, ValueError) as error:
            self.ray = None
            raise UsageError(
                f"no Ray cluster answers at {wanted.address!r} ({str(error).splitlines()[0]}): start one with "
                "`ray start --head`, or leave --address out to start one for this command"
            ) from error
        if callable(ending):  # Ray puts its own in the place of the command's, which says that the work goes on
            signal.signal(signal.SIGTERM, ending)

    def _refuse_too_many(self) -> None:
        """Raises UsageError where there is less than was asked for: actors would wait for ever.

        Machines of a cluster that was joined may still be on their way.
        """
        wanted, end = self.resources, time.monotonic() + (CLUSTER_SECONDS if self.resources.address else 0)
        for kind, each in (("CPU", wanted.cpus), ("GPU", wanted.gpus)):
            need = each * wanted.workers
            while (held := int(self.ray.cluster_resources().get(kind, 0))) < need:
                if time.monotonic() >= end:
                    raise UsageError(
                        f"{wanted.workers} workers of {each} {kind}s need {need}, and there are {held}: give fewer "
                        f"--workers or --{kind.lower()}s-per-worker"
                    )
                tell(f"{held} of {need} {kind}s are there; waiting for more")
                time.sleep(TELL_SECONDS)

    def new(self) -> _Actor:
        """One more worker."""
        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus, "max_restarts": 0}
        handle = self.ray.remote(RayWorker).options(**options).remote(self.assignment)
        return _Actor(handle, loading=handle.ready.remote())

    def _wait_ready(self) -> None:
        names: list[str] = []
        deaths = 0
        while loading := {actor.loading: actor for actor in self.actors if not actor.ready}:
            ready, _ = self.ray.wait(list(loading), num_returns=1, timeout=SILENT_SECONDS)
            if not ready:
                raise unanswered(f"{len(names)} of {len(self.actors)} workers have loaded the model")
            actor = loading[ready[0]]
            try:
                names.append(self.answer(actor.loading))
                actor.ready = True
            except Lost as error:
                deaths += 1
                if deaths >= MOST_DEATHS:
                    raise died_loading(error) from error
                self.replaced(actor)
        hosts = ", ".join(f"{names.count(name)} on {name}" for name in sorted(set(names)))
        tell(f"{len(names)} workers are ready ({hosts})")

    def answer(self, reference: Any) -> Any:
        """What a worker answers; Lost where it died, its own errors as they are."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference, timeout=SILENT_SECONDS)
        except errors.GetTimeoutError as error:
            raise unanswered("what a worker made does not arrive") from error
        except errors.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, BaseException) else HeadscopeError(str(error))) from None
        except (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError) as error:
            raise Lost(str(error).splitlines()[0]) from error

    def replaced(self, actor: _Actor) -> None:
        """Another worker in place of a dead one, which loads while the others go on."""
        self.actors.remove(actor)
        self.actors.append(self.new())

    def stop(self) -> None:
        """End what was started."""
        if self.ray is None:
            return
        for actor in self.actors:
            self.ray.kill(actor.handle)
        self.ray.shutdown()
        self.ray, self.actors = None, []


class RayWorker(Worker):
    """The worker as an actor: what units share is fetched from Ray's store."""

    def run_shared(self, packed: bytes, references: Mapping[str, list[Any]]) -> bytes:
        """references: key -> a list that holds the reference, so that Ray does not fetch it before it is needed."""
        import ray

        return self.run(packed, lambda key: bytes(ray.get(references[key][0])))


@dataclass
class _Round:
    """Some units on their way."""

    engine: RayEngine
    units: UnitStore
    wanted: Sequence[Wanted]

    def run(self) -> None:
        """Until all are stored; what is still on its way when an error ends it is let go of."""
        try:
            self._run()
        finally:
            for actor in self.engine.actors:
                actor.flying.clear()

    def _run(self) -> None:
        ray = self.engine.ray
        self.packer = Packer()
        self.shared: dict[str, Any] = {}
        self.waiting = deque(longest_first(self.wanted))
        self.flying: dict[Any, tuple[Wanted, _Actor]] = {}
        self.lost: dict[str, int] = {}
        self.done, self.started = 0, time.monotonic()
        heard = told = self.started
        while self.waiting or self.flying:
            while self.waiting and (actor := self.free()) is not None:
                self.send(actor, self.waiting.popleft())
            flying = list(self.flying) or [actor.loading for actor in self.engine.actors]
            ready, _ = ray.wait(flying, num_returns=1, timeout=1.0)
            for reference in ready:
                self.take(reference)
                heard = time.monotonic()
            if time.monotonic() - heard > SILENT_SECONDS:
                raise unanswered(f"{self.done} of {len(self.wanted)} units are done")
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self.tell()
        self.tell()

    def free(self) -> _Actor | None:
        """The worker with the fewest units, if it has room."""
        able = [actor for actor in list(self.engine.actors) if len(actor.flying) < IN_FLIGHT and self.loaded(actor)]
        return min(able, key=lambda each: len(each.flying), default=None)

    def loaded(self, actor: _Actor) -> bool:
        """Whether it has its model: one that replaces another may still load, or wait for a machine."""
        if actor.ready:
            return True
        ready, _ = self.engine.ray.wait([actor.loading], timeout=0)
        if not ready:
            return False
        try:
            self.engine.answer(actor.loading)
        except Lost as error:
            self.lost[LOADING] = self.lost.get(LOADING, 0) + 1
            if self.lost[LOADING] >= MOST_DEATHS:
                raise died_loading(error) from error
            self.engine.replaced(actor)
            return False
        actor.ready = True
        return True

    def send(self, actor: _Actor, one: Wanted) -> None:
        packed, keys = self.packer.pack(one.compute)
        for key in keys:
            if key not in self.shared:
                self.shared[key] = self.engine.ray.put(self.packer.shared[key])
        reference = actor.handle.run_shared.remote(packed, {key: [self.shared[key]] for key in keys})
        self.flying[reference] = (one, actor)
        actor.flying.append(reference)

    def take(self, reference: Any) -> None:
        """Store what came back; where the worker died, its units wait again."""
        if reference not in self.flying:
            return
        one, actor = self.flying.pop(reference)
        actor.flying.remove(reference)
        try:
            self.units.put(one.key, from_bytes(self.engine.answer(reference)))
            self.done += 1
        except Lost as error:
            self.again(one, actor, str(error))

    def again(self, one: Wanted, actor: _Actor, said: str) -> None:
        """The unit that was in work counts the death; those behind it only wait again."""
        name = str(self.units.path(one.key).name)
        self.lost[name] = self.lost.get(name, 0) + 1
        if self.lost[name] >= MOST_DEATHS:
            raise HeadscopeError(
                f"{MOST_DEATHS} workers died at the same unit of work ({said}): memory may be short. Finished units "
                "are kept; give fewer --workers, and the same command goes on"
            )
        behind = [self.flying.pop(reference)[0] for reference in actor.flying]
        self.waiting.extendleft([*reversed(behind), one])
        if actor in self.engine.actors:
            tell("a worker died; its units run elsewhere")
            self.engine.replaced(actor)

    def tell(self) -> None:
        seconds = max(1e-6, time.monotonic() - self.started)
        tell(
            f"{self.done} of {len(self.wanted)} units, {len(self.engine.actors)} workers, "
            f"{self.done / seconds:.2f} units a second"
        )


def longest_first(wanted: Sequence[Wanted]) -> list[Wanted]:
    """The longest first; of like ones those that share documents stand together, so that a worker keeps what it has."""
    return sorted(wanted, key=lambda one: (-one.size, str(one.key.get("documents", "")), str(one.key.get("ablation"))))


def unanswered(state: str) -> HeadscopeError:
    return HeadscopeError(
        f"no worker has answered for {SILENT_SECONDS / 3600:.3g} hours ({state}): look at the machines with `ray "
        "status`. Finished units are kept, and the same command goes on; without --engine ray it runs them itself"
    )


def died_loading(error: Lost) -> HeadscopeError:
    return HeadscopeError(
        f"a worker died while it loaded the model ({error}): memory may be short. Finished units are kept; give fewer "
        "--workers, and the same command goes on"
    )


def imported(address: str | None = None) -> Any:
    """The library. Raises UsageError with the way to get it.

    Without an address it is told, by the only way there is, that no other machine will join: it reads this when it is
    imported, and opens its ports on the loopback address alone.
    """
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs the library ray: pip install 'headscope[ray]'") from error
    return ray


def tell(what: str) -> None:
    print(f"ray: {what}", file=sys.stderr)


@contextmanager
def running(engine: RayEngine) -> Iterator[RayEngine]:
    """Within this, stages have their units run by the engine; afterwards nothing of it is left."""
    imported(engine.resources.address)
    try:
        with filled_by(engine.fill):
            yield engine
    finally:
        engine.stop()
