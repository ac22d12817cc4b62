"""`headscope plan`: what a study would cost, from the configuration alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from headscope.cli import options as opt


def plan(
    model: opt.Model = "smollm2-135m",
    tasks: opt.Tasks = "probes",
    shots: Annotated[str | None, typer.Option(help="Numbers of demonstrations.  [default: the budget's]")] = None,
    data: opt.Data = "hub",
    budget: Annotated[str, typer.Option(help="small or paper.")] = "small",
    limit: Annotated[int | None, typer.Option(help="At most so many documents of a task.")] = None,
    speed: Annotated[float | None, typer.Option(help="Tokens a second of a forward pass, for a time.")] = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    wheel: opt.Wheel = None,
    as_json: opt.Json = False,
) -> None:
    """Say what `headscope study` would cost: parameters, memory, tokens, passes. No weights are read."""
    from headscope.plan.budget import NAMED
    from headscope.plan.cost import plan_study
    from headscope.plan.study import shots_of
    from interp.errors import UsageError

    if budget not in NAMED:
        raise UsageError(f"{budget!r} can't be planned; there are {' and '.join(NAMED)} (hours depend on the machine)")
    names = tuple(opt.task_choice(tasks, "0").names)
    counts = shots or ",".join(map(str, shots_of(names, NAMED[budget])))
    choice = opt.task_choice(tasks, counts, data=data)
    with opt.status("reading the configuration"):
        config, tokenizer = opt.configuration(model, revision, trust_remote_code, wheel)
    with opt.status("counting tokens"):
        found = plan_study(config, tokenizer, choice, NAMED[budget].limited(limit))
    if as_json:
        print(json.dumps(told(found, speed), indent=2))
    else:
        show(found, speed)


def told(found: Any, speed: float | None) -> dict[str, Any]:
    """The plan for scripts."""
    seconds = {} if speed is None else {"seconds": found.total / speed}
    memory = {dtype: found.shape.memory(dtype) for dtype in ("float32", "bfloat16")}
    return {
        "shape": vars(found.shape),
        "memory": memory,
        "budget": found.budget.told(),
        "cells": [vars(cell) for cell in found.cells],
        "tokens": found.tokens,
        "total": found.total,
        "operations": found.operations,
        **seconds,
    }


def show(found: Any, speed: float | None) -> None:
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
        print("no tokenizer could be read: tokens are counted as a quarter of the characters")
    rows = [(name, f"{tokens / 1e6:,.2f}", f"{tokens / found.total:.0%}") for name, tokens in found.tokens.items()]
    title = f"budget '{found.budget.name}', in million tokens through the whole model"
    opt.show_table(title, ("stage", "forward-equivalents", "share"), rows)
    time = f"; at {speed:,.0f} tokens a second {opt.duration(found.total / speed)}" if speed else ""
    print(f"together {found.total / 1e6:,.2f} million tokens, {found.operations:.2e} floating-point operations{time}")
