"""`headscope inspect`: look at heads in the browser, and remove them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import options as opt

if TYPE_CHECKING:
    from headscope.inspector import Bench

Target = Annotated[
    str, typer.Argument(help="A model, or a run directory such as runs/smollm2-135m.", show_default=True)
]


def inspect(
    target: Target = "smollm2-135m",
    out: opt.Out = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes any that is free.")] = 8050,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    with_model: Annotated[bool, typer.Option("--model/--no-model", help="Load the model of a run directory.")] = True,
    data: Annotated[str, typer.Option(help="Where tasks' documents come from: hub, or a folder.")] = "hub",
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
) -> None:
    """Look at the heads of a model or of a run directory in the browser, on this machine alone.

    A run directory shows what is stored; its model is loaded where it can be had. A model that has no run directory yet
    is scored while the page is looked at, as `headscope induction` does it. Ctrl+C ends the inspector.
    """
    from headscope.inspector import serve
    from headscope.inspector.server import check_port

    check_port(port)
    loading: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
        "wheel": wheel,
    }
    bench = make_bench(target, out, data, loading, with_model=with_model)

    def ready(address: str) -> None:
        print(f"inspector: {address}  (Ctrl+C ends it)", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(bench, port=port, ready=ready)


def make_bench(target: str, out: Path | None, data: str, loading: dict[str, Any], *, with_model: bool) -> Bench:
    """A run directory with its model where it can be had, or a model with its run directory where there is one."""
    from headscope.inspector.opening import open_model, open_run_directory
    from headscope.store.manifest import read_manifest

    if read_manifest(Path(target)) is not None:
        return open_run_directory(
            Path(target), lambda source: opt.load(source, **loading), data=data, with_model=with_model
        )
    return open_model(opt.load(target, **loading), opt.run_folder(target, out), data=data)
