"""How much can be removed? The paper: about 70% of the heads and about 20% of the FFNs of OPT-66B (its section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from headscope.claims.evidence import FFNS, HEADS, Evidence, at, bracket, number, percent, points, table

PAPER_HEADS, PAPER_FFNS = 70, 20
PAPER_JOINT = ((70, 20), (70, 10), (60, 20))
SHARES = ("removable_metric", "removable_log_likelihood")


def heads(evidence: Evidence) -> Iterator[str]:
    """Heads, in their own order against controls."""
    yield from _component(evidence, HEADS, "heads", PAPER_HEADS)


def ffns(evidence: Evidence) -> Iterator[str]:
    """FFNs, in their own order against random ones."""
    yield from _component(evidence, FFNS, "FFNs", PAPER_FFNS)


def _component(evidence: Evidence, level: str, name: str, paper: int) -> Iterator[str]:
    for shots in evidence.pruned_shots(level):
        chance, every = evidence.at_chance(shots, level), evidence.tasks(shots, level)
        kept = [task for task in every if task not in chance]
        yield f"**{at(shots).capitalize()}.** " + " ".join(_words(evidence, level, name, paper, shots, kept, chance))
        yield ""
        yield from _by_task(evidence, level, shots, every, chance)


def _words(
    evidence: Evidence, level: str, name: str, paper: int, shots: int, kept: Sequence[str], chance: Sequence[str]
) -> Iterator[str]:
    """The summary over the tasks that are above chance."""
    if chance:
        yield (f"{len(chance)} of {len(chance) + len(kept)} tasks are at chance with the full model "
               f"({', '.join(chance)}) and stay out of the summary.")  # fmt: skip
    if not kept:
        yield "No task is above chance, so that nothing can be said about what it needs."
        return
    shares = {kind: _values(evidence, kind, level, shots, "own", kept) for kind in SHARES}
    metric, gold = (shares[kind] for kind in SHARES)
    yield (
        f"By their own ranking {percent(metric.median())} of the {name} (median over {len(metric)} tasks, "
        f"{percent(metric.min())} to {percent(metric.max())}) can go while accuracy is shown to stay within 2 points "
        f"at every step, and {percent(gold.median())} while the right answer's log-likelihood is shown to fall by less "
        f"than .05 nats; the paper removes about {paper}% of OPT-66B's."
    )
    yield from _against_controls(evidence, level, shots, kept)


def _against_controls(evidence: Evidence, level: str, shots: int, kept: Sequence[str]) -> Iterator[str]:
    """The area under the curve, beside the other orders'."""
    areas = {order: _values(evidence, "pruning_area", level, shots, order, kept).mean()
             for order in ("own", "random", "layer_matched", "aggregate", "signed", "inverse")}  # fmt: skip
    told = ", ".join(f"{order.replace('_', '-')} {number(value)}" for order, value in areas.items() if value == value)
    yield f"Area under the curve (1 = costs nothing), mean over tasks: {told}."
    own = evidence.rows(kind="pruning_area", level=level, shots=shots, b="own", a=list(kept))
    tested = own[own["p"].notna()]
    if len(tested):
        draws = int(evidence.rows(kind="pruning_area", level=level, shots=shots, b="random")["n"].max())
        best = int((tested["p"] <= 1 / (draws + 1) + 1e-9).sum())
        yield f"It beats all {draws} random orders on {best} of {len(tested)} tasks (p = {1 / (draws + 1):.3f} there)."


def _by_task(
    evidence: Evidence, level: str, shots: int, tasks: Sequence[str], chance: Sequence[str]
) -> Iterator[str]:
    """One row a task: full model, areas with intervals, removable shares."""
    rows = []
    for task in tasks:
        full = evidence.rows(kind="full_metric", level=level, shots=shots, a=task).iloc[0]
        bound = f"{full['value']:.2f} (at least {full['ci_low']:.2f})"
        cells = [task + (" (at chance)" if task in chance else ""), bound]
        for order in ("own", "random"):
            area = evidence.rows(kind="pruning_area", level=level, shots=shots, a=task, b=order)
            cells.append(_with_interval(area))
        cells += [percent(evidence.value(kind=kind, level=level, shots=shots, a=task, b="own")) for kind in SHARES]
        rows.append(cells)
    headings = ("task", "accuracy, full model", "area, own order", "area, random orders", "removable by accuracy",
                "by log-likelihood")  # fmt: skip
    yield from table(headings, rows)


def _with_interval(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    one = rows.iloc[0]
    return number(one["value"]) + bracket(one["ci_low"], one["ci_high"])


def joint(evidence: Evidence) -> Iterator[str]:
    """Heads and FFNs together, mean change over the tasks above chance."""
    found = evidence.metrics[evidence.metrics["component"] == "both"]
    for shots in sorted({int(count) for count in found["shots"]}):
        chance = evidence.at_chance(shots)
        tasks = [task for task in sorted(set(found[found["shots"] == shots]["task"])) if task not in chance]
        change = evidence.change("both", shots, "own", tasks)
        if change.empty:
            continue
        grid = change["change"].unstack("percent_heads")
        yield f"**{at(shots).capitalize()}**, change of accuracy, mean over {len(tasks)} tasks above chance:"
        yield ""
        yield from table(
            ("FFNs removed", *(f"{p:.0f}% of heads" for p in grid.columns)),
            ([f"{share:.0f}%", *(points(value) for value in row)] for share, row in grid.iterrows()),
        )
        near = [(h, f) for h, f in PAPER_JOINT if h in grid.columns and f in grid.index]
        for h, f in near:
            yield f"At the paper's {h}% of heads and {f}% of FFNs: {points(grid.loc[f, h])}."
        yield "The paper reports losses of 4 to 6 points at (70%, 20%), (70%, 10%) and (60%, 20%) for OPT-66B."
        yield ""


def _values(evidence: Evidence, kind: str, level: str, shots: int, order: str, tasks: Sequence[str]) -> pd.Series:
    return evidence.rows(kind=kind, level=level, shots=shots, b=order, a=list(tasks))["value"].dropna()
