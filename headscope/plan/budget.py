"""How much of a study is run: documents, draws, orders, controls (Method 4-5 say what the full measure is).

`small` has every stage on few documents (`headscope plan` tells its price), `paper` is the full measure. A number of
hours buys documents where they decide: the primary question gets up to half first, or 40 documents; the rest picks the
richest structure of which at least half the documents fit, and as many documents as fit; where not even the least
structure does, stages are left out from behind, and where none is left the primary question gets all. What a budget
leaves out is said by `left_out`, and stands on the page of findings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from headscope.plan.names import CARRIED, DECIDING, PRIMARY, TAIL
from headscope.store.names import DRAWN
from interp.errors import UsageError

FULL_PERCENTS = (0, 5, 10, 15, *range(20, 100, 10))
FULL_GRID = (tuple(range(0, 80, 10)), tuple(range(0, 60, 10)))

FULL_WAYS = ("zero", "mean/last", "mean/later")
FULL_DRAWS, FULL_SEEDS, FULL_CONTROLS = 20, 3, 39
HEAD_ORDERS = (
    "own",
    "aggregate",
    "transfer",
    "signed",
    "signed_choice",
    "inverse",
    "random",
    "layer_matched",
    "iterative",
)
FFN_ORDERS = ("own", "aggregate", "signed", "inverse", "random", "iterative")
FEWEST, FEWEST_PRIMARY, MOST = 8, 20, 1000
FEWEST_OF_DEAR = {"knockout": 1, "prune": 4}


@dataclass(frozen=True)
class Budget:
    """The knobs. Documents are a task's. demos: how evaluations draw demonstrations; for scores, always by document.

    shares: of tasks that are dearer than others (cost.py), the part of the documents that knock-outs and pruning take
    of them. Rankings, which are compared with one another, are of equally many. without: stages that it does not reach.
    """

    name: str
    rank_documents: int
    knockout_documents: int
    prune_documents: int
    shots: tuple[int, ...]
    probe_shots: tuple[int, ...]
    demo_seeds: int
    demos: str
    percents: tuple[int, ...]
    grid: tuple[tuple[int, ...], tuple[int, ...]]
    draws: int
    head_orders: tuple[str, ...]
    ffn_orders: tuple[str, ...]
    prune_all_shots: bool
    controls: int
    protocol: str
    shares: tuple[tuple[str, float], ...] = ()
    primary_documents: int = 40
    primary_ways: tuple[str, ...] = ("zero", "mean/last")
    contest_controls: str = "class"
    without: tuple[str, ...] = ()

    def scaled(self, factor: float) -> Budget:
        """With so many times the documents, within 8 and 1,000 a task (4 and 1,000 where each is run many times)."""

        def count(base: int, fewest: int) -> int:
            return max(fewest, min(MOST, int(base * factor)))

        return replace(
            self,
            rank_documents=count(self.rank_documents, FEWEST),
            knockout_documents=count(self.knockout_documents, FEWEST // 2),
            prune_documents=count(self.prune_documents, FEWEST),
            primary_documents=count(self.primary_documents, FEWEST_PRIMARY),
        )

    def units(self, stage: str, task: str) -> int:
        """Documents (questions in MultiRC) of a task that `knockout` or `prune` takes."""
        whole = int(getattr(self, f"{stage}_documents"))
        share = dict(self.shares).get(task, 1.0)
        return whole if share >= 1 else min(whole, max(FEWEST_OF_DEAR[stage], int(whole * share)))

    def fewer(self) -> str:
        """The tasks of which knock-outs and pruning take fewer documents, in words."""
        changes = "; ".join(
            f"{task} {', '.join(str(self.units(stage, task)) for stage in FEWEST_OF_DEAR)}" for task, _ in self.shares
        )
        dear = "Of tasks whose documents cost over four times the median task's, fewer, in knock-outs and in pruning"
        return f"{dear}: {changes}." if changes else ""

    def limits(self, stage: str) -> tuple[tuple[str, int], ...]:
        """Those of the tasks that do not take all."""
        return tuple((task, self.units(stage, task)) for task, _ in self.shares)

    def limited(self, documents: int | None) -> Budget:
        """With at most so many documents a task, where a limit was given."""
        if documents is None:
            return self
        if documents < 1:
            raise UsageError(f"the limit is {documents}; expected at least 1 document, or no --limit")
        counts = {name: min(getattr(self, name), documents) for name in DOCUMENTS}
        return replace(self, **counts)

    def left_out(self) -> list[str]:
        """What this budget has less of than Method 4-5 ask for."""
        less = []
        if self.demo_seeds < FULL_SEEDS:
            less.append(f"{self.demo_seeds} draw of the demonstrations in place of {FULL_SEEDS}")
        if self.demos == "fixed":
            fixed = "one set" if self.demo_seeds == 1 else f"{self.demo_seeds} sets"
            less.append(
                f"evaluations by {fixed} of demonstrations a task, which share its documents out among them, in "
                "place of sets drawn for every document"
            )
        if self.draws < FULL_DRAWS:
            drawn = " and ".join(_worded(name) for name in DRAWN if name in self.head_orders)
            less.append(f"{self.draws} {drawn} orders in place of {FULL_DRAWS}")
        if self.percents != FULL_PERCENTS:
            less.append(
                f"pruning at {', '.join(map(str, self.percents))}% in place of 5, 10, 15 and every 10% from 20% on"
            )
        if missing := [name for name in HEAD_ORDERS if name not in self.head_orders]:
            less.append(f"no orders of heads by: {', '.join(map(_worded, missing))}")
        if missing := [name for name in FFN_ORDERS if name not in self.ffn_orders]:
            less.append(f"no orders of FFNs by: {', '.join(map(_worded, missing))}")
        if self.grid != FULL_GRID:
            grid = " x ".join(", ".join(map(str, part)) for part in self.grid)
            less.append(f"the joint grid at {grid}% in place of every 10%")
        if self.controls < FULL_CONTROLS:
            less.append(f"{self.controls} control sets in place of {FULL_CONTROLS}")
        if self.protocol != "paper":
            less.append(f"induction scores by the protocol '{self.protocol}'")
        if missing := [name for name in FULL_WAYS if name not in self.primary_ways]:
            less.append(f"the primary's heads not removed by: {', '.join(missing)}")
        if self.contest_controls != "all":
            less.append("no controls in the contest but of class-sized sets removed by mean")
        if self.without:
            less.append(f"no time for: {', '.join(self.without)}")
        if not self.prune_all_shots:
            less += ["pruning at the most shots only", "pruning by zero in the own order only, the others by mean"]
        return less

    def recorded(self) -> dict[str, Any]:
        """As a manifest holds it."""
        return {name: _plain(value) for name, value in asdict(self).items()}


DOCUMENTS = ("rank_documents", "knockout_documents", "prune_documents", "primary_documents")
PAPER = Budget(
    "paper",
    rank_documents=200,
    knockout_documents=100,
    prune_documents=200,
    shots=(0, 1, 5),
    probe_shots=(0, 1, 5, 10),
    demo_seeds=FULL_SEEDS,
    demos="document",
    percents=FULL_PERCENTS,
    grid=FULL_GRID,
    draws=FULL_DRAWS,
    head_orders=HEAD_ORDERS,
    ffn_orders=FFN_ORDERS,
    prune_all_shots=True,
    controls=FULL_CONTROLS,
    protocol="paper",
    primary_documents=200,
    primary_ways=FULL_WAYS,
    contest_controls="all",
)
MEDIUM = replace(
    PAPER,
    name="medium",
    rank_documents=64,
    knockout_documents=24,
    prune_documents=64,
    shots=(0, 5),
    probe_shots=(0, 5, 10),
    demo_seeds=3,
    demos="fixed",
    draws=20,
    head_orders=("own", "aggregate", "transfer", "signed", "signed_choice", "inverse", "random", "layer_matched"),
    ffn_orders=("own", "aggregate", "random"),
    percents=(0, 5, 10, 20, 30, 50, 70, 90),
    grid=((0, 20, 40, 60, 70), (0, 10, 20, 30, 50)),
    prune_all_shots=False,
    protocol="quick",
    primary_documents=100,
    primary_ways=("zero", "mean/last"),
    contest_controls="class",
)
SMALL = replace(
    MEDIUM,
    name="small",
    rank_documents=24,
    knockout_documents=8,
    prune_documents=24,
    probe_shots=(0, 5),
    draws=5,
    percents=(0, 5, 10, 20, 40, 60, 80),
    grid=((0, 20, 40, 60), (0, 10, 20, 30)),
    head_orders=("own", "aggregate", "signed", "signed_choice", "inverse", "random", "layer_matched"),
    ffn_orders=("own", "random"),
    primary_documents=40,
)
LEAST = replace(
    SMALL,
    name="least",
    percents=(0, 10, 30, 50, 70),
    draws=3,
    grid=((0, 30, 50), (0, 20)),
    prune_documents=24,
    head_orders=("own", "signed_choice", "random"),
    primary_ways=("zero",),
)
NAMED = {"small": SMALL, "paper": PAPER}
TIERS = (PAPER, MEDIUM, SMALL, LEAST)
Price = Callable[[Budget], Mapping[str, float]]
PRIMARY_PART, BLOCK = 0.5, 20
OVER = 1.25  # so far may the stages behind the primary go over what is left
WORTH = 0.5  # a richer structure is taken when at least this share of its documents fits


def parse_budget(text: str) -> Budget | float:
    """A named budget, or a number of hours. Raises UsageError for anything else."""
    if text in NAMED:
        return NAMED[text]
    try:
        hours = float(text.removesuffix("h"))
    except ValueError:
        hours = float("nan")
    if not 0 < hours < float("inf"):
        raise UsageError(f"{text!r} is no budget: give {' or '.join(NAMED)}, or a number of hours such as 2 (--budget)")
    return hours


def fitted(tokens: float, price: Price, tiers: Sequence[Budget] = TIERS) -> Budget:
    """The budget that `tokens` forward-equivalents pay for; price: what a budget costs by stage (cost.study_cost).

    Vectors and contest go by the documents of the primary, the stages behind them by their own.
    """
    for tier in tiers:
        asked = with_primary(tier, price(tier), tokens)
        cost = price(asked)
        spare = tokens - sum(cost[name] for name in DECIDING)
        behind = tail(cost)
        fixed = sum(value for name, value in behind.items() if name not in CARRIED)
        factor = (spare - fixed) / sum(behind[name] for name in CARRIED)
        if factor >= WORTH or tier is tiers[-1]:
            scaled = replace(asked.scaled(max(factor, 0.0)), primary_documents=asked.primary_documents)
            without = out_of_reach(tail(price(scaled)), spare)
            if without == TAIL:
                alone = with_primary(tier, price(tier), tokens, part=1.0)
                scaled = replace(scaled, primary_documents=alone.primary_documents, primary_ways=alone.primary_ways)
            return replace(scaled, without=without)
    raise AssertionError("there is a last tier")


def with_primary(tier: Budget, cost: Mapping[str, float], tokens: float, *, part: float = PRIMARY_PART) -> Budget:
    """With as many documents for the primary question as its part of the tokens pays for, in blocks of 20.

    Where 40 are too dear, heads are removed in fewer ways first; then it takes more than its part for them.
    """
    most = tokens - sum(cost[name] for name in DECIDING if name != PRIMARY)
    spare = part * most
    for ways in range(len(tier.primary_ways), -1, -1):
        asked = replace(tier, primary_ways=tier.primary_ways[:ways], primary_documents=BLOCK)
        blocks = int(spare / primary_cost(asked, tier, cost)) if spare > 0 else 0
        if blocks >= 2 or not ways:
            break
    blocks = max(blocks, min(2, int(most / primary_cost(asked, tier, cost))), 1)
    return replace(asked, primary_documents=min(BLOCK * blocks, PAPER.primary_documents))


def primary_cost(asked: Budget, tier: Budget, cost: Mapping[str, float]) -> float:
    """What the primary costs with these documents and ways, where `cost` is that of the tier's own."""
    share = asked.primary_documents / tier.primary_documents
    return cost[PRIMARY] * share * (1 + len(asked.primary_ways)) / (1 + len(tier.primary_ways))


def tail(cost: Mapping[str, float]) -> dict[str, float]:
    """The stages behind the primary: `prune` is all of its parts."""
    parts = {name: [value for part, value in cost.items() if part.split()[0] == name] for name in TAIL}
    return {name: sum(values) for name, values in parts.items()}


def out_of_reach(behind: Mapping[str, float], spare: float) -> tuple[str, ...]:
    """The stages, from behind, that the tokens left do not pay for."""
    kept = list(TAIL)
    while kept and sum(behind[name] for name in kept) > OVER * max(spare, 0.0):
        kept.pop()
    return tuple(name for name in TAIL if name not in kept)


def restored(knobs: dict[str, Any]) -> Budget:
    """A budget as a manifest holds it."""
    return Budget(**{name: _tuples(value) for name, value in knobs.items()})


def _worded(name: str) -> str:
    return name.replace("_", "-")


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
