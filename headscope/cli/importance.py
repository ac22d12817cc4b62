"""`headscope importance`: which heads and FFNs a task needs, by gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import options as opt


def importance(
    model: opt.Model = "smollm2-135m",
    tasks: opt.Tasks = "probes",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: opt.Limit = 100,
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 1,
    bos: opt.Bos = "auto",
    labels: Annotated[str, typer.Option(help="true, or shuffled: demonstrations with random answers.")] = "true",
    normalise: Annotated[str, typer.Option(help="uniform; paper or layer_l2 are stored beside it.")] = "uniform",
    frozen_norm: Annotated[bool, typer.Option("--frozen-norm", help="Hold a norm behind the heads fixed.")] = False,
    seed: opt.Seed = 0,
    top: Annotated[int, typer.Option(help="How many heads to print.")] = 12,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
    offload_folder: opt.Offload = None,
    as_json: opt.Json = False,
) -> None:
    """Rank heads and FFNs by their importance to tasks: the gradient of their gates on training documents.

    One backward pass gives all of them. `token` and `document` measure size, of helpful and harmful heads alike;
    `signed` says what is needed. A killed run goes on from where it was when the same command is given again.
    """
    from headscope.stages.importance import check_normalise, importance_stage, measure_importance
    from headscope.store.run import check_output_folder, open_run

    check_normalise(normalise)
    choice = opt.task_choice(
        tasks, shots, limit=limit, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, labels=labels, seed=seed
    )
    folder = opt.run_folder(model, out)
    check_output_folder(folder, importance_stage(choice, normalise=normalise, frozen_norm=frozen_norm))
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
    with opt.progress("importance") as tell:
        ranked = measure_importance(
            loaded, folder, choice, cells=cells, normalise=normalise, frozen_norm=frozen_norm, progress=tell
        )
    page = opt.render_report(folder)
    told = {
        "note": open_run(folder).manifest.recorded("post_norm"),
        "tasks": [vars(one) for one in ranked],
        "heads": top_heads(folder, choice, top),
        "run": str(folder),
        "report": str(page),
    }
    if as_json:
        print(json.dumps(told, indent=2, allow_nan=False))
    else:
        show(told, choice)


def top_heads(folder: Path, choice: Any, count: int) -> list[dict[str, Any]]:
    """The heads of highest aggregate importance at the most shots, with their signed importance."""
    from headscope.comparison.scored import aggregate, tables
    from headscope.stages.importance import NAMES
    from headscope.store.run import open_run

    run, shots, name = open_run(folder), max(choice.shots), NAMES[choice.labels]
    token, signed = (
        aggregate(tables(run, name, variant, shots, tasks=choice.names)) for variant in ("token", "signed")
    )
    order = [divmod(int(place), token.shape[1]) for place in (-token).argsort(axis=None, kind="stable")]
    found = [at for at in order if token[at] == token[at]][:count]
    return [{"layer": at[0], "head": at[1], "token": float(token[at]), "signed": float(signed[at])} for at in found]


def show(told: dict[str, Any], choice: Any) -> None:
    """What was scored, then the heads that matter most over all tasks."""
    headings = ("task", "shots", "documents", "mean gold log-likelihood, nats", "cut prompts")
    opt.show_table(
        "documents scored",
        headings,
        (
            (
                one["task"],
                *(str(one[name]) for name in ("shots", "documents")),
                f"{one['log_likelihood']:.2f}",
                str(one["cut"]),
            )
            for one in told["tasks"]
        ),
    )
    title = f"most important heads, {len(choice.names)} tasks at {max(choice.shots)} shots (share of all heads' total)"
    opt.show_table(
        title,
        ("head", "importance (token)", "signed: positive = needed"),
        ((f"{one['layer']}.{one['head']}", f"{one['token']:.2%}", f"{one['signed']:+.2%}") for one in told["heads"]),
    )
    if told["note"]:
        print(f"{told['note'][0].upper()}{told['note'][1:]}.")
    cut = sum(one["cut"] for one in told["tasks"])
    if cut:
        print(f"{cut} prompts were longer than the model's context: cut by whole demonstrations, then on the left.")
    print(f"stored in {told['run']}; report: {told['report']}")
    print(f"`headscope compare {told['run']}` compares the rankings")
