"""In short: the paper's figures of OPT-66B (64 layers of 72 heads) beside this model's (Method 5 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from headscope.findings import task_table
from headscope.findings.evidence import FFNS, HEADS, JOINT, Evidence, at, change_told, formatted, table, tasks_told
from headscope.findings.induction_heads import LEVEL, p_told, with_interval
from headscope.findings.pruning import PAPER_FFNS, PAPER_HEADS
from headscope.findings.task_table import SHARES
from headscope.store.comparisons import POOLED, Kind, RankCut
from headscope.store.snapshot import chosen

PAPER_JOINT = {0: (70, 20, 5), 1: (70, 10, 6), 5: (60, 20, 4)}
MATCHING, COPYING = 31, 41
LAYERS = 64
Row = tuple[str, str, str]


def beside_the_paper(evidence: Evidence) -> Iterator[str]:
    """One row a figure that both have; nothing where this run has none."""
    parts = (_removable, _joint, _sharing, _layers, _primary)
    rows = [row for part in parts for row in part(evidence)]
    if rows:
        yield from table(("what", "OPT-66B, the paper", "this model"), rows)


def _removable(evidence: Evidence) -> Iterator[Row]:
    for name, level, paper in (("heads", HEADS, PAPER_HEADS), ("FFNs", FFNS, PAPER_FFNS)):
        for shots in evidence.pruned_shots(level):
            rows = [evidence.rows(kind=kind, level=level, shots=shots, a=POOLED, b="own") for kind in SHARES]
            if all(len(rows) and isfinite(rows["value"].iloc[0]) for rows in rows):
                metric, gold = (task_table.share(evidence, kind, level, shots, "own") for kind in SHARES)
                over = tasks_told(rows[0]["n"].iloc[0])
                ours = f"by accuracy: {metric}; by choice: {gold} ({over})"
                yield f"share of {name} shown to be removable, {at(shots)}", f"about {paper}%", ours


def _joint(evidence: Evidence) -> Iterator[Row]:
    """At the paper's shares where the grid has them; the numbers of shots need not be the same."""
    for paper_shots, (heads, ffns, loss) in PAPER_JOINT.items():
        for shots in sorted({int(count) for count in evidence.rows(kind=Kind.PRUNED_METRIC, a=POOLED)["shots"]}):
            steps = evidence.together(Kind.PRUNED_METRIC, JOINT, shots, b="own")
            steps = steps[steps["level"] == str(JOINT.at(heads, ffns))]
            if len(steps):
                what = f"change of accuracy without {heads}% of heads and {ffns}% of FFNs"
                over = f"{at(shots)}, {tasks_told(steps['n'].iloc[0])} above chance"
                yield what, f"-{loss} points ({at(paper_shots)})", f"{change_told(steps)} ({over})"


def _sharing(evidence: Evidence) -> Iterator[Row]:
    """Rank correlation of two tasks' importance, as released and right; top 30% in common."""
    rows = evidence.rows(kind=Kind.CROSS_TASK)
    for shots in sorted({int(count) for count in rows["shots"]}):
        values = {
            level: chosen(rows, shots=shots, level=level)["value"].mean()
            for level in ("bansal_released", "global", "within_layer")
        }
        pairs = len(chosen(rows, shots=shots, level="global"))
        released = f"{formatted(values['bansal_released'])} by the released script"
        right = f"Spearman {formatted(values['global'])}, within layers {formatted(values['within_layer'])}"
        yield (
            f"rank correlation of two tasks' heads, {at(shots)}",
            ".13 by the released script (shots not told apart)",
            f"{released}; {right} (mean over {pairs} {'pair' if pairs == 1 else 'pairs'} of tasks)",
        )
        common = evidence.rows(kind=Kind.CROSS_TASK_OVERLAP, shots=shots, level=RankCut("q", 30))["value"].mean()
        if isfinite(common):
            what = f"top 30% of two tasks in common, {at(shots)}"
            yield what, "71 to 76% (shots not told apart)", f"{common:.0%} (chance 30%)"


def _layers(evidence: Evidence) -> Iterator[Row]:
    """Where in the stack the induction heads are."""
    classes = evidence.run.classes
    layers = sorted(classes[classes["class"] != ""]["layer"])
    if not len(classes):
        return
    depth = int(classes["layer"].max()) + 1
    ours = (
        f"none of {len(classes)} heads"
        if not layers
        else (f"{len(layers)} of {len(classes)}, in layers {layers[0]} to {layers[-1]} of {depth}")
    )
    yield (
        "induction heads",
        f"prefix matching in layers {MATCHING} and up, copying mostly in {COPYING} and up, of {LAYERS}",
        ours,
    )


def _primary(evidence: Evidence) -> Iterator[Row]:
    """The one test that was fixed beforehand."""
    for row in evidence.rows(kind=Kind.INDUCTION_IMPORTANCE_DESCRIPTIVE).itertuples(index=False):
        side = "higher" if row.value > 0 else "lower"
        verdict = f"heads that match more have the {side} importance" if row.p <= LEVEL else "no relation shown"
        yield (
            f"prefix matching against importance within layers, {at(row.shots)} (descriptive)",
            "not measured; a small set of induction heads is among the important ones",
            f"rho {with_interval(row)}, p = {p_told(row.p)}: {verdict}",
        )
