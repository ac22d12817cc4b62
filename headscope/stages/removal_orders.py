"""The orders of removal of a task: what may be asked, and how the scores that a run holds make them (Method 4).

What may be asked is said before anything heavy is loaded. ablation/orders.py has the orders themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ablation.names import UNITS
from headscope.store.names import AGGREGATE, FFN_RANKINGS, ORDERS, TRANSFER
from interp.errors import UsageError
from interp.token_display import counted

if TYPE_CHECKING:
    from ablation.orders import Order
    from ablation.tasks import Task
    from headscope.stages.cells import TaskChoice
    from headscope.store.run import Run
    from headscope.store.units import UnitStore
    from interp.model import HookedModel
    from interp.scores import FFNScores, HeadScores

ITERATIVE_DOCUMENTS = 32
IMPORTANCE = "importance"  # the score, and the command that makes it
KNOCKOUT = "knockout --component ffn"
WAYS = {"choice": " --objective choice", "mean": " --ablation mean"}  # what stands in a variant, and is asked for
SIGNED = {"signed": "signed", "signed_choice": "signed/choice"}  # an order and its variant of importance


def maker(name: str, variant: str) -> str:
    """The command that makes a score, with the options that its variant takes."""
    if name == "knock_out":
        return KNOCKOUT
    return IMPORTANCE + "".join(option for way, option in WAYS.items() if way in variant.split("/"))


def check_orders(names: Sequence[str], tasks: Sequence[str], component: str, unit: str = "head") -> None:
    """Raises UsageError for an order that is none, and for one that the component or the tasks can't have."""
    known = [*ORDERS, *tasks]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"{name!r} is no order of removal (--order): there are {', '.join(ORDERS)}, and the tasks of --tasks "
                f"by name{hint}"
            )
    if not names:
        raise UsageError(f"name at least one order of removal: {', '.join(ORDERS)} (--order)")
    if component == "both" and tuple(names) != ("own",):
        raise UsageError("the joint grid of heads and FFNs is pruned in their own orders: leave out --order")
    if component == "ffn" and "layer_matched" in names:
        raise UsageError("a layer has one FFN, so a layer-matched order of FFNs is the order itself: use random")
    if component == "ffn" and "even" in names:
        raise UsageError("a layer has one FFN: an order of FFNs takes one from every layer as it is")
    check_unit(component, unit)
    if unit == "group" and "iterative" in names:
        raise UsageError("the iterative order scores heads one by one: leave it out with --unit group")
    if len(tasks) < 2 and {AGGREGATE, TRANSFER} & set(names):
        raise UsageError("aggregate and transfer rank a task by other tasks' scores: name at least two tasks (--tasks)")


def check_unit(component: str, unit: str) -> None:
    """Raises UsageError for a unit that is none, and for one that the component has not."""
    if unit not in UNITS:
        raise UsageError(f"{unit!r} is no unit of pruning; there are {', '.join(UNITS)} (--unit)")
    if unit == "group" and component != "head":
        raise UsageError("kv groups are groups of heads: --unit group belongs to --component head")


def check_percents(percents: Sequence[int]) -> None:
    """Raises UsageError for steps that do not begin with the full model, ascend and stay below everything."""
    if len(percents) < 2 or percents[0] != 0 or list(percents) != sorted({*percents}) or percents[-1] >= 100:
        raise UsageError(
            f"percentages must begin with 0 (the full model), ascend and stay below 100; got {list(percents)}"
        )


@dataclass(frozen=True)
class Rankings:
    """Which stored scores rank the components, for which tasks; `run` may be another folder of the same model.

    Each score is read once. unit: `group` ranks whole kv groups.
    """

    run: Run
    component: str
    tasks: tuple[str, ...]
    ranking: str = "token"
    ffn_ranking: str = "importance"
    unit: str = "head"
    held: dict[tuple[str, int, str], HeadScores | FFNScores] = field(default_factory=dict, repr=False)

    def scores(self, task: str, shots: int, *, signed: str = "") -> HeadScores | FFNScores:
        """A task's scores, or a signed importance of it. Raises UsageError that names the command which makes them."""
        key = (task, shots, signed)
        if key not in self.held:
            self.held[key] = self._read(task, shots, signed)
        return self.held[key]

    def _read(self, task: str, shots: int, signed: str) -> HeadScores | FFNScores:
        name, variant = (IMPORTANCE, signed) if signed else self._named()
        try:
            if self.component != "head":
                return self.run.ffn_score(name, variant, task=task, shots=shots)
            heads = self.run.head_score(name, variant, task=task, shots=shots)
            return heads if self.unit == "head" else self._groups(heads, variant, task, shots)
        except UsageError as error:
            made = self.run.command(*maker(name, variant).split(), "--shots", str(shots), task=task)
            raise UsageError(
                f"the run '{self.run.folder}' holds no {name} ({variant}) of {task} at {counted(shots, 'shot')} to "
                f"rank its {self.component}s by. Run `{made}` first."
            ) from error

    def _groups(self, heads: HeadScores, variant: str, task: str, shots: int) -> HeadScores:
        """The same importance of kv groups, [layer kv_head]; where every head is its own group, the heads'."""
        from ablation.names import HEADS_PER_GROUP
        from headscope.store.scores import GROUPED

        width = heads.mean.shape[-1] // (heads.n_kv_heads or heads.mean.shape[-1])
        joint = heads if width == 1 else self.run.head_score(GROUPED, variant, task=task, shots=shots)
        first = {name: getattr(joint, name)[:, ::width] for name in heads.SUMMARY}
        provenance = {**joint.provenance, HEADS_PER_GROUP: width}
        return replace(joint, **first, per_item=None, nulls=(), provenance=provenance)

    def _named(self) -> tuple[str, str]:
        from headscope.store.scores import KNOCK_OUT

        if self.component == "ffn" and self.ffn_ranking not in FFN_RANKINGS:
            raise UsageError(f"{self.ffn_ranking!r} does not rank FFNs; there are {', '.join(FFN_RANKINGS)}")
        knocked = self.component == "ffn" and self.ffn_ranking == "knock_out"
        return (KNOCK_OUT, "choice") if knocked else (IMPORTANCE, self.ranking)

    def all(self, shots: int) -> dict[str, Any]:
        """The scores of all tasks, for an aggregate."""
        return {task: self.scores(task, shots) for task in self.tasks}

    def orders(self, name: str, task: str, shots: int, *, draws: int, seed: int) -> list[Order]:
        """The orders that a name stands for: one, one a draw, or for `transfer` one for every other task."""
        from ablation import orders

        if name == TRANSFER:
            return [orders.by_scores(self.scores(other, shots), name=other) for other in self.tasks if other != task]
        if name in SIGNED:
            return [orders.by_scores(self.scores(task, shots, signed=SIGNED[name]), name=name)]
        if name == AGGREGATE:
            return [orders.aggregate(self.all(shots), without=task)]
        if name not in ORDERS:
            return [orders.by_scores(self.scores(name, shots), name=name)]
        own = self.scores(task, shots)
        if name == "own":
            return [orders.by_scores(own)]
        if name == "inverse":
            return [orders.inverse(own)]
        if name == "even":
            return [orders.even_over_layers(own)]
        made = orders.random_orders if name == "random" else orders.layer_matched_orders
        return made(own, n=draws, seed=seed)


def iterative(
    model: HookedModel, units: UnitStore, choice: TaskChoice, evaluated: Task, component: str, percents: Sequence[int]
) -> Order:
    """The order from the first training documents of a task at its number of shots, scored again after every step."""
    from ablation.orders import in_places, iterative_order
    from ablation.tasks import load_task

    task = load_task(
        evaluated.name,
        shots=evaluated.shots,
        limit=ITERATIVE_DOCUMENTS,
        seed=choice.seed,
        data=choice.data,
        split="train",
        demos=choice.demos,
        bos=choice.bos,
        part=choice.part,
    )
    key = {"what": "iterative", "component": component, "documents": task.fingerprint, "percents": list(percents)}
    unit = units.get_or_compute(
        key, lambda: {"places": iterative_order(model, task, component=component, percents=percents).ranking.scores}
    )
    return in_places(component, unit["places"])
