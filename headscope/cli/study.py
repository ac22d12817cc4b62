"""`headscope study`: all of it, in the paper's order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import options as opt


def study(
    model: opt.Model = "smollm2-135m",
    tasks: opt.Tasks = "probes",
    shots: Annotated[str | None, typer.Option(help="Numbers of demonstrations.  [default: the budget's]")] = None,
    out: opt.Out = None,
    data: opt.Data = "hub",
    limit: Annotated[int | None, typer.Option(help="At most so many documents of a task.")] = None,
    budget: Annotated[
        str, typer.Option(help="small (the default model: under an hour on two cores), paper, or hours, as 2.")
    ] = "small",
    only: Annotated[
        str | None, typer.Option(help="One stage: induction, importance, knockout, prune, compare, causal or report.")
    ] = None,
    publish: Annotated[Path | None, typer.Option(help="Folder for the tables and a page of findings.")] = None,
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
    offload_folder: opt.Offload = None,
) -> None:
    """Which heads and FFNs carry in-context learning, and are they the induction heads? The whole study.

    Induction scores, importance on every task and number of shots, FFN knock-out, pruning with controls, comparison of
    the rankings, the causal check, and the report. It may be stopped at any moment: the same command goes on.
    """
    from headscope.plan.study import study as run_study

    def load() -> Any:
        return opt.load(
            model,
            device=device,
            dtype=dtype,
            revision=revision,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            wheel=wheel,
            offload_folder=offload_folder,
        )

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
        only=only,
        load=load,
        show=opt.progress,
    )
    if only is None or publish is not None:
        from headscope.findings.page import findings

        for line in findings(run):
            typer.echo(line)
    if publish is not None:
        from headscope.findings.page import publish as write

        print(f"findings: {write(run, publish)}")
    print(f"report: {run.folder / 'report.html'}")
