"""How much of a study is run: documents, draws, orders, controls (Method 4-5 say what the full measure is).

`small` ends in well under an hour for the embedded model and the probes on two cores; `paper` is the full measure. A
number of hours picks the richest structure of which at least half the documents fit, and then as many documents as fit.
What a budget leaves out is said by `left_out`, and stands on the page of findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from headscope.store.names import DRAWN
from interp.errors import UsageError

FULL_PERCENTS = tuple(range(0, 100, 10))
FULL_GRID = (tuple(range(0, 80, 10)), tuple(range(0, 60, 10)))

FULL_DRAWS, FULL_SEEDS, FULL_CONTROLS = 20, 3, 39
KINDS = ("random", "layer_matched", "norm_matched")
HEAD_ORDERS = ("own", "aggregate", "transfer", "signed", "inverse", "random", "layer_matched", "iterative")
FFN_ORDERS = ("own", "aggregate", "signed", "inverse", "random", "iterative")
FEWEST, FEWEST_PRIMARY, MOST = 8, 20, 1000
FEWEST_OF_DEAR = {"knockout": 1, "prune": 4, "causal": 2}


@dataclass(frozen=True)
class Budget:
    """The knobs. Documents are a task's. demos: how evaluations draw demonstrations; for scores, always by document.

    shares: of tasks that are dearer than others (cost.py), the part of the documents that knock-outs, pruning and the
    causal check take of them. Rankings, which are compared with one another, are of equally many.
    """

    name: str
    rank_documents: int
    knockout_documents: int
    prune_documents: int
    causal_documents: int
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
    causal_percents: tuple[int, ...]
    causal_ablations: tuple[str, ...]
    causal_kinds: tuple[str, ...]
    controls: int
    protocol: str
    shares: tuple[tuple[str, float], ...] = ()
    primary_documents: int = 40
    primary_ways: tuple[str, ...] = ("zero", "mean/last")

    def scaled(self, factor: float) -> Budget:
        """With so many times the documents, within 8 and 1,000 a task (4 and 1,000 where each is run many times)."""

        def count(base: int, fewest: int) -> int:
            return max(fewest, min(MOST, int(base * factor)))

        return replace(
            self,
            rank_documents=count(self.rank_documents, FEWEST),
            knockout_documents=count(self.knockout_documents, FEWEST // 2),
            prune_documents=count(self.prune_documents, FEWEST),
            causal_documents=count(self.causal_documents, FEWEST // 2),
            primary_documents=count(self.primary_documents, FEWEST_PRIMARY),
        )

    def units(self, stage: str, task: str) -> int:
        """Documents (questions in MultiRC) of a task that `knockout`, `prune` or `causal` takes."""
        whole = int(getattr(self, f"{stage}_documents"))
        share = dict(self.shares).get(task, 1.0)
        return whole if share >= 1 else min(whole, max(FEWEST_OF_DEAR[stage], int(whole * share)))

    def fewer(self) -> str:
        """The tasks of which knock-outs, pruning and the causal check take fewer documents, in words."""
        told = "; ".join(
            f"{task} {', '.join(str(self.units(stage, task)) for stage in FEWEST_OF_DEAR)}" for task, _ in self.shares
        )
        dear = "Of tasks whose documents cost over four times the median task's, fewer, in the last three"
        return f"{dear}: {told}." if told else ""

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
            fixed = "one fixed set" if self.demo_seeds == 1 else f"{self.demo_seeds} fixed sets"
            less.append(
                f"evaluations by {fixed} of demonstrations a task in place of sets drawn for every document, "
                "so that intervals hold the demonstrations fixed"
            )
        if self.draws < FULL_DRAWS:
            drawn = " and ".join(_worded(name) for name in DRAWN if name in self.head_orders)
            less.append(f"{self.draws} {drawn} orders in place of {FULL_DRAWS}")
        if self.percents != FULL_PERCENTS:
            less.append(f"pruning at {', '.join(map(str, self.percents))}% in place of every 10%")
        if missing := [name for name in HEAD_ORDERS if name not in self.head_orders]:
            less.append(f"no orders of heads by: {', '.join(map(_worded, missing))}")
        if missing := [name for name in FFN_ORDERS if name not in self.ffn_orders]:
            less.append(f"no orders of FFNs by: {', '.join(map(_worded, missing))}")
        if self.grid != FULL_GRID:
            told = " x ".join(", ".join(map(str, part)) for part in self.grid)
            less.append(f"the joint grid at {told}% in place of every 10%")
        if self.controls < FULL_CONTROLS:
            less.append(f"{self.controls} control sets of a kind in place of {FULL_CONTROLS}")
        if self.protocol != "paper":
            less.append(f"induction scores by the protocol '{self.protocol}'")
        if missing := [name for name in KINDS if name not in self.causal_kinds]:
            less.append(f"no {', '.join(map(_worded, missing))} control sets in the causal check")
        if "mean" not in self.causal_ablations:
            less.append("the causal check by zero ablation only")
        if set(self.causal_percents) != {1, 3, 5, 10}:
            less.append(_causal_sets(self.causal_percents))
        if not self.prune_all_shots:
            less.append("pruning at the most shots only")
        return less

    def told(self) -> dict[str, Any]:
        """As a manifest holds it."""
        return {name: _plain(value) for name, value in asdict(self).items()}


DOCUMENTS = ("rank_documents", "knockout_documents", "prune_documents", "causal_documents", "primary_documents")
PAPER = Budget(
    "paper",
    rank_documents=200,
    knockout_documents=100,
    prune_documents=200,
    causal_documents=100,
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
    causal_percents=(1, 3, 5, 10),
    causal_ablations=("zero", "mean"),
    causal_kinds=KINDS,
    controls=FULL_CONTROLS,
    protocol="paper",
    primary_documents=200,
    primary_ways=("zero", "mean/last", "mean/later"),
)
MEDIUM = replace(
    PAPER,
    name="medium",
    rank_documents=64,
    knockout_documents=24,
    prune_documents=64,
    causal_documents=32,
    shots=(0, 5),
    probe_shots=(0, 5, 10),
    demo_seeds=3,
    demos="fixed",
    draws=20,
    head_orders=("own", "aggregate", "transfer", "signed", "inverse", "random", "layer_matched"),
    ffn_orders=("own", "aggregate", "random"),
    percents=(0, 10, 30, 50, 70, 90),
    grid=((0, 20, 40, 60, 70), (0, 10, 20, 30, 50)),
    prune_all_shots=False,
    causal_percents=(5, 10),
    protocol="quick",
    primary_documents=100,
    primary_ways=("zero", "mean/last"),
)
SMALL = replace(
    MEDIUM,
    name="small",
    rank_documents=24,
    knockout_documents=8,
    prune_documents=24,
    causal_documents=8,
    probe_shots=(0, 5),
    demo_seeds=1,
    draws=5,
    percents=(0, 20, 40, 60, 80),
    grid=((0, 20, 40, 60), (0, 10, 20, 30)),
    head_orders=("own", "aggregate", "signed", "inverse", "random", "layer_matched"),
    ffn_orders=("own", "random"),
    causal_percents=(),
    causal_ablations=("zero",),
    causal_kinds=("layer_matched", "norm_matched"),
    primary_documents=40,
)
LEAST = replace(
    SMALL,
    name="least",
    percents=(0, 30, 50, 70),
    draws=3,
    grid=((0, 30, 50), (0, 20)),
    prune_documents=24,
    head_orders=("own", "aggregate", "signed", "random"),
    causal_kinds=("norm_matched",),
    primary_ways=("zero",),
)
NAMED = {"small": SMALL, "paper": PAPER}
TIERS = (PAPER, MEDIUM, SMALL, LEAST)
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


def fitted(tokens: float, costs: Sequence[float], tiers: Sequence[Budget] = TIERS) -> Budget:
    """The budget that `tokens` forward-equivalents pay for; `costs` are those of the tiers with their own documents."""
    for tier, cost in zip(tiers, costs, strict=True):
        factor = tokens / cost
        if factor >= WORTH or tier is tiers[-1]:
            return tier.scaled(factor)
    raise AssertionError("there is a last tier")


def restored(told: dict[str, Any]) -> Budget:
    """A budget as a manifest holds it."""
    return Budget(**{name: _tuples(value) for name, value in told.items()})


def _worded(name: str) -> str:
    return name.replace("_", "-")


def _causal_sets(percents: tuple[int, ...]) -> str:
    """Which sets are removed, where these are not all four shares."""
    if not percents:
        return "the causal check of the classed induction heads only (of the top 5% where none is classed)"
    shares = " and ".join(f"{percent}%" for percent in percents)
    return f"the causal check of the classed induction heads and of the top {shares} only"


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
