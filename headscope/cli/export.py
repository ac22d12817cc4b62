"""`headscope export`: the pruned model as an ordinary checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ablation.names import POSITIONS, UNITS
from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.kinds import choice, text, whole
from headscope.cli.run_folders import check_run
from headscope.cli.sources import check_source
from headscope.cli.terminal import status
from headscope.store.names import PRUNABLE
from interp.token_display import counted


@opt.loading(without=("offload_folder",))
def export(
    loading: opt.Loading,
    folder: opt.Folder,
    out: Annotated[Path, typer.Argument(help="A new folder for the checkpoint.", parser=values.path("OUT"))],
    component: Annotated[str, choice("--component", PRUNABLE, help="What goes.", panel=panels.REMOVED)] = "head",
    unit: Annotated[
        str, choice("--unit", UNITS, help="Single heads, or whole key-value groups.", panel=panels.REMOVED)
    ] = "head",
    cut: Annotated[
        bool,
        typer.Option(
            "--cut", help="Evenly over layers, with smaller projections (--unit group).", rich_help_panel=panels.REMOVED
        ),
    ] = False,
    percent: Annotated[
        int, whole("--percent", high=100, help="How much goes, least important first.", panel=panels.REMOVED)
    ] = 30,
    percent_ffns: Annotated[
        int | None,
        whole("--percent-ffns", high=100, help="For both: of the FFNs.", panel=panels.REMOVED, default="--percent"),
    ] = None,
    order: Annotated[
        str,
        text("--order", help="aggregate over the run's tasks, or one of them.", metavar="<name>", panel=panels.REMOVED),
    ] = "aggregate",
    shots: Annotated[
        int | None, whole("--shots", help="Whose scores.", panel=panels.REMOVED, default="the most there are")
    ] = None,
    ranking: Annotated[
        str, choice("--ranking", POSITIONS, help="The importance that ranks what goes.", panel=panels.REMOVED)
    ] = "token",
    ablation: opt.Ablation = "zero",
    model: Annotated[
        str | None,
        text("--model", help="Where the model is.", metavar="<model>", expected="a model", default="what the run says"),
    ] = None,
) -> None:
    """Write the model without its least important heads or FFNs.

    An ordinary checkpoint for anything that reads Hugging Face's: their weights are set to zero (zero ablation only),
    so that plain transformers gives the numbers of `prune`.

    \b
      headscope export runs/gpt2 gpt2-pruned
      headscope export runs/gpt2 gpt2-pruned --component both --percent 20
      headscope export runs/qwen3 qwen3-smaller --unit group --cut --percent 50
    """
    check_run(folder, "headscope export")
    from headscope.stages.export import export_pruned

    loaded = model_of(folder, model, loading)
    with status("writing the checkpoint"):
        done = export_pruned(
            loaded,
            folder,
            out,
            component=component,
            percent=percent,
            percent_ffns=percent_ffns,
            order=order,
            shots=shots,
            ranking=ranking,
            ablation=ablation,
            unit=unit,
            cut=cut,
        )
    groups = "" if done.removed_groups is None else f" ({counted(done.removed_groups, 'key-value group')})"
    removed = f"{counted(done.removed_heads, 'head')}{groups} and {counted(done.removed_ffns, 'FFN')} removed"
    print(
        f"{removed} by the {ranking} importance of {counted(len(done.tasks), 'task')} at "
        f"{counted(done.shots, 'shot')}; written to {done.folder}"
    )


def model_of(folder: Path, named: str | None, loading: opt.Loading) -> Any:
    """The run's model, as it was when the run was made unless the options say otherwise."""
    from headscope.store.run import open_run
    from interp.errors import ModelLoadError

    identity = open_run(folder).identity
    wanted = {
        **loading,
        "dtype": loading["dtype"] or str(identity.get("dtype") or "float32"),
        "revision": loading["revision"] or identity.get("revision"),
    }
    try:
        check_source(named or str(identity["source"]))
        return opt.load(named or str(identity["source"]), **wanted)
    except ModelLoadError as error:
        if named is not None:
            raise
        # A run keeps a local folder's name, not its path.
        raise ModelLoadError(
            f"the run is of {str(identity['source'])!r}, which can't be loaded by that name: say where it is, with "
            f"--model ({error})"
        ) from error
