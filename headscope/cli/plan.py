"""`headscope plan`: what a study would cost and what it could show, from the configuration alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.engines import ENGINES
from headscope.cli.kinds import choice as one_of
from headscope.cli.kinds import option, path, whole
from headscope.cli.plan_placed import Placed, Where, placed, show_placements, speed_of
from headscope.cli.terminal import duration, show_table, status
from headscope.plan.budget import TIERS, Budget, parse_budget
from headscope.plan.placement import device_names, parse_bytes
from headscope.plan.workers import Asked
from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.plan.cost import Plan
    from headscope.plan.power import Claim, Power
    from headscope.plan.shapes import Shape
    from headscope.stages.cells import TaskChoice

POWER, WHERE = panels.POWER, panels.WHERE
WEIGHTS = ("device", "allow_pickle", "offload_folder", "check")


def amount(flag: str, help: str, default: str | bool = False) -> Any:
    """An option for an amount of memory."""

    def parse(value: str | float) -> float:
        return value if isinstance(value, float) else parse_bytes(value)

    return option(flag, help=help, metavar="<size>", parser=parse, panel=WHERE, default=default)


@opt.loading(without=WEIGHTS, shapes=True)
def plan(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    shots: opt.BudgetShots = None,
    data: opt.Data = "hub",
    budget: Annotated[str, opt.budget("Of a study; hours need --speed or --calibrate.")] = "small",
    limit: opt.AtMost = None,
    speed: Annotated[
        float | None,
        option(
            "--speed",
            help="Tokens a second of a forward pass of one worker, for a time.",
            metavar="<number>",
            parser=values.positive("--speed", "tokens a second, for example 400"),
        ),
    ] = None,
    power: Annotated[
        bool,
        typer.Option("--power", help="What the documents could show, beside what they cost.", rich_help_panel=POWER),
    ] = False,
    run: Annotated[
        Path | None,
        path(
            "--run",
            help="A run directory whose screen says how documents differ.",
            panel=POWER,
            default="runs/<model name>",
        ),
    ] = None,
    effect: Annotated[
        float,
        option(
            "--effect",
            help="The effect to find, in nats; without a screen in standard deviations.",
            metavar="<number>",
            parser=values.positive("--effect", "an effect, for example 0.2"),
            panel=POWER,
        ),
    ] = 0.2,
    deviation: Annotated[
        float | None,
        option(
            "--deviation",
            help="Of a document's effect, in nats: taken for all tasks without a screen.",
            metavar="<number>",
            parser=values.positive("--deviation", "nats, for example 2"),
            panel=POWER,
        ),
    ] = None,
    device: Annotated[
        str | None, one_of("--device", device_names(), help="A worker's device, by name.", panel=WHERE, default=False)
    ] = None,
    gpus: Annotated[int, whole("--gpus", low=1, high=100_000, help="How many GPUs.", panel=WHERE)] = 1,
    gpu_memory: Annotated[float | None, amount("--gpu-memory", "Of one GPU, as 80GB.")] = None,
    cores: Annotated[
        int | None,
        whole("--cores", low=1, high=100_000, help="Of --device cpu.", panel=WHERE, default="this machine's"),
    ] = None,
    memory: Annotated[float | None, amount("--memory", "Of the machine, as 256GB.", "this machine's")] = None,
    engine: Annotated[
        str | None,
        one_of(
            "--engine", ENGINES, help="local: one process. ray: --workers.", panel=WHERE, default="what is cheapest"
        ),
    ] = None,
    workers: Annotated[
        int | None, whole("--workers", low=1, high=10_000, help="Of --engine ray.", panel=WHERE, default="what fits")
    ] = None,
    cpus_per_worker: Annotated[
        int, whole("--cpus-per-worker", low=1, high=1024, help="Cores of a worker without a GPU.", panel=WHERE)
    ] = 1,
    gpus_per_worker: Annotated[
        int | None,
        whole("--gpus-per-worker", low=0, high=64, help="GPUs of a worker.", panel=WHERE, default="the fewest"),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="The speed by matrix products timed on this machine.", rich_help_panel=WHERE),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Say what `headscope study` would cost and could show; no weights are read.

    Parameters, memory, tokens and passes, from the model's configuration and its tokenizer; those of well-known models
    come with headscope. With --device, where the model can stand and how long a study takes there; with --engine ray,
    whether so many workers fit. With --power, the smallest effect that each claim could show.

    \b
      headscope plan gpt2
      headscope plan gpt2 --budget paper --speed 400
      headscope plan --power --effect 0.3
      headscope plan --budget 0.5 --speed 700 --power
      headscope plan facebook/opt-66b --device h100 --gpus 8
      headscope plan facebook/opt-66b --device cpu --cores 64 --memory 512GB
      headscope plan gpt2 --engine ray --workers 4 --cpus-per-worker 2
    """
    asked = Asked(workers, gpus_per_worker, cpus_per_worker)
    dtype = loading.pop("dtype")
    where = Where(device, gpus, gpu_memory, cores, memory, dtype, speed, calibrate, engine, asked).checked()
    names = opt.task_choice(tasks, "0", data=data).names
    from headscope.plan.cost import plan_study
    from headscope.plan.names import shots_of
    from headscope.plan.shapes import Shape, shape_of

    wanted = parse_budget(budget)
    if not isinstance(wanted, Budget) and speed is None and not calibrate:
        raise UsageError(
            f"what {budget} hours hold depends on the speed: give --speed TOKENS (a second, of a forward pass) or "
            "--calibrate, which times this machine; or name a budget, small or paper (--budget)"
        )
    counts = shots or ",".join(map(str, shots_of(names, wanted if isinstance(wanted, Budget) else TIERS[-1])))
    choice = opt.task_choice(tasks, counts, data=data)
    config, tokenizer = described(model, loading)
    shape = config if isinstance(config, Shape) else shape_of(config)
    speed = speed_of(where, shape)
    with status("counting tokens"):
        chosen = wanted if isinstance(wanted, Budget) else bought(shape, tokenizer, choice, wanted, speed)
        found = plan_study(shape, tokenizer, choice, chosen.limited(limit))
    standing = placed(where, found)
    shown = None if not power else powers(model, run, choice, found, effect, deviation)
    if as_json:
        print(json.dumps(plain(told(found, speed, standing, shown)), indent=2))
        return
    show(found, speed)
    if standing is not None:
        show_placements(standing)
    if shown is not None:
        show_power(shown)


def described(model: str, loading: opt.Loading) -> tuple[Any, Any]:
    """The shape that comes with headscope where the model is not at hand, else configuration and tokenizer."""
    from headscope.cli.sources import at_hand
    from headscope.plan.shapes import known_shape

    shape = known_shape(model)
    if shape is not None and not loading.get("revision") and not at_hand(model):
        return shape, None
    with status("reading the configuration"):
        return opt.configuration(model, **loading)


def bought(shape: Shape, tokenizer: Any, choice: TaskChoice, hours: float, speed: float | None) -> Budget:
    """What the hours hold at the speed that is given, or was timed here."""
    from headscope.plan.hours import Subject, budget_of_hours

    if speed is None:
        raise UsageError("--calibrate times this machine, not the one that is described: give its --speed")
    return budget_of_hours(Subject.of_shape(shape, tokenizer), choice, hours, speed)[0]


def powers(
    model: str, run: Path | None, choice: TaskChoice, found: Plan, effect: float, deviation: float | None
) -> Power:
    """What could be shown, by the screen of the run directory where there is one."""
    from headscope.cli.run_folders import check_run
    from headscope.plan.power import power_of_study
    from headscope.store.names import MANIFEST
    from headscope.store.run import open_run

    folder = run if run is not None else opt.run_folder(model, None)
    if run is not None:
        check_run(folder, "headscope plan --power --run")
    held = open_run(folder) if (folder / MANIFEST).is_file() else None
    with status("counting documents"):
        heads = found.shape.all_heads
        return power_of_study(choice, found.budget, heads=heads, run=held, effect=effect, deviation=deviation)


def told(found: Plan, speed: float | None, standing: Placed | None, power: Power | None) -> dict[str, Any]:
    """The plan for scripts."""
    seconds = {} if speed is None else {"seconds": found.total / speed}
    memory = {dtype: found.shape.memory(dtype) for dtype in ("float32", "bfloat16")}
    where: dict[str, Any] = {}
    if standing is not None:
        where = {"machine": asdict(standing.there), "placements": [asdict(one) for one in standing.ways]}
    return {
        "shape": vars(found.shape),
        "memory": memory,
        "budget": found.budget.recorded(),
        "cells": [vars(cell) for cell in found.cells],
        "tokens": found.tokens,
        "total": found.total,
        "operations": found.operations,
        **seconds,
        **where,
        **({} if power is None else {"power": asdict(power)}),
    }


def plain(value: Any) -> Any:
    """As JSON has it: what is infinite is null."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(found: Plan, speed: float | None) -> None:
    """Layout, memory, then tokens by stage."""
    shape = found.shape
    print(
        f"{shape.architecture}: {shape.layers} layers x {shape.heads} heads ({shape.kv_heads} kv heads), width "
        f"{shape.d_model}, {shape.parameters / 1e6:,.0f} million parameters, context {shape.context or 'not said'}"
    )
    for dtype in ("float32", "bfloat16"):
        sizes = ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in shape.memory(dtype).items())
        print(f"memory in {dtype}: {sizes} (a batch of 1,024 tokens)")
    if not all(cell.exact for cell in found.cells):
        print("no tokenizer was read: tokens are counted as a quarter of the characters")
    rows = [(name, f"{tokens / 1e6:,.2f}", f"{tokens / found.total:.0%}") for name, tokens in found.tokens.items()]
    title = f"budget '{found.budget.name}', in million tokens through the whole model"
    show_table(title, ("stage", "forward-equivalents", "share"), rows)
    time = f"; at {speed:,.0f} tokens a second {duration(found.total / speed)}" if speed else ""
    if found.budget.without:
        print(f"no time for: {', '.join(found.budget.without)}")
    print(f"together {found.total / 1e6:,.2f} million tokens, {found.operations:.2e} floating-point operations{time}")


def show_power(power: Power) -> None:
    """A line a claim."""
    heads = (
        "claim",
        "tasks",
        "documents",
        "unit",
        "smallest shown",
        f"documents a task for {power.effect:g}",
        "absent",
    )
    show_table("what could be shown, with power .8 at two-sided .05", heads, list(power_rows(power)))
    if power.screened:
        print(
            "Deviations are those of the gain in the run's screen: a drop that takes a part of it varies less, so that "
            "these are upper limits."
        )
    elif power.claims and power.claims[0].unit == "sd":
        print(
            "No screen was found, so that effects are in standard deviations between independent documents (clusters). "
            "`headscope study --only screen` after `headscope induction` measures them; --deviation assumes them."
        )
    print("absent: an effect of 0 would be shown to lie within it, four times in five.")
    if power.rank is not None:
        print(
            f"rank of the {power.n_classed} induction heads by importance within their layers: the smallest T shown "
            f"is {power.rank:.2f} (of 1), whatever the documents."
        )


def power_rows(power: Power) -> Iterator[tuple[str, ...]]:
    for claim in power.claims:
        yield (
            claim.name,
            str(claim.tasks),
            str(claim.documents),
            claim.unit,
            f"{claim.smallest:.2f}",
            wanted(claim),
            f"{claim.absent:.2f}",
        )


def wanted(claim: Claim) -> str:
    return f"{claim.wanted:,.0f}" if math.isfinite(claim.wanted) else "none would do"
