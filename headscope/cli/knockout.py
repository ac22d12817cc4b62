"""`headscope knockout`: what a task loses when one head, or one FFN, is removed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from headscope.cli import options as opt
from headscope.cli.cut_prompts import tell_cut

DOCUMENTS = {"head": 48, "ffn": 100}


def knockout(
    model: opt.Model = "smollm2-135m",
    tasks: opt.Tasks = "probes",
    component: Annotated[str, typer.Option(help="ffn or head.")] = "ffn",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: Annotated[int | None, typer.Option(help="Documents of each task.  [default: 100; 48 for heads]")] = None,
    ablation: opt.Ablation = "zero",
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 1,
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
    offload_folder: opt.Offload = None,
    as_json: opt.Json = False,
) -> None:
    """Remove every FFN (or every head), one at a time, and say what each task loses. Exact.

    Stored are the change of the right answer's log-likelihood and of the metric, document by document; FFNs are
    removed twice, at all positions and sparing position 0. Says beforehand how long it will take.
    """
    from headscope.stages.knock_out import knockout_stage, measure_knock_out
    from headscope.store.run import check_output_folder, open_run

    documents = limit if limit is not None else DOCUMENTS.get(component)
    choice = opt.task_choice(
        tasks, shots, limit=documents, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, seed=seed
    )
    folder = opt.run_folder(model, out)
    check_output_folder(folder, knockout_stage(choice, component, ablation))
    with opt.status("reading the documents"):
        cells = choice.cells("train")
    loaded = opt.load(
        model,
        device=device,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        wheel=wheel,
        offload_folder=offload_folder,
    )
    tell_cost(loaded, cells, component)
    with opt.progress(f"knock-out of every {component}") as tell:
        found = measure_knock_out(
            loaded, folder, choice, component=component, ablation=ablation, cells=cells, progress=tell
        )
    tell_cut(open_run(folder), knockout_stage(choice, component, ablation))
    page = opt.render_report(folder)
    if as_json:
        print(json.dumps({"tasks": [vars(one) for one in found], "report": str(page)}, indent=2))
        return
    show(found, component)
    print(f"stored in {folder}; report: {page}")


def tell_cost(model: Any, cells: Any, component: str) -> None:
    """An estimate from one timed batch, on standard error."""
    from headscope.stages.knock_out import estimated_seconds

    with opt.status("estimating the cost"):
        seconds = estimated_seconds(model, cells, component)
    typer.echo(f"about {opt.duration(seconds)} if nothing of it is stored yet", err=True)


def show(found: Any, component: str) -> None:
    """The components that each task misses most."""
    rows = [
        (one.task, ", ".join(f"{name} ({loss:+.3f})" for name, loss in one.worst), str(one.shots), str(one.documents))
        for one in found
    ]
    title = f"the {component}s whose removal costs most, in nats of the right answer"
    opt.show_table(title, ("task", "worst", "shots", "documents"), rows, left=2)
