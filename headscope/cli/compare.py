"""`headscope compare`: rankings against rankings, from what is stored."""

from __future__ import annotations

import json

import typer

from headscope.cli import options as opt


def compare(folder: opt.Folder, seed: opt.Seed = 0, as_json: opt.Json = False) -> None:
    """Compare the rankings of a run: tasks, shots, and induction heads against important heads. No model is loaded.

    Rank correlations with intervals, permutation p-values and Holm's correction, overlaps with what chance gives, and
    what pruning would leave of each induction score. Says in words what was found, and renders the report again.
    """
    from headscope.findings.induction_heads import sentences
    from headscope.stages.comparison import compare_rankings

    with opt.progress("comparing") as tell:
        rows = compare_rankings(folder, seed=seed, progress=tell)
    page = opt.render_report(folder)
    if as_json:
        print(json.dumps({"rows": len(rows), "findings": sentences(rows), "report": str(page)}, indent=2))
        return
    for sentence in sentences(rows):
        typer.echo(f"- {sentence}")
    typer.echo(f"{len(rows)} comparisons stored in {folder}; report: {page}")
