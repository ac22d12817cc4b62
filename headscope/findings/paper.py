"""In short: the paper's figures of OPT-66B (64 layers of 72 heads) beside this model's (Method 5 and 7)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from headscope.findings import task_table
from headscope.findings.causal import SAID as CONTROLS
from headscope.findings.causal import UNITS, verdict
from headscope.findings.evidence import (
    FFNS,
    HEADS,
    JOINT,
    Evidence,
    at,
    bracket,
    change_told,
    number,
    table,
    tasks_told,
)
from headscope.findings.induction_heads import LEVEL, p_told, told
from headscope.findings.pruning import PAPER_FFNS, PAPER_HEADS
from headscope.findings.task_table import SHARES
from headscope.store.comparisons import ABOVE, INDUCTION_HEADS, CausalLevel, Cut, Kind
from headscope.store.snapshot import chosen

PAPER_JOINT = {0: (70, 20, 5), 1: (70, 10, 6), 5: (60, 20, 4)}
MATCHING, COPYING = 31, 41
LAYERS = 64
Row = tuple[str, str, str]


def beside_the_paper(evidence: Evidence) -> Iterator[str]:
    """One row a figure that both have; nothing where this run has none."""
    parts = (_removable, _joint, _sharing, _layers, _primary, _causal)
    rows = [row for part in parts for row in part(evidence)]
    if rows:
        yield from table(("what", "OPT-66B, the paper", "this model"), rows)


def _removable(evidence: Evidence) -> Iterator[Row]:
    for name, level, paper in (("heads", HEADS, PAPER_HEADS), ("FFNs", FFNS, PAPER_FFNS)):
        for shots in evidence.pruned_shots(level):
            found = [evidence.rows(kind=kind, level=level, shots=shots, a=ABOVE, b="own") for kind in SHARES]
            if all(len(rows) and isfinite(rows["value"].iloc[0]) for rows in found):
                metric, gold = (task_table.share(evidence, kind, level, shots, "own") for kind in SHARES)
                over = tasks_told(found[0]["n"].iloc[0])
                told = f"by accuracy: {metric}; by log-likelihood: {gold} ({over} above chance)"
                yield f"share of {name} shown to be removable, {at(shots)}", f"about {paper}%", told


def _joint(evidence: Evidence) -> Iterator[Row]:
    """At the paper's shares where the grid has them; the numbers of shots need not be the same."""
    for paper_shots, (heads, ffns, loss) in PAPER_JOINT.items():
        for shots in sorted({int(count) for count in evidence.rows(kind=Kind.PRUNED_METRIC, a=ABOVE)["shots"]}):
            found = evidence.together(Kind.PRUNED_METRIC, JOINT, shots, b="own")
            found = found[found["level"] == str(JOINT.at(heads, ffns))]
            if len(found):
                what = f"change of accuracy without {heads}% of heads and {ffns}% of FFNs"
                over = f"{at(shots)}, {tasks_told(found['n'].iloc[0])} above chance"
                yield what, f"-{loss} points ({at(paper_shots)})", f"{change_told(found)} ({over})"


def _sharing(evidence: Evidence) -> Iterator[Row]:
    """Rank correlation of two tasks' importance, as released and right; top 30% in common."""
    rows = evidence.rows(kind=Kind.CROSS_TASK)
    for shots in sorted({int(count) for count in rows["shots"]}):
        values = {
            level: chosen(rows, shots=shots, level=level)["value"].mean()
            for level in ("bansal_released", "global", "within_layer")
        }
        pairs = len(chosen(rows, shots=shots, level="global"))
        released = f"{number(values['bansal_released'])} by the released script"
        right = f"Spearman {number(values['global'])}, within layers {number(values['within_layer'])}"
        yield (
            f"rank correlation of two tasks' heads, {at(shots)}",
            ".13 by the released script (shots not told apart)",
            f"{released}; {right} (mean over {pairs} {'pair' if pairs == 1 else 'pairs'} of tasks)",
        )
        common = evidence.rows(kind=Kind.CROSS_TASK_OVERLAP, shots=shots, level=Cut("q", 30))["value"].mean()
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
    told = (
        f"none of {len(classes)} heads"
        if not layers
        else (f"{len(layers)} of {len(classes)}, in layers {layers[0]} to {layers[-1]} of {depth}")
    )
    yield (
        "induction heads",
        f"prefix matching in layers {MATCHING} and up, copying mostly in {COPYING} and up, of {LAYERS}",
        told,
    )


def _primary(evidence: Evidence) -> Iterator[Row]:
    """The one test that was fixed beforehand."""
    for one in evidence.rows(kind=Kind.INDUCTION_IMPORTANCE_PRIMARY).itertuples(index=False):
        side = "higher" if one.value > 0 else "lower"
        verdict = f"heads that match more have the {side} importance" if one.p <= LEVEL else "no relation shown"
        yield (
            f"prefix matching against importance within layers, {at(one.shots)} (the primary test)",
            "not measured; a small set of induction heads is among the important ones",
            f"rho {told(one)}, p = {p_told(one.p)}: {verdict}",
        )


def _causal(evidence: Evidence) -> Iterator[Row]:
    """What the examples no longer bring, without the induction heads and without as many others."""
    for outcome, (worth, factor, unit) in UNITS.items():
        rows = evidence.rows(kind=Kind.CAUSAL_DROP, a=INDUCTION_HEADS, level=CausalLevel(outcome, "zero"))
        if rows.empty or not rows["value"].notna().all():
            continue
        shots, first = int(rows["shots"].iloc[0]), rows.iloc[0]
        form = "+.1f" if factor > 1 else "+.2f"
        value, low, high = (factor * first[name] for name in ("value", "ci_low", "ci_high"))
        beside = [f"{value:{form}}{unit}{bracket(low, high, form)}, mean over all tasks, {evidence.chance_told(shots)}"]
        for row in rows.itertuples(index=False):
            controls = evidence.value(kind=Kind.CAUSAL_CONTROLS, a=INDUCTION_HEADS, b=row.b, level=row.level)
            beside.append(
                f"{row.n} {CONTROLS.get(str(row.b), str(row.b))} {factor * controls:{form}} in the median, rank p = "
                f"{row.p:.3f}, Holm {p_told(row.p_holm)}: {verdict(evidence, row)}"
            )
        what = f"drop of what {at(shots)} are worth, by {worth}, when the induction heads are removed"
        yield what, "not measured", "; ".join(beside)
