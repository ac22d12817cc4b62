"""`headscope study`: all of it, in the paper's order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscope.cli import engines
from headscope.cli import options as opt
from headscope.cli.kinds import choice, path
from headscope.cli.terminal import progress
from headscope.plan.names import STAGES


@opt.loading()
@engines.engine()
def study(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.Tasks = "probes",
    shots: opt.BudgetShots = None,
    out: opt.Out = None,
    data: opt.Data = "hub",
    limit: opt.AtMost = None,
    budget: Annotated[
        str, opt.budget("small, paper (the full measure), or hours, as 0.5: what decides comes first.")
    ] = "small",
    only: Annotated[str | None, choice("--only", STAGES, help=f"One stage: {', '.join(STAGES)}.")] = None,
    publish: Annotated[Path | None, path("--publish", help="Folder for the tables and a page of findings.")] = None,
    length: opt.Length = None,
    counts: opt.Counts = None,
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
) -> None:
    """Run everything: do the induction heads carry in-context learning?

    Induction scores, which tasks are learnt from the context, what these lose without the induction heads and
    without every other kind of head; then importance, knock-outs, pruning with controls, comparison of the rankings,
    and the report. What decides comes first. It may be stopped at any moment: the same command goes on.

    \b
      headscope study                              # the embedded model
      headscope study gpt2 --budget 2              # as much as two hours give
      headscope study gpt2 --tasks copa,rte,boolq --shots 0,5
      headscope study gpt2 --only compare          # one stage again
    """
    opt.task_choice(tasks, shots or "0", data=data)
    from headscope.plan.study import holes
    from headscope.plan.study import study as run_study

    with opt.resumable():
        run = run_study(
            model,
            out=out,
            tasks=tasks,
            shots=shots,
            data=data,
            limit=limit,
            budget=budget,
            bos=bos,
            seed=seed,
            length=length,
            counts=counts,
            only=only,
            load=lambda: opt.load(model, **loading),
            show=progress,
        )
    if only is None or publish is not None:
        from headscope.findings.answer import section as answer
        from headscope.findings.evidence import Evidence

        for sentence in answer(Evidence(run)).sentences:
            typer.echo(f"- {sentence}")
        for line in holes(run):
            typer.echo(f"Left out: {line}.")
    if publish is not None:
        from headscope.report.published import publish as write

        print(f"findings: {write(run, publish)}")
    page = run.folder / "report.html"
    print(f"report: {page}" if page.is_file() else f"run: {run.folder}")
