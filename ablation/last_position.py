"""Many sets of heads removed at the last position of a prompt, a row each over its own keys (Method 3.4, 5).

Removing heads where the answer is read, and nowhere else, changes nothing in front of that position: one pass of the
prompt serves all sets, and a set costs a row of that position and of the choices behind it. The numbers are those of
`evaluate` with `At("last")`. What stands in is nothing (zero) or the heads' means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ablation.references import Means
from ablation.replacement import Deferred, Replacement, refuse_evaluated
from interp.errors import UsageError
from interp.patched_rows import prepare
from interp.patching import Patch
from interp.scored_paths import Ids, ScoredPaths

if TYPE_CHECKING:
    from interp.model import HookedModel

Head = tuple[int, int]


def without_at_last(
    model: HookedModel, documents: Sequence[Any], sets: Sequence[Sequence[Head]], replacement: Replacement | None = None
) -> list[list[list[float]]]:
    """log p of every choice of every token document, in nats, without each set of heads: [set][document][choice].

    replacement: means, or None for zero. Raises UsageError for what goes by document.
    """
    means = means_of(replacement)
    refuse_evaluated(replacement, documents)
    found: list[list[list[float]]] = [[] for _ in sets]
    for document in documents:
        rows: list[list[float]] = [[0.0] * len(document.choices) for _ in sets]
        for context, places in _by_context(document):
            patches = [Patch({head: _stand_in(model, means, head, len(context))[None] for head in one}) for one in sets]
            scored = ScoredPaths.of_choices(context, [document.choices[place] for place in places])
            values: Float[Tensor, "set choice"] = prepare(model, scored, [len(context) - 1]).run(patches)
            for row, value in zip(rows, values.tolist(), strict=True):
                for place, number in zip(places, value, strict=True):
                    row[place] = number
        for own, row in zip(found, rows, strict=True):
            own.append(row)
    return found


def means_of(replacement: Replacement | None) -> Means | None:
    """What stands in as means, None for zero."""
    made = replacement.made if isinstance(replacement, Deferred) else replacement
    if made is None or isinstance(made, Means):
        return made
    raise UsageError(f"{made.name} goes by document, and rows over a prompt take zero or means: use evaluate with At")


def _stand_in(model: HookedModel, means: Means | None, head: Head, length: int) -> Float[Tensor, " d_value"]:
    if means is None:
        return torch.zeros(model.d_value)
    return (means.z_first if length == 1 else means.z_rest)[head]


def _by_context(document: Any) -> Iterator[tuple[Ids, list[int]]]:
    """Contexts with the places of their choices: one, but where choices differ in front of the continuation."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, context in enumerate(document.contexts):
        places.setdefault(tuple(context), []).append(place)
    yield from places.items()
