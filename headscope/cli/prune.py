"""`headscope prune`: tasks evaluated as heads and FFNs are removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from ablation.names import POSITIONS, UNITS
from ablation.tasks.names import ICL14, PROBES
from headscope.cli import engines, values
from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import choice as one_of
from headscope.cli.kinds import listed, path, whole
from headscope.cli.run_folders import check_run
from headscope.cli.terminal import show_table
from headscope.stages.removal_orders import check_orders, check_percents
from headscope.store.names import FFN_RANKINGS, ORDERS, PRUNABLE
from interp.token_display import counted

STEPS = "0,5,10,15,20,30,40,50,60,70,80,90"
RANKINGS = tuple(f"{name}{way}" for way in ("", "/choice", "/choice/mean") for name in POSITIONS)
PRUNED = {
    "head": "pruning heads",
    "ffn": "pruning FFNs",
    "both": "pruning heads and FFNs",
    "group": "pruning key-value groups",
}
read_percents = values.whole_numbers("--percents", "0,20,40")
read_orders = values.names("--order", f"{values.alternatives(ORDERS)}, or a task of --tasks")


@opt.loading()
@engines.engine()
def prune(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    component: Annotated[
        str, one_of("--component", PRUNABLE, help="What is removed; both is the joint grid.", panel=panels.REMOVED)
    ] = "head",
    unit: Annotated[
        str, one_of("--unit", UNITS, help="Single heads, or whole key-value groups.", panel=panels.REMOVED)
    ] = "head",
    order: Annotated[
        str,
        listed(
            "--order",
            read_orders,
            help=f"{', '.join(ORDERS)}, TASK; commas between.",
            offered=(*ORDERS, *PROBES, *ICL14),
            panel=panels.REMOVED,
        ),
    ] = "own",
    shots: opt.Shots = "0,5",
    out: opt.Out = None,
    limit: opt.Limit = 100,
    percents: Annotated[
        str,
        listed(
            "--percents",
            lambda text: check_percents(read_percents(text)),
            help="How much is removed, in percent, from 0 on; `both` has a grid of its own.",
            of="n",
            panel=panels.REMOVED,
        ),
    ] = STEPS,
    draws: Annotated[
        int, whole("--draws", low=1, high=10_000, help="Random and layer-matched orders.", panel=panels.REMOVED)
    ] = 20,
    ablation: opt.Ablation = "zero",
    ranking: Annotated[
        str,
        one_of("--ranking", RANKINGS, help=f"The importance that ranks: {', '.join(RANKINGS)}.", panel=panels.REMOVED),
    ] = "token",
    ffn_ranking: Annotated[
        str,
        one_of(
            "--ffn-ranking",
            FFN_RANKINGS,
            help="FFNs are ranked by importance, or by knock_out, as the paper does.",
            panel=panels.REMOVED,
        ),
    ] = "importance",
    rankings: Annotated[
        Path | None, path("--rankings", help="Another run that holds the importance.", panel=panels.REMOVED)
    ] = None,
    data: opt.Data = "hub",
    demos: opt.Demos = "document",
    demo_seeds: opt.DemoSeeds = 3,
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Remove more and more heads or FFNs; what can tasks spare?

    Least important first, evaluated on validation documents. The orders come from scores that `headscope importance`
    stored, on training documents. `aggregate` and `transfer` rank a task by other tasks' scores. The draws of the
    demonstrations share the documents out among them; with demonstrations, the same documents are evaluated without
    any too, for what is kept of their gain. Every finished evaluation is kept: a killed run goes on from there.

    \b
      headscope importance gpt2 --tasks copa,rte       # first
      headscope prune gpt2 --tasks copa,rte --order own,random
      headscope prune gpt2 --tasks copa,rte --component ffn
      headscope prune Qwen/Qwen3-0.6B --unit group --order own,even,random
    """
    choice = opt.task_choice(
        tasks, shots, limit=limit, data=data, demos=demos, demo_seeds=demo_seeds, bos=bos, seed=seed, mixed=True
    )
    orders = tuple(values.comma_list(order))
    check_orders(orders, choice.names, component, unit)
    if rankings is not None:
        check_run(rankings, "--rankings")
    from headscope.cli.missing import check_scores
    from headscope.stages.pruning import SPLIT, PruneChoice, measure_pruning, replaced

    wanted = PruneChoice(
        component=component,
        orders=orders,
        ablation=ablation,
        percents=read_percents(percents),
        draws=draws,
        ranking=ranking,
        ffn_ranking=ffn_ranking,
        unit=unit,
    )
    folder = opt.run_folder(model, out)
    summaries, page = opt.measure(
        PRUNED[component if unit == "head" else unit],
        model=model,
        loading=loading,
        folder=folder,
        stage=wanted.stage(choice),
        choice=choice,
        split=SPLIT,
        check=partial(check_scores, folder if rankings is None else rankings, model, loading, choice, wanted),
        call=lambda loaded, place, asked, **more: measure_pruning(
            loaded, place, asked, wanted, rankings=rankings, **more
        ),
    )
    if as_json:
        print(json.dumps({"summaries": told(summaries), "report": str(page)}, indent=2, allow_nan=False))
        return
    show(summaries)
    for line in replaced(folder, wanted.stage(choice)):
        print(f"taken out of the folder: {line}")
    print(f"stored in {folder}; report: {page}")


def told(summaries: Any) -> list[dict[str, Any]]:
    """Rows for scripts; a value that does not exist is null."""
    rows = summaries.astype(object).where(summaries.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


HEADINGS = ("task", "order", "shots", "area", "by metric", "by choice", "95% of the gain", "p of area", "")
NOTE = "removable: shown up to / shown not from, in percent; - is not shown. The gain is what demonstrations bring."


def show(summaries: Any) -> None:
    """Area and removable shares of every task and order."""
    rows = list(table_rows(summaries))
    if rows:
        show_table("pruning: an area of 1 costs nothing", HEADINGS, rows, left=2)
        print(NOTE)
    for line in without_summary(summaries, shown={(row[0], row[2]) for row in rows}):
        print(line)


def table_rows(summaries: Any) -> Iterator[list[str]]:
    """One row a task, number of shots and order."""
    from headscope.store.comparisons import REMOVABLE, Kind

    flagged = summaries[(summaries["kind"] == Kind.AT_CHANCE) & (summaries["value"] == 1)]
    chance = set(zip(flagged["a"], flagged["shots"], strict=True))
    listed = summaries[summaries["kind"].isin((Kind.PRUNING_AREA, *REMOVABLE.values()))]
    keys = listed[["a", "shots", "b"]].drop_duplicates().itertuples(index=False, name=None)
    for task, shots, order in keys:
        part = summaries[(summaries["a"] == task) & (summaries["shots"] == shots) & (summaries["b"] == order)]
        found = {row.kind: row for row in part.itertuples()}
        area = found.get(Kind.PRUNING_AREA)
        value, p = (None, None) if area is None else (area.value, area.p)
        note = "at chance" if (task, shots) in chance else ""
        shares = [verdict(found, outcome) for outcome in REMOVABLE]
        yield [task, order, str(shots), number(value, ".2f"), *shares, number(p, ".3f"), note]


def verdict(found: Any, outcome: str) -> str:
    """Shown removable up to, and shown not removable from."""
    from headscope.store.comparisons import NOT_REMOVABLE, REMOVABLE

    if REMOVABLE[outcome] not in found:
        return "-"
    shown, refuted = found[REMOVABLE[outcome]].value, found.get(NOT_REMOVABLE[outcome])
    return f"{shown:.0f} / {'-' if refuted is None else format(refuted.value, '.0f')}"


def without_summary(summaries: Any, shown: set[tuple[str, str]]) -> Iterator[str]:
    """A sentence on every task that the table lacks, and on the joint grid, which has no row of its own."""
    from headscope.store.comparisons import Kind

    full = summaries[summaries["kind"] == Kind.FULL_METRIC]
    alone = [row for row in full.itertuples() if (row.a, str(row.shots)) not in shown]
    if alone:
        names = ", ".join(
            f"{row.a} at {counted(row.shots, 'shot')} ({row.value:.2f} with nothing removed)" for row in alone
        )
        yield (
            f"no area and no removable share of {names}: its documents are one cluster, which has no interval. Take "
            "more of them (--limit)"
        )
    if full.empty and not shown:
        yield "the joint grid has no area; the report draws it"


def number(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else format(value, form)
