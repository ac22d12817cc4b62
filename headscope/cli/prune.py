"""`headscope prune`: tasks evaluated as heads and FFNs are removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import options as opt
from headscope.cli.cut_prompts import tell_cut


def prune(
    model: opt.Model = "smollm2-135m",
    tasks: opt.Tasks = "probes",
    component: Annotated[str, typer.Option(help="head, ffn, or both: the joint grid.")] = "head",
    order: Annotated[
        str,
        typer.Option(
            help="own, aggregate, transfer, signed, inverse, random, layer_matched, iterative, TASK; commas between."
        ),
    ] = "own",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: opt.Limit = 100,
    percents: Annotated[
        str, typer.Option(help="How much is removed, in percent, from 0 on; `both` has a grid of its own.")
    ] = "0,10,20,30,40,50,60,70,80,90",
    draws: Annotated[int, typer.Option(help="Random and layer-matched orders.")] = 20,
    ablation: opt.Ablation = "zero",
    ranking: Annotated[str, typer.Option(help="token, document or signed importance ranks what is removed.")] = "token",
    ffn_ranking: Annotated[str, typer.Option(help="importance, or knock_out, as the paper does.")] = "importance",
    rankings: Annotated[Path | None, typer.Option(help="Another run, that holds the importance.")] = None,
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 3,
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
    """Remove more and more heads or FFNs, least important first, and evaluate the tasks on validation documents.

    The orders come from scores that `headscope importance` stored, on training documents. `aggregate` and `transfer`
    rank a task by other tasks' scores. Every finished evaluation is kept: a killed run goes on from there.
    """
    from headscope.stages.pruning import PruneChoice, measure_pruning
    from headscope.store.run import check_output_folder, open_run

    choice = opt.task_choice(
        tasks, shots, limit=limit, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, seed=seed
    )
    wanted = PruneChoice(
        component=component,
        orders=tuple(opt.names(order)),
        ablation=ablation,
        percents=opt.numbers(percents, "--percents"),
        draws=draws,
        ranking=ranking,
        ffn_ranking=ffn_ranking,
    )
    folder = opt.run_folder(model, out)
    check_output_folder(folder, wanted.stage(choice))
    with opt.status("reading the documents"):
        cells = choice.cells("validation")
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
    with opt.progress(f"pruning {component}s" if component != "both" else "pruning heads and FFNs") as tell:
        summaries = measure_pruning(loaded, folder, choice, wanted, cells=cells, rankings=rankings, progress=tell)
    tell_cut(open_run(folder), wanted.stage(choice))
    page = opt.render_report(folder)
    if as_json:
        print(json.dumps({"summaries": told(summaries), "report": str(page)}, indent=2, allow_nan=False))
        return
    show(summaries, wanted.percents)
    print(f"stored in {folder}; report: {page}")


def told(summaries: Any) -> list[dict[str, Any]]:
    """Rows for scripts; a value that does not exist is null."""
    rows = summaries.astype(object).where(summaries.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def show(summaries: Any, percents: Sequence[int]) -> None:
    """Area and removable shares of every task and order; percents: the steps, 0 first."""
    from headscope.findings.task_table import MARGIN, brief
    from headscope.store.comparisons import REMOVABLE, Kind

    kinds = (Kind.PRUNING_AREA, *REMOVABLE.values())
    flagged = summaries[(summaries["kind"] == Kind.AT_CHANCE) & (summaries["value"] == 1)]
    chance = set(zip(flagged["a"], flagged["shots"], strict=True))
    few = summaries[(summaries["kind"] == Kind.UNCHANGED_BOUND) & (summaries["value"] <= MARGIN)]
    undecided = set(zip(few["a"], few["shots"], strict=True))
    rows = []
    for (task, shots, order), part in summaries[summaries["kind"].isin(kinds)].groupby(["a", "shots", "b"], sort=False):
        found = {row.kind: row for row in part.itertuples()}
        area = found.get(kinds[0])
        cells = [number(area.value if area is not None else None, ".2f")]
        cells += [
            brief(found[kind].value, percents[1:], undecided=kind == kinds[1] and (task, shots) in undecided)
            if kind in found
            else "-"
            for kind in kinds[1:]
        ]
        rows.append(
            [
                task,
                order,
                str(shots),
                *cells,
                number(area.p if area is not None else None, ".3f"),
                "at chance" if (task, shots) in chance else "",
            ]
        )
    headings = ("task", "order", "shots", "area", "removable by metric", "by log-likelihood", "p of area", "")
    if rows:
        opt.show_table("pruning: an area of 1 costs nothing", headings, rows, left=2)
        if undecided:
            print("undecided: too few documents to exclude a loss of 2 points even where no answer changes")


def number(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)
