"""`headscope doctor`: what must hold before any number of a model is believed."""

from __future__ import annotations

import json

import typer

from headscope.cli import options as opt


def doctor(
    model: opt.Model = "smollm2-135m",
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
    offload_folder: opt.Offload = None,
    as_json: opt.Json = False,
) -> None:
    """Check, layer by layer, that this model's numbers would mean what they claim on this machine.

    Logits equal the untouched model's, attention rows sum to 1, removing a head or an FFN equals zeroing its weights,
    half a gate takes half the contribution, gradients equal finite differences. Leaves with status 1 if one fails.
    """
    loaded = opt.load(
        model, device=device, dtype=dtype, revision=revision, trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle, wheel=wheel, offload_folder=offload_folder, check=False,
    )  # fmt: skip
    from interp.selfcheck import run_checks

    checks = []
    if not as_json:
        sizes = f"{loaded.n_layers} layers x {loaded.n_heads} heads, {loaded.n_kv_heads} kv heads"
        print(f"{loaded.layout.architecture}: {sizes}, {loaded.dtype}, attention route '{loaded.route}'")
    for check in run_checks(loaded, every_layer=True):
        checks.append(check)
        if not as_json:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}  ({check.detail}; {check.difference:.2g})")
    if as_json:
        print(json.dumps([vars(check) for check in checks], indent=2))
    failed = [check for check in checks if not check.passed]
    if failed:
        raise typer.Exit(1)
    if not as_json:
        print(f"all {len(checks)} checks hold")
