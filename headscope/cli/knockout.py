"""`headscope knockout`: what a task loses when one head, or one FFN, is removed."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

import typer

from headscope.cli import engines
from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import choice as one_of
from headscope.cli.kinds import whole
from headscope.cli.terminal import duration, show_table, status
from headscope.store.names import KNOCKED_OUT

DOCUMENTS = {"head": 48, "ffn": 100}


@opt.loading()
@engines.engine()
def knockout(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    component: Annotated[
        str, one_of("--component", KNOCKED_OUT, help="What is removed, one at a time.", panel=panels.REMOVED)
    ] = "ffn",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: Annotated[
        int | None,
        whole("--limit", low=1, help="Documents of each task.", panel=panels.PROMPTS, default="100, or 48 for heads"),
    ] = None,
    ablation: opt.Ablation = "zero",
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 1,
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Remove every FFN or every head, one at a time: what is lost?

    Exact. Stored are the changes of choice, mass and the metric, document by document; FFNs are removed twice, at all
    positions and sparing position 0. Says beforehand how long it will take. A killed run goes on
    from where it was when the same command is given again.

    \b
      headscope knockout
      headscope knockout gpt2 --component head --tasks copa --shots 5
      headscope knockout --ablation mean
    """
    documents = limit if limit is not None else DOCUMENTS[component]
    choice = opt.task_choice(
        tasks, shots, limit=documents, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, seed=seed
    )
    from headscope.stages.knock_out import SPLIT, knockout_stage, measure_knock_out

    folder = opt.run_folder(model, out)
    found, page = opt.measure(
        f"knock-out of every {named(component)}",
        model=model,
        loading=loading,
        folder=folder,
        stage=knockout_stage(choice, component, ablation),
        choice=choice,
        split=SPLIT,
        call=partial(measure_knock_out, component=component, ablation=ablation),
        before=partial(tell_cost, component=component),
    )
    if as_json:
        print(json.dumps({"tasks": [vars(one) for one in found], "report": str(page)}, indent=2))
        return
    show(found, component)
    print(f"stored in {folder}; report: {page}")


def tell_cost(model: Any, cells: Any, *, component: str) -> None:
    """An estimate from one timed batch, on standard error."""
    from headscope.stages.knock_out import estimated_seconds

    with status("estimating the cost"):
        seconds = estimated_seconds(model, cells, component)
    typer.echo(f"about {duration(seconds)} if nothing of it is stored yet", err=True)


def named(component: str) -> str:
    """As it is read."""
    return "FFN" if component == "ffn" else component


def show(found: Any, component: str) -> None:
    """The components that each task misses most."""
    rows = [
        (one.task, ", ".join(f"{name} ({loss:+.3f})" for name, loss in one.worst), str(one.shots), str(one.documents))
        for one in found
    ]
    title = f"the {named(component)}s whose removal costs most, by choice where tasks have one"
    show_table(title, ("task", "worst", "shots", "documents"), rows, left=2)
