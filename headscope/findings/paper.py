"""The paper's numbers of OPT-66B (64 layers of 72 heads) beside this model's, like with like (Method 5 and 7).

Its .13 and its 71% and 76% are of two named pairs of tasks at 0 shots: ours of these pairs stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import pandas as pd

from headscope.findings import pruning
from headscope.findings.evidence import Evidence
from headscope.findings.section import PageTable, Section
from headscope.findings.words import estimate, number, shots
from headscope.store.comparisons import POOLED, AtShots, Coefficient, Kind, PruningLevel, RankCut

Row = tuple[str, str, str]
PAIRS = {("copa", "record"): "71%", ("record", "winogrande"): "76%"}
CROSS_SHOT = {(0, 1): 0.39, (0, 5): 0.37, (1, 5): 0.41}
JOINT = {0: (70, 20, 5), 1: (70, 10, 6), 5: (60, 20, 4)}
KEPT = {20: "much", 40: "falls sharply beyond"}
RELEASED, RANKED = Coefficient.BANSAL_RELEASED.value, Coefficient.GLOBAL.value


def section(evidence: Evidence) -> Section | None:
    """None where nothing was measured that the paper has too."""
    rows = tuple(row for part in (removable, joint, pairs, cross_shot, kept, layers) for row in part(evidence))
    if not rows:
        return None
    note = (
        "Script: as the paper's released code computes it, a correlation of head numbers. Ranks: Spearman's rho of the "
        "same token importance."
    )
    compared = any(name in cell for *_, cell in rows for name in ("(script)", "(ranks)"))
    table = PageTable(("what", "OPT-66B", "here"), rows)
    return Section("paper", "Beside the paper's OPT-66B", table=table, note=note if compared else "")


def removable(evidence: Evidence) -> Iterator[Row]:
    """By accuracy, as the paper tells it."""
    for component, paper in (("head", "about 70%"), ("ffn", "about 20%")):
        found = pruning.share(evidence, component, outcome="metric", ways=("zero", "mean"))  # as the paper removes
        if found is not None:
            things = pruning.COMPONENTS[component]
            yield f"share of {things} removable by accuracy, {shots(found.shots)}", paper, found.cell


def joint(evidence: Evidence) -> Iterator[Row]:
    """The drops of accuracy at the paper's shares and numbers of shots, where the grid has them."""
    rows = evidence.rows(kind=Kind.PRUNED_METRIC, a=POOLED, b="own")
    for count, (heads, ffns, loss) in JOINT.items():
        there = rows[rows["shots"] == count].set_index("level")
        for way in ("zero", "mean"):  # the paper's first
            level = str(PruningLevel("both", way).at(heads, ffns))
            if level not in there.index:
                continue
            row = there.loc[level]
            ends = (100 * float(row[name]) for name in ("value", "ci_low", "ci_high"))
            points = f"{estimate(*ends, digits=1, unit='points')}, by {way}"
            yield (
                f"without {heads}% of heads, {ffns}% of FFNs, {shots(count)}",
                f"{number(-float(loss), 0)} points",
                points,
            )
            break


def pairs(evidence: Evidence) -> Iterator[Row]:
    """The two pairs of tasks that the paper names, and our lowest pair."""
    rows = evidence.rows(kind=Kind.CROSS_TASK, shots=0)
    if not {name for pair in PAIRS for name in pair} <= {*rows["a"], *rows["b"]}:
        return
    for (a, b), shared in PAIRS.items():
        yield f"rank correlation, {a} and {b}, 0 shots", "0.13", _both(rows[_of(rows, a, b)])
        top = evidence.rows(kind=Kind.CROSS_TASK_OVERLAP, shots=0, level=RankCut("q", 30))
        top = top[_of(top, a, b)]
        if len(top):
            yield f"top 30% in common, {a} and {b}", shared, f"{top['value'].iloc[0]:.0%}"
    ranked = rows[rows["level"] == RANKED]
    if len(ranked):
        low = next(ranked.sort_values("value").itertuples(index=False))
        yield f"lowest pair, 0 shots: here {low.a} and {low.b}", "0.13", _both(rows[_of(rows, low.a, low.b)])


def _of(rows: pd.DataFrame, a: str, b: str) -> pd.Series:
    return ((rows["a"] == a) & (rows["b"] == b)) | ((rows["a"] == b) & (rows["b"] == a))


def _both(rows: pd.DataFrame) -> str:
    values = rows.groupby("level")["value"].mean()
    named = (("script", values.get(RELEASED)), ("ranks", values.get(RANKED)))
    return ", ".join(f"{number(value)} ({name})" for name, value in named if value is not None and isfinite(value))


def cross_shot(evidence: Evidence) -> Iterator[Row]:
    """One task at two numbers of shots, mean over tasks."""
    rows = evidence.rows(kind=Kind.CROSS_SHOT, level=[RELEASED, RANKED])
    sides = [(AtShots.parse(a), AtShots.parse(b)) for a, b in zip(rows["a"], rows["b"], strict=True)]
    for (few, many), paper in CROSS_SHOT.items():
        mask = [(a.shots, b.shots) == (few, many) and a.name in evidence.tasks for a, b in sides]
        part = rows[pd.Series(mask, index=rows.index, dtype=bool)]
        if len(part):
            yield f"one task's heads at {few} and {many} shots", number(paper), _both(part)


def kept(evidence: Evidence) -> Iterator[Row]:
    """What pruning leaves of prefix matching."""
    rows = evidence.rows(kind=Kind.RETENTION_RAW, a="prefix_matching", b="importance/token")
    for percent, paper in KEPT.items():
        part = rows[(rows["level"] == str(RankCut("p", percent))) & (rows["shots"] == rows["shots"].max())]
        if len(part):
            yield f"prefix matching left at {percent}% of heads pruned", paper, f"{part['value'].iloc[0]:.0%}"


def layers(evidence: Evidence) -> Iterator[Row]:
    """Where in the stack the induction heads are."""
    classes = evidence.run.classes
    found = sorted(classes[classes["class"] != ""]["layer"])
    if found:
        depth = int(classes["layer"].max()) + 1
        yield "layers of the induction heads", "31 and up of 64", f"{found[0]} to {found[-1]} of {depth}"
