"""What a study runs: tasks, shots and a budget, and the choices of its stages that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headscope.plan.budget import PAPER, Budget
from headscope.plan.names import shots_of
from headscope.stages.cells import TaskChoice
from headscope.stages.screening import FEWEST, NO_SCREEN


@dataclass(frozen=True)
class StudyPlan:
    """What a study runs: tasks, shots, budget; the choices of its stages follow.

    length: of the random blocks that heads are scored on, in place of the protocol's. counts: how often tokens occur, a
    file or `uniform`. part: `rest` for what follows a screen. tokens: what a budget in hours holds, by a timed pass.
    limit: of documents a task, whatever the budget.
    """

    names: tuple[str, ...]
    shots: tuple[int, ...]
    budget: Budget
    data: str = "hub"
    bos: str = "auto"
    seed: int = 0
    length: int | None = None
    counts: str | None = None
    part: str = "all"
    tokens: float | None = None
    limit: int | None = None

    @property
    def most(self) -> int:
        return max(self.shots)

    @property
    def pruned_shots(self) -> tuple[int, ...]:
        """The numbers of shots at which components are removed."""
        return self.shots if self.budget.prune_all_shots else (self.most,)

    @property
    def ranked(self) -> TaskChoice:
        """The training documents that importance is measured on."""
        return TaskChoice(
            self.names,
            self.shots,
            limit=self.budget.rank_documents,
            seed=self.seed,
            data=self.data,
            bos=self.bos,
            part=self.part,
        )

    @property
    def knocked(self) -> TaskChoice:
        return replace(
            self.ranked,
            shots=self.pruned_shots,
            limit=self.budget.knockout_documents,
            limits=self.budget.limits("knockout"),
        )

    @property
    def evaluated(self) -> TaskChoice:
        """The validation documents that pruned models are evaluated on."""
        return replace(
            self.ranked,
            shots=self.pruned_shots,
            limit=self.budget.prune_documents,
            limits=self.budget.limits("prune"),
            demos=self.budget.demos,
            demo_seeds=self.budget.demo_seeds,
            mixed=True,
        )

    @property
    def knocked_once(self) -> TaskChoice:
        """At the most shots alone: heads on training documents, needed FFNs on validation documents."""
        return replace(self.knocked, shots=(self.most,))

    @property
    def screened(self) -> TaskChoice:
        """The training documents that say which tasks are learnt from the context: all that are kept for it."""
        return replace(self.ranked, shots=(0, self.most), limit=None, demos="fixed", part="all")

    @property
    def asked(self) -> TaskChoice:
        """The validation documents of the primary question."""
        return replace(self.screened, limit=self.budget.primary_documents)

    @property
    def answerable(self) -> bool:
        """Whether tasks with demonstrations are compared with tasks without, on documents enough for a screen."""
        return not self.unanswerable

    @property
    def unanswerable(self) -> str:
        """Why there is no screen and no primary question; empty where there are."""
        if not (0 in self.shots and self.most):
            return f"{NO_SCREEN}, no primary and no gain over 0 shots: they compare 0 shots with more"
        if self.budget.primary_documents < FEWEST:
            return f"{NO_SCREEN} and no primary question: they take {FEWEST} documents a task at least"
        return ""

    def left_out(self) -> list[str]:
        """What is not run, and why."""
        less = self.budget.left_out()
        if missing := [str(count) for count in shots_of(self.names, PAPER) if count not in self.shots]:
            less.append(f"nothing at {', '.join(missing)} {'shot' if missing == ['1'] else 'shots'}")
        if len(self.names) < 2:
            less.append("one task alone has no transfer, no aggregate of others and no comparison of tasks")
        return [*less, self.unanswerable] if self.unanswerable else less
