"""Who runs a command's units: `--engine` and what goes with it, for every command that measures."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from headscope.cli import help as panels
from headscope.cli.kinds import choice, text, whole
from interp.errors import UsageError

ENGINES = ("local", "ray")
LOCAL, RAY = ENGINES


def engine_options(
    *,
    engine: Annotated[
        str,
        choice(
            "--engine", ENGINES, help="local: this process. ray: workers, here or on a cluster.", panel=panels.WHERE
        ),
    ] = LOCAL,
    workers: Annotated[
        int, whole("--workers", low=1, high=10_000, help="Of --engine ray; each holds the model.", panel=panels.WHERE)
    ] = 2,
    cpus_per_worker: Annotated[
        int, whole("--cpus-per-worker", low=1, high=1024, help="Cores (threads) of a worker.", panel=panels.WHERE)
    ] = 1,
    gpus_per_worker: Annotated[
        int,
        whole(
            "--gpus-per-worker", low=0, high=64, help="GPUs of a worker; several hold one model.", panel=panels.WHERE
        ),
    ] = 0,
    address: Annotated[
        str | None,
        text("--address", help="A Ray cluster to join: auto or HOST:PORT.", metavar="<address>", panel=panels.WHERE),
    ] = None,
) -> None:
    """Not called: its parameters are the options that `engine` gives to commands."""


def engine() -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `engine_options`; it runs with that engine at work."""
    offered = inspect.signature(engine_options, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in offered}
            with at_work(given["model"], given["loading"], **chosen):
                command(**given)

        own = inspect.signature(command, eval_str=True).parameters.values()
        keywords = [part.replace(kind=part.KEYWORD_ONLY) for part in (*own, *offered.values())]
        run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        return run

    return decorate


@contextmanager
def at_work(
    model: str,
    loading: dict[str, Any],
    *,
    engine: str,
    workers: int,
    cpus_per_worker: int,
    gpus_per_worker: int,
    address: str | None,
) -> Iterator[None]:
    """The engine that was asked for; Ray starts with the first unit. Raises UsageError without the library."""
    if engine == LOCAL:
        if address is not None:
            raise UsageError(f"--address {address} is of a Ray cluster: give --engine ray with it")
        yield
        return
    from headscope.engine.ray import RayEngine, Resources, running

    source = os.path.abspath(model) if os.path.exists(model) else model
    resources = Resources(workers, cpus_per_worker, gpus_per_worker, address)
    with running(RayEngine(source, taken(loading), resources)):
        yield


def taken(loading: dict[str, Any]) -> dict[str, Any]:
    """The options for loading as `load_model` takes them; the device is the worker's own."""
    return {name: value for name, value in loading.items() if name != "device"}
