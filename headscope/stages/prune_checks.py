"""What may be asked of a pruning, said before anything heavy is loaded (Method 4)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from headscope.store.names import AGGREGATE, ORDERS, TRANSFER
from interp.errors import UsageError


def check_orders(names: Sequence[str], tasks: Sequence[str], component: str) -> None:
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
    if len(tasks) < 2 and {AGGREGATE, TRANSFER} & set(names):
        raise UsageError("aggregate and transfer rank a task by other tasks' scores: name at least two tasks (--tasks)")


def check_percents(percents: Sequence[int]) -> None:
    """Raises UsageError for steps that do not begin with the full model, ascend and stay below everything."""
    if len(percents) < 2 or percents[0] != 0 or list(percents) != sorted({*percents}) or percents[-1] >= 100:
        raise UsageError(
            f"percentages must begin with 0 (the full model), ascend and stay below 100; got {list(percents)}"
        )
