"""`headscope export`: the pruned model as an ordinary checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscope.cli import options as opt


def export(
    folder: opt.Folder,
    out: Annotated[Path, typer.Argument(help="A new folder for the checkpoint.")],
    component: Annotated[str, typer.Option(help="head, ffn or both.")] = "head",
    percent: Annotated[int, typer.Option(help="How much goes, least important first.")] = 30,
    percent_ffns: Annotated[int | None, typer.Option(help="For both: of the FFNs.  [default: --percent]")] = None,
    order: Annotated[str, typer.Option(help="aggregate over the run's tasks, or one of them.")] = "aggregate",
    shots: Annotated[int | None, typer.Option(help="Whose scores.  [default: the most there are]")] = None,
    ranking: Annotated[str, typer.Option(help="token, document or signed importance.")] = "token",
    ablation: opt.Ablation = "zero",
    model: Annotated[str | None, typer.Option(help="Where the model is.  [default: what the run says]")] = None,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
) -> None:
    """Write the model without its least important heads or FFNs, for anything that reads a Hugging Face checkpoint.

    Their weights are set to zero (zero ablation only), so that plain transformers gives the numbers of `prune`.
    """
    from headscope.stages.export import export_pruned
    from headscope.store.run import open_run
    from interp.errors import ModelLoadError

    identity = open_run(folder).identity
    try:
        loaded = opt.load(
            model or str(identity["source"]),
            device=device,
            dtype=dtype or str(identity.get("dtype") or "float32"),
            revision=revision or identity.get("revision"),
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            wheel=wheel,
        )
    except ModelLoadError as error:
        if model is not None:
            raise
        # A run keeps a local folder's name, not its path.
        raise ModelLoadError(
            f"the run is of {str(identity['source'])!r}, which can't be loaded by that name: say where it is, with "
            f"--model ({error})"
        ) from error
    with opt.status("writing the checkpoint"):
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
        )
    print(
        f"{done.removed_heads} heads and {done.removed_ffns} FFNs removed by the {ranking} importance of "
        f"{len(done.tasks)} tasks at {done.shots} shots; written to {done.folder}"
    )
