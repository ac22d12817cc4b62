"""`headscope inspect`: look at heads in the browser, and remove them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.kinds import path, text, whole
from headscope.cli.run_folders import check_run
from headscope.cli.sources import check_source
from headscope.store.names import MANIFEST
from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.inspector import Bench
    from headscope.inspector.beside import Beside
    from interp.model import HookedModel

Target = Annotated[
    str,
    typer.Argument(
        help="A model, or a run directory such as runs/smollm2-135m.",
        parser=values.text("TARGET", "a model or a run directory"),
        show_default=True,
    ),
]


@opt.loading(without=("offload_folder",))
def inspect(
    loading: opt.Loading,
    target: Target = opt.DEFAULT_MODEL,
    out: opt.Out = None,
    port: Annotated[int, whole("--port", high=65535, help="Port on 127.0.0.1; 0 takes any that is free.")] = 8050,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    model_at: Annotated[
        str | None,
        text("--model", help="Where a run directory's model is, if it moved or was local.", metavar="<path|hub id>"),
    ] = None,
    beside: Annotated[
        Path | None, path("--beside", help="Another run, whose scores are drawn beside this one's.")
    ] = None,
    no_model: Annotated[bool, typer.Option("--no-model", help="Show what is stored, without the model.")] = False,
    length: opt.Length = None,
    counts: opt.Counts = None,
    data: opt.Data = "hub",
) -> None:
    """Look at heads in the browser, on your own machine, and remove them.

    A run directory shows what is stored; its model is loaded where it can be found. A model that has no run directory
    yet is scored while the page is looked at, as `headscope induction` does it. Ctrl+C ends the inspector.

    \b
      headscope inspect
      headscope inspect runs/gpt2
      headscope inspect runs/mine --model ~/models/mine
      headscope inspect runs/step-4000 --beside runs/step-1000
      headscope inspect gpt2 --port 0 --no-browser     # over ssh
    """
    check_target(target)
    check_model(target, model_at, no_model=no_model)
    if beside is not None:
        check_run(beside, "--beside")
    from headscope.inspector import serve
    from headscope.inspector.server import check_port

    check_port(port)
    bench = make_bench(
        target, out, data, loading, model_at=model_at, with_model=not no_model, length=length, counts=counts
    )

    bench.counts = counts
    if beside is not None:
        bench.beside = run_beside(bench, beside)

    def ready(address: str) -> None:
        print(f"inspector: {address}  (Ctrl+C ends it)", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(bench, port=port, ready=ready)


def check_target(target: str) -> None:
    """Raises HeadscopeError for what is neither a run directory nor a model, naming those that are here."""
    folder = Path(target)
    if folder.is_dir() and not (folder / "config.json").is_file():
        check_run(folder, "headscope inspect")
    elif not (folder / MANIFEST).is_file():
        check_source(target, run_too=True)


def check_model(target: str, model_at: str | None, *, no_model: bool) -> None:
    """Raises HeadscopeError for a model that can't be looked at with this target."""
    if model_at is None:
        return
    if no_model or not (Path(target) / MANIFEST).is_file():
        raise UsageError("--model says where the model of a run directory is: leave it out, or name a run directory")
    check_source(model_at)


def run_beside(bench: Bench, folder: Path) -> Beside:
    """The other run. Raises UsageError where it is this one, or holds no score of a head."""
    from headscope.comparison.models import distinct_names
    from headscope.comparison.protocols import unlike
    from headscope.findings.models import paired
    from headscope.inspector.beside import Beside
    from headscope.store.run import open_whole_run

    other = open_whole_run(folder)
    if other.head_scores.empty:
        raise UsageError(f"the run '{folder}' holds no score of a head to draw: run `{other.command('induction')}`")
    if bench.run is None:
        return Beside(other, folder.resolve().name, bench.name, paired)
    if bench.run.folder.resolve() == folder.resolve():
        raise UsageError(f"'{folder}' is the run that is inspected already: name another one (--beside)")
    own, name = distinct_names([bench.run.folder, folder])
    return Beside(other, name, own, paired, tuple(unlike(bench.run, other)))


def make_bench(
    target: str,
    out: Path | None,
    data: str,
    loading: dict[str, Any],
    *,
    with_model: bool,
    length: int | None = None,
    counts: str | None = None,
    model_at: str | None = None,
) -> Bench:
    """A run directory with its model where that can be found, or a model with its run directory where there is one."""
    from headscope.inspector.opening import open_model, open_run_directory
    from headscope.store.manifest import read_manifest

    def load(source: str) -> HookedModel:
        check_source(source)
        return opt.load(source, **loading)

    if read_manifest(Path(target)) is not None:
        return open_run_directory(Path(target), load, data=data, with_model=with_model, model_at=model_at)
    return open_model(load(target), opt.run_folder(target, out), data=data, length=length, counts=counts)
