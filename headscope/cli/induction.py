"""`headscope induction`: score every head, print the top ones, write the run directory and its report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from headscope.cli import engines, values
from headscope.cli import options as opt
from headscope.cli.kinds import choice, listed, whole
from headscope.cli.terminal import console, progress
from headscope.store.names import ALSO, PROTOCOLS
from interp.token_display import counted


@opt.loading()
@engines.engine()
def induction(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    out: opt.Out = None,
    protocol: Annotated[
        str, choice("--protocol", PROTOCOLS, help="quick: 20 sequences, L = 50. paper: 100, L = 25 to 223.")
    ] = "quick",
    sequences: Annotated[
        int | None, whole("--sequences", low=1, help="How many, in place of the protocol's number.")
    ] = None,
    length: opt.Length = None,
    counts: opt.Counts = None,
    also: Annotated[
        str | None,
        listed(
            "--also",
            values.names("--also", "retrieval, concept, or both with a comma between"),
            help="Further scores, on prompts in words: retrieval, concept.",
            offered=ALSO,
            default="",
        ),
    ] = None,
    seed: opt.Seed = 0,
    top: opt.Top = 12,
    as_json: opt.Json = False,
) -> None:
    """Score every attention head: does it look back and copy?

    The model reads a block of L random tokens, four times over. The heads that match prefixes best are printed; all of
    them, and more scores, are in the run directory and its report. A killed run goes on from where it was when the same
    command is given again.

    \b
      headscope induction
      headscope induction gpt2 -o runs/gpt2 --protocol paper
      headscope induction gpt2 --json > heads.json
      headscope induction gpt2 --also retrieval,concept

    \b
    The columns (as many as fit; --json has all):
      class                 of heads that match prefixes (.4 or more, above
                            both nulls): copying or anti-copying by the sign
                            of a direct effect that is clear, however small;
                            else matching only; "-" for the others
      direct effect         logit of the token that comes next in the block,
      (signed, sd)          above the block's mean, in standard deviations;
                            negative = held down
      prefix matching       attention on what followed earlier copies of the
                            current token, 0 to 1
      copying (successor)   share of what the head raises that falls on the
                            token that comes next; chance is 1/L
      previous token        attention on the token just before
      duplicate token       attention on earlier copies of the current token
      copying (argmax)      the share that falls on the token it attends to
                            most, no repeats in sight

    In each cell: the mean over sequences and its 95% interval; below it the mean of the null (the score where there is
    nothing to find) and p, the chance that the best of all heads reaches the value by the null alone.
    """
    from headscope.stages.induction import check_also, measure_induction, stage_of
    from headscope.store.run import check_output_folder

    folder = opt.run_folder(model, out)
    chosen: dict[str, Any] = {"protocol": protocol, "sequences": sequences, "length": length, "seed": seed}
    chosen["counts"] = counts
    further = tuple(values.comma_list(also or ""))
    check_also(further)
    check_output_folder(folder, stage_of(**chosen))
    with opt.resumable():
        loaded = opt.load(model, **loading)
        with progress("scoring heads") as tell:
            measured = measure_induction(loaded, folder, **chosen, also=further, progress=tell)
        page = opt.render_report(folder)
    if as_json:
        print(json.dumps(told(measured, loaded, page, top), indent=2, allow_nan=False))
    else:
        show(measured, loaded, page, top)


def told(measured: Any, model: Any, page: Any, top: int) -> dict[str, Any]:
    """What the table shows, for scripts; a value that does not exist is null."""
    prefix = measured.scores.get("prefix_matching")
    heads = []
    for head in prefix.top(top):
        scores = {
            label(score): {name: number(getattr(score, name)[head.layer, head.head]) for name in VALUES}
            for score in measured.scores.scores
        }
        kind = str(measured.scores.heads.classes[head.layer, head.head])
        heads.append({"layer": head.layer, "head": head.head, "class": kind, "scores": scores})
    return {
        "model": {name: value for name, value in model.identity().items() if name != "versions"},
        "protocol": measured.protocol,
        "sequences": prefix.n,
        "repeat_score": number(measured.in_context.repeat),
        "induction_heads": {str(at): count for at, count in measured.scores.heads.sweep.items()},
        "refused": measured.scores.refused,
        "heads": heads,
        "report": str(page),
    }


VALUES = ("mean", "std", "ci_low", "ci_high", "null_mean", "p", "p_family")


def number(value: Any) -> float | None:
    found = float(value)
    return found if found == found and abs(found) != float("inf") else None


def label(score: Any) -> str:
    return f"{score.name}/{score.variant}" if score.variant else str(score.name)


COLUMNS = {  # label of the score: heading, decimals; the signed direct effect, which the class rests on, beside it
    "copying/signed": ("direct effect\n(signed, sd)", 3),
    "prefix_matching": ("prefix\nmatching", 3),
    "copying/successor": ("copying\n(successor)", 3),
    "previous_token": ("previous\ntoken", 3),
    "duplicate_token": ("duplicate\ntoken", 3),
    "copying/argmax": ("copying\n(argmax)", 3),
}
GAP = 3  # between columns


def show(measured: Any, model: Any, page: Any, top: int) -> None:
    """The top heads as a table: value, 95% interval, and below it the null's mean and the family-wise p."""
    from rich import box
    from rich.table import Table

    scores = {label(score): score for score in measured.scores.scores}
    prefix, classes = scores["prefix_matching"], measured.scores.heads.classes
    places = [(head.layer, head.head) for head in prefix.top(top)]
    cells = {
        name: [cell(scores[name], at, column[1]) for at in places] for name, column in COLUMNS.items() if name in scores
    }
    kinds = [str(classes[at]) or "-" for at in places]
    out = console()
    shown = that_fit(cells, out.width - len("99.99") - max(map(len, ["class", *kinds])) - 2 * GAP)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("head", style="bold", no_wrap=True)
    table.add_column("class", no_wrap=True)
    for name in shown:
        table.add_column(COLUMNS[name][0], justify="right", no_wrap=True)
    for place, at in enumerate(places):
        table.add_row(f"{at[0]}.{at[1]}", kinds[place], *(written(cells[name][place]) for name in shown))
    whole_lines = not out.is_terminal  # for programs; a person's are wrapped between words
    for line in heading(measured, model):
        out.print(line, highlight=False, soft_wrap=whole_lines)
    out.print(table)
    for line in [*summary(measured, prefix), *out_of_reach(prefix), *left_out(scores, shown)]:
        out.print(line, highlight=False, soft_wrap=whole_lines)
    out.print(f"report: {page}", highlight=False, soft_wrap=True)


def that_fit(cells: Mapping[str, Sequence[Sequence[str]]], room: int) -> list[str]:
    """The first columns, as many as there is room for, and two at least."""
    shown: list[str] = []
    for name, column in cells.items():
        lines = [*COLUMNS[name][0].split("\n"), *(line for lines in column for line in lines)]
        room -= max(map(len, lines)) + GAP
        if room < 0 and len(shown) > 1:
            break
        shown.append(name)
    return shown


def written(lines: Sequence[str]) -> str:
    """A cell as rich takes it, the null's line dimmed."""
    from rich.markup import escape

    return "\n".join([escape(lines[0]), *(f"[dim]{escape(line)}[/dim]" for line in lines[1:])])


def heading(measured: Any, model: Any) -> list[str]:
    note = model.provenance.get("quantization")
    name = model.provenance.get("source", model.layout.architecture)
    return [
        f"{name}{f' ({note})' if note else ''}, {measured.protocol}",
        "Top heads by prefix matching: value [95% interval], below it the null's mean and the family-wise p.",
        "`headscope induction --help` explains the columns.",
    ]


def fixed(value: Any, decimals: int) -> str:
    """A number with these decimals, and no minus in front of zero."""
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}"


def cell(score: Any, at: tuple[int, int], decimals: int) -> list[str]:
    """The lines of a cell: the value and its interval; the null's mean and p, where the score has nulls."""
    value, low, high, null = (
        fixed(getattr(score, name)[at], decimals) for name in ("mean", "ci_low", "ci_high", "null_mean")
    )
    first = value if math.isnan(float(score.ci_low[at])) else f"{value} [{low}, {high}]"  # one sequence has none
    return [first, f"null {null}, p {float(score.p_family[at]):.4f}"] if score.nulls else [first]


def out_of_reach(prefix: Any) -> list[str]:
    """Sentences on layers whose window does not reach back to all earlier copies."""
    from induction.prefix_matching import IN_REACH, REACHABLE

    if REACHABLE not in prefix.provenance:
        return []
    shares, left = ([float(part) for part in prefix.provenance[name]] for name in (REACHABLE, IN_REACH))
    partly = ", ".join(
        f"{layer} ({100 * share:.0f}% of the targets, {kept:.0f} of {prefix.n} sequences)"
        for layer, (share, kept) in enumerate(zip(shares, left, strict=True))
        if 0 < share < 1
    )
    never = ", ".join(str(layer) for layer, share in enumerate(shares) if share == 0)
    told = {
        "Layers that see only a part of the look-back targets, and are scored on that part": partly,
        "Layers that see no look-back target, and have no such score": never,
    }
    return [f"{what}: {layers}." for what, layers in told.items() if layers]


def left_out(scores: Any, shown: Any) -> list[str]:
    """A sentence on the columns that did not fit."""
    missing = [name for name in COLUMNS if name in scores and name not in shown]
    names = [" ".join(COLUMNS[name][0].split()) for name in missing]
    return [f"A wider terminal shows {', '.join(names)} too; --json has all scores."] if names else []


def summary(measured: Any, prefix: Any) -> list[str]:
    found = measured.scores.heads
    kinds = {kind: int((found.classes == kind).sum()) for kind in ("copying", "anti-copying", "matching only")}
    total = int((~prefix.mean.isnan()).sum())
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = [
        f"{len(found.heads)} of {total} heads are induction heads (prefix matching >= {found.threshold} and above both "
        f"nulls): {counts}.",
        f"Repeat score (loss with an earlier copy in sight minus loss on the first block): "
        f"{measured.in_context.repeat:+.2f} nats.",
    ]
    lines += [*retrieving(measured), *dormant(measured)]
    return lines + [f"Not scored: {what}: {why}" for what, why in measured.scores.refused.items()]


def retrieving(measured: Any) -> list[str]:
    """The retrieval heads, where retrieval was asked for (Method 2.10)."""
    from induction.retrieval import THRESHOLD, retrieval_heads

    found = [score for score in measured.further if label(score) == "retrieval"]
    if not found:
        return []
    who, single = names(retrieval_heads(found[0]) & found[0].above_null())
    return [
        f"{who} {'looks' if single else 'look'} most at the very token to be fetched, for a share of {THRESHOLD:g} or "
        "more of the tokens and above the null: retrieval heads."
    ]


def dormant(measured: Any) -> list[str]:
    """Heads that rest on position 0 (Method 2.9)."""
    from induction.sinks import DORMANT, dormant_heads

    sinks = {label(score): score for score in measured.scores.scores if score.name == "sink"}
    if set(sinks) != {"sink", "sink/natural"}:
        return []
    who, single = names(dormant_heads(sinks["sink"], sinks["sink/natural"]))
    return [
        f"{who} {'leaves' if single else 'leave'} more than {DORMANT:g} of the attention on position 0, in random "
        "sequences and in texts: dormant."
    ]


MOST = 10  # names in a sentence


def names(heads: Any) -> tuple[str, bool]:
    """`2 heads (0.3, 17.6)`, `No head`; and whether the verb behind is that of a single one."""
    places = [f"{layer}.{head}" for layer, head in heads.nonzero().tolist()]
    more = f" and {len(places) - MOST} more" if len(places) > MOST else ""
    told = f"{counted(len(places), 'head')} ({', '.join(places[:MOST])}{more})" if places else "No head"
    return told, len(places) < 2
