"""`headscope patch`: what one prompt's answer gains from the heads of another prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.kinds import choice, option, path
from headscope.cli.kinds import text as text_option
from headscope.cli.terminal import show_table, status

WAYS = ("exact", "attribution", "ig", "direct")
COMPONENTS = ("head", "ffn")
PLACES = "last, all, or positions counted from 0, with commas between"


def parse_at(text: str) -> str | tuple[int, ...]:
    """`last`, `all`, `3` or `3,-1`. Raises UsageError for anything else."""
    from interp.errors import UsageError, quoted

    if text in ("last", "all"):
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{quoted(text)} is not a place in a prompt: give {PLACES} (--at)") from error


@opt.loading()
def patch(
    loading: opt.Loading,
    clean: Annotated[str, text_option("--clean", help="The prompt that heads are taken from.", metavar="<text>")],
    answer: Annotated[
        str, text_option("--answer", help="What should follow, with its space in front.", metavar="<text>")
    ],
    model: opt.Model = opt.DEFAULT_MODEL,
    corrupt: Annotated[
        str | None, text_option("--corrupt", help="The prompt that they are put into.", metavar="<text>", default=False)
    ] = None,
    other: Annotated[
        str | None, text_option("--other", help="Another answer to compare with.", metavar="<text>", default=False)
    ] = None,
    at: Annotated[
        str, option("--at", help=f"{PLACES}.".capitalize(), metavar="<last|all|n>", parser=values.checked(parse_at))
    ] = "last",
    method: Annotated[
        str, choice("--method", WAYS, help="exact; attribution and ig estimate it; direct needs one prompt only.")
    ] = "exact",
    component: Annotated[str, choice("--component", COMPONENTS, help="What is patched, one at a time.")] = "head",
    each: Annotated[
        bool, typer.Option("--by-position", help="Exact patching at each position by itself too: a patching each.")
    ] = False,
    out: Annotated[
        Path | None,
        path("-o", "--out", help="A .html page, or a .png, .svg or .pdf picture.", panel=panels.OUTPUT, default=False),
    ] = None,
    top: opt.Top = 12,
    as_json: opt.Json = False,
) -> None:
    """Put every head of one prompt into another, one at a time: which ones bring the answer?

    Both prompts should differ in what the answer depends on, and in nothing else. An effect is what the answer gains,
    in nats of its log-probability, against another answer where one is given.

    \b
      headscope patch --clean "A B C A" --corrupt "A D C A" --answer " B" --other " D"
      headscope patch --clean "A B C A" --answer " B" --method direct -o written.svg
    """
    from headscope.report.patch_page import write_effects
    from headscope.report.pictures import check_output
    from interp.tokenizer import tokenizer_of

    if out is not None:
        check_output(out)
    loaded = opt.load(model, **loading)
    tokenizer_of(loaded, "the prompts")
    with status("patching"):
        from ablation.patching import patch as patched

        effects = patched(
            loaded,
            clean,
            corrupt,
            answer=answer,
            other=other,
            at=parse_at(at),
            method=method,
            component=component,
            by_position=each,
        )
    found = told(effects, model, method, component, top)
    places = list(positions(loaded, effects, clean if corrupt is None or method == "direct" else corrupt))
    found["by_position"] = parts(effects, places)
    if out is not None:
        written = write_effects(
            effects,
            out,
            title=found["title"],
            model=model,
            prompts=prompts(clean, corrupt, answer, other),
            lines=tuple(sums(found)),
            rows=found["effects"],
            positions=places,
        )
        found["file"] = str(written)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        show(found)


TITLES = {
    "exact": "what patching one {component} adds",
    "attribution": "what patching one {component} adds (by attribution)",
    "ig": "what patching one {component} adds (by integrated gradients)",
    "direct": "what each {component} writes straight",
}


def told(effects: Any, model: str, method: str, component: str, top: int) -> dict[str, Any]:
    """What the table shows, for scripts."""
    outcome = effects.variant.partition("/")[2].replace("_", " ")
    agreement = effects.agreement
    return {
        "title": f"{TITLES[method].format(component=component)} to the {outcome}, in nats",
        "model": model,
        "outcome": outcome,
        "clean": _number(effects.clean),
        "corrupt": _number(effects.corrupt),
        "positions": list(effects.positions),
        "effects": list(strongest(effects, top)),
        "agreement": None
        if agreement is None
        else {
            "heads": len(agreement.heads),
            "spearman": _number(agreement.spearman),
            "same_sign": _number(agreement.sign_agreement),
        },
    }


def strongest(effects: Any, top: int) -> Iterator[dict[str, Any]]:
    """The components of the largest effects, of either sign."""
    values = effects.mean.double().numpy()
    places = [(abs(value), place) for place, value in enumerate(values.ravel()) if isfinite(value)]
    for _, place in sorted(places, key=lambda pair: (-pair[0], pair[1]))[:top]:
        at = divmod(place, values.shape[1]) if values.ndim == 2 else (place,)
        yield {"component": ".".join(map(str, at)), "effect": float(values[at])}


def positions(model: Any, effects: Any, prompt: str) -> Iterator[tuple[int, str]]:
    """The positions that have parts of their own, with the tokens that stand there in this prompt."""
    from ablation.prompt_pair import prompt_ids
    from interp.token_display import token_texts

    if effects.by_position is None:
        return
    tokens = token_texts(model.tokenizer, prompt_ids(model, prompt))
    direct = effects.variant.startswith("direct/")  # what heads write everywhere, read at the last position
    for place in range(len(tokens)) if direct else effects.positions:
        yield place, tokens[place]


def parts(effects: Any, places: list[tuple[int, str]]) -> dict[str, Any] | None:
    """The sums over each layer's heads at every position, for scripts."""
    from headscope.report.patch_page import by_position

    found = by_position(effects)
    if found is None:
        return None
    numbers, tokens = zip(*places, strict=True)
    return {
        "positions": list(numbers),
        "tokens": list(tokens),
        "layers": [list(map(_number, row)) for row in found.round(6)],
    }


def prompts(clean: str, corrupt: str | None, answer: str, other: str | None) -> dict[str, str]:
    """What was asked, for a page."""
    told = {"Clean": clean, "Corrupt": corrupt, "Answer": answer, "Against": other}
    return {name: text for name, text in told.items() if text is not None}


def sums(found: dict[str, Any]) -> Iterator[str]:
    """The prompts as they are, and how far an estimate agrees with exact patching."""
    if found["clean"] is not None:
        corrupt = "" if found["corrupt"] is None else f", of the corrupt one {found['corrupt']:+.3f}"
        yield f"{found['outcome']} of the clean prompt {found['clean']:+.3f}{corrupt} nats"
    agreement = found["agreement"]
    if agreement is not None and agreement["spearman"] is not None:
        signs = "" if agreement["same_sign"] is None else f", {agreement['same_sign']:.0%} of their signs"
        yield (
            f"beside exact patching of {agreement['heads']} heads spread over the ranks: Spearman "
            f"{agreement['spearman']:.2f}{signs}"
        )


def show(found: dict[str, Any]) -> None:
    """The table, what the prompts give by themselves, and the agreement."""
    places = ", ".join(map(str, found["positions"]))
    rows = [(line["component"], f"{line['effect']:+.4f}") for line in found["effects"]]
    show_table(f"{found['title']} (position {places})" if places else found["title"], ("head or FFN", "effect"), rows)
    for line in sums(found):
        print(line)
    if "file" in found:
        print(found["file"])


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None
