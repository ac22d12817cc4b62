"""Do tasks, and do numbers of shots, need the same heads? (the paper's section 5.4)"""

from __future__ import annotations

from collections.abc import Iterator

from headscope.findings import induction_heads
from headscope.findings.evidence import HEADS, Evidence, at, tasks_told
from headscope.findings.pruning import changes_by_order
from headscope.store.comparisons import Kind

SAID = {
    "own": "own ranking",
    "aggregate": "aggregate of the other tasks",
    "transfer": "every other task's ranking in turn",
    "random": "random orders (median and, as the bracket, 5th to 95th percentile over draws)",
}
HALF = 50


def rankings(evidence: Evidence) -> Iterator[str]:
    """Tasks against tasks, shots against shots, the released script's number beside ours."""
    for part in (induction_heads.tasks_told, induction_heads.shots_told):
        yield from (f"- {sentence}" for sentence in part(evidence.comparisons))


def transfer(evidence: Evidence) -> Iterator[str]:
    """A task pruned by other tasks' rankings, which leave it out; nothing where no other ranking was tried."""
    for shots in evidence.pruned_shots():
        changes = evidence.together(Kind.PRUNED_METRIC, HEADS, shots, b=list(SAID))
        if not {"aggregate", "transfer"} & set(changes["b"]):
            continue
        near = min(sorted(set(changes["percent"])), key=lambda percent: abs(percent - HALF))
        step = changes[changes["percent"] == near]
        own = step[step["b"] == "own"]["n"]
        count = int(own.iloc[0]) if len(own) else int(step["n"].max())
        yield (
            f"- {near}% of heads removed at {at(shots)} (the step tried that is nearest to {HALF}%), mean change of "
            f"accuracy over {tasks_told(count)} above chance: {changes_by_order(step, SAID)}."
        )
