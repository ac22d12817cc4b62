"""`headscope plan`: what a study would cost, from the configuration alone."""

from __future__ import annotations

import json
from typing import Annotated, Any

from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.kinds import choice as one_of
from headscope.cli.kinds import option
from headscope.cli.terminal import duration, show_table, status
from headscope.plan.budget import NAMED

WEIGHTS = ("device", "dtype", "allow_pickle", "offload_folder", "check")


@opt.loading(without=WEIGHTS)
def plan(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    shots: opt.BudgetShots = None,
    data: opt.Data = "hub",
    budget: Annotated[str, one_of("--budget", tuple(NAMED), help="Of a study; hours depend on the machine.")] = "small",
    limit: opt.AtMost = None,
    speed: Annotated[
        float | None,
        option(
            "--speed",
            help="Tokens a second of a forward pass, for a time.",
            metavar="<number>",
            parser=values.positive("--speed", "tokens a second, for example 400"),
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Say what `headscope study` would cost; no weights are read.

    Parameters, memory, tokens and passes, from the model's configuration and its tokenizer.

    \b
      headscope plan gpt2
      headscope plan gpt2 --budget paper --speed 400
    """
    names = opt.task_choice(tasks, "0", data=data).names
    from headscope.plan.cost import plan_study
    from headscope.plan.study import shots_of

    counts = shots or ",".join(map(str, shots_of(names, NAMED[budget])))
    choice = opt.task_choice(tasks, counts, data=data)
    with status("reading the configuration"):
        config, tokenizer = opt.configuration(model, **loading)
    with status("counting tokens"):
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
        "budget": found.budget.recorded(),
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
    show_table(title, ("stage", "forward-equivalents", "share"), rows)
    time = f"; at {speed:,.0f} tokens a second {duration(found.total / speed)}" if speed else ""
    print(f"together {found.total / 1e6:,.2f} million tokens, {found.operations:.2e} floating-point operations{time}")
