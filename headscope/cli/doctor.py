"""`headscope doctor`: what must hold before any number of a model is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from headscope.cli import options as opt
from headscope.cli.terminal import progress
from interp.token_display import counted

if TYPE_CHECKING:
    from interp.checks.result import Check


@opt.loading(without=("check",))
def doctor(loading: opt.Loading, model: opt.Model = opt.DEFAULT_MODEL, as_json: opt.Json = False) -> None:
    """Check that a model's numbers would mean what they claim.

    Layer by layer, on this machine: logits equal the untouched model's, attention rows sum to 1, removing a head or an
    FFN equals zeroing its weights, half a gate takes half the contribution, gradients equal finite differences. Leaves
    with status 1 if one fails.

    \b
      headscope doctor
      headscope doctor gpt2 --dtype bfloat16
    """
    loaded = opt.load(model, **loading, check="off")
    from interp.selfcheck import number_of_checks, run_checks

    if not as_json:
        sizes = f"{counted(loaded.n_layers, 'layer')} x {counted(loaded.n_heads, 'head')}"
        sizes += f", {counted(loaded.n_kv_heads, 'kv head')}"
        print(f"{loaded.layout.architecture}: {sizes}, {loaded.dtype}, attention route '{loaded.route}'", flush=True)
    checks: list[Check] = []
    expected = number_of_checks(loaded, every_layer=True)
    with progress("checking") as tell:
        for check in run_checks(loaded, every_layer=True):
            checks.append(check)
            tell(len(checks), expected, check.name)
    failed = [check for check in checks if not check.passed]
    if as_json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    else:
        for line in told(checks):
            print(line)
        if not failed:
            print(f"all {len(checks)} checks hold")
    if failed:
        raise typer.Exit(1)


def told(checks: Sequence[Check]) -> Iterator[str]:
    """One line a name: the worst of those that hold, then every one that fails."""
    for name in dict.fromkeys(check.name for check in checks):
        alike = [check for check in checks if check.name == name]
        held = [check for check in alike if check.passed]
        if held:
            worst = max(held, key=lambda check: check.difference)
            many = f"{len(held)} times, worst: " if len(held) > 1 else ""
            yield f"ok    {name}  ({many}{worst.detail}; {worst.difference:.2g})"
        for check in alike:
            if not check.passed:
                yield f"FAIL  {name}  ({check.detail}; {check.difference:.2g})"
