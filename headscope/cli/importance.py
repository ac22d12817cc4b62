"""`headscope importance`: which heads and FFNs a task needs, by gradient."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ablation.names import ESTIMATED, NORMALISATIONS, OBJECTIVES
from headscope.cli import engines
from headscope.cli import options as opt
from headscope.cli.kinds import choice as one_of
from headscope.cli.terminal import show_table
from interp.token_display import counted


@opt.loading()
@engines.engine()
def importance(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: opt.Limit = 100,
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 1,
    bos: opt.Bos = "auto",
    labels: opt.Labels = "true",
    objective: Annotated[
        str, one_of("--objective", OBJECTIVES, help="sum: the right answer's loss. choice: right against wrong.")
    ] = "sum",
    ablation: Annotated[
        str, one_of("--ablation", ESTIMATED, help="The removal whose cost is estimated: by zero or by the mean.")
    ] = "zero",
    normalise: Annotated[
        str, one_of("--normalise", NORMALISATIONS, help="uniform; paper or layer_l2 are stored beside it.")
    ] = "uniform",
    frozen_norm: Annotated[bool, typer.Option("--frozen-norm", help="Hold a norm behind the heads fixed.")] = False,
    seed: opt.Seed = 0,
    top: opt.Top = 12,
    as_json: opt.Json = False,
) -> None:
    """Rank heads and FFNs by their importance to tasks.

    One backward pass through their gates, on training documents, gives all of them. `token` and `document` measure
    size, of helpful and harmful heads alike; `signed` says what is needed. Only --objective choice speaks of choosing
    the right answer: the sum is mostly its format. A killed run goes on when the same command is given again.

    \b
      headscope importance
      headscope importance gpt2 --tasks copa,rte --shots 0,1,5 --limit 200
      headscope importance --objective choice    # beside the paper's sum
      headscope importance --objective choice --ablation mean    # stands in for exact knock-outs
      headscope importance --labels shuffled     # is it the answers?
    """
    choice = opt.task_choice(
        tasks, shots, limit=limit, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, labels=labels, seed=seed
    )
    from ablation.importance import variant_of
    from headscope.stages.importance import SPLIT, importance_stage, measure_importance

    how: dict[str, Any] = {"objective": objective, "normalise": normalise, "frozen_norm": frozen_norm}
    how["ablation"] = ablation
    folder = opt.run_folder(model, out)
    ranked, page = opt.measure(
        "importance",
        model=model,
        loading=loading,
        folder=folder,
        stage=importance_stage(choice, **how),
        choice=choice,
        split=SPLIT,
        call=partial(measure_importance, **how),
    )
    found = told(folder, choice, variant_of("", objective=objective, ablation=ablation), ranked, page, top)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        show(found, choice)


def told(folder: Path, choice: Any, way: str, ranked: Any, page: Path, top: int) -> dict[str, Any]:
    """What the tables show, for scripts."""
    from headscope.store.run import open_run

    return {
        "note": open_run(folder).manifest.recorded("post_norm"),
        "tasks": [vars(one) for one in ranked],
        "heads": top_heads(folder, choice, way, top),
        "run": str(folder),
        "report": str(page),
    }


def top_heads(folder: Path, choice: Any, way: str, count: int) -> list[dict[str, Any]]:
    """The heads of highest aggregate importance at the most shots, with their signed importance.

    way: what stands behind `token` and `signed` in the names of the variants.
    """
    from headscope.comparison.scored import Shelf
    from headscope.stages.importance import NAMES
    from headscope.store.run import open_run

    shelf, shots, name = Shelf(open_run(folder)), max(choice.shots), NAMES[choice.labels]
    token, signed = (
        shelf.aggregate(name, f"{positions}{way}", shots, choice.names).stored for positions in ("token", "signed")
    )
    order = [divmod(int(place), token.shape[1]) for place in (-token).argsort(axis=None, kind="stable")]
    found = [at for at in order if token[at] == token[at]][:count]
    return [{"layer": at[0], "head": at[1], "token": float(token[at]), "signed": float(signed[at])} for at in found]


def show(told: dict[str, Any], choice: Any) -> None:
    """What was scored, then the heads that matter most over all tasks."""
    rows = [
        (
            one["task"],
            *(str(one[name]) for name in ("shots", "documents")),
            f"{one['log_likelihood']:.2f}",
            str(one["cut"]),
        )
        for one in told["tasks"]
    ]
    show_table("documents scored", ("task", "shots", "documents", "nats of the right answer", "cut prompts"), rows)
    where = f"{counted(len(choice.names), 'task')} at {counted(max(choice.shots), 'shot')}"
    title = f"most important heads, {where} (share of all heads' total)"
    show_table(
        title,
        ("head", "signed: positive = needed", "importance (token)"),
        ((f"{one['layer']}.{one['head']}", f"{one['signed']:+.2%}", f"{one['token']:.2%}") for one in told["heads"]),
    )
    if told["note"]:
        print(f"{told['note'][0].upper()}{told['note'][1:]}.")
    print(f"stored in {told['run']}; report: {told['report']}")
    print(f"`headscope compare {shlex.quote(told['run'])}` compares the rankings")
