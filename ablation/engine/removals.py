"""Log-likelihoods with one component removed at a time, each resumed from the stored input of its block.

Method 3.2. What costs time in a knock-out is done once or not at all:
1. The choices of a document share their prompt: one row a document, a tree of tokens (packing.py).
2. One plain run of a batch stores the residual stream in front of every block; removing a component of block k changes
   nothing below it, so its run starts there.
3. Several components of a block run together, every row with a mask of its own.
4. Logits are computed at scored positions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from ablation.engine.likelihood import LONGEST_TREE, check_requests, normaliser, sharing_for
from ablation.engine.packing import Batch, batch_rows, collate, grow
from ablation.engine.prefix_plan import Price, Request, SortedInputs, make_plan
from ablation.engine.recheck import Case, recheck
from ablation.engine.sharing import attention_arguments
from ablation.engine.target_logits import logits_at
from ablation.replacement import Placement, Replacement, Sparing
from interp import hooks
from interp.overflow import broken
from interp.resume import resumed

if TYPE_CHECKING:
    from interp.model import HookedModel

NO_TRUNKS = 1e9  # the price of a forward pass: a cache below block k would be of no use above it


class Removal(NamedTuple):
    """One component: `width` heads from `head` on, or the layer's FFN (`head` None).

    `spare` leaves position 0 as it is.
    """

    layer: int
    head: int | None = None
    spare: bool = False
    width: int = 1

    def __str__(self) -> str:
        return f"the FFN of layer {self.layer}" if self.head is None else f"head {self.layer}.{self.head}"


@dataclass(frozen=True)
class Prompts:
    """Requests with the name of each one's document. Only what a replacement may treat alike shares a group."""

    requests: tuple[Request, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, documents: Sequence[Any]) -> Prompts:
        """All choices of all documents, in order."""
        pairs = [(d.id, c, y) for d in documents for c, y in zip(d.contexts, d.choices, strict=True)]
        numbers = {key: n for n, key in enumerate(dict.fromkeys((name, len(context)) for name, context, _ in pairs))}
        requests = (Request(c, y, group=numbers[name, len(c)]) for name, c, y in pairs)
        return cls(tuple(requests), tuple(name for name, _, _ in pairs))

    def placement(self, batch: Batch) -> Placement:
        """Which document stands in each row of a batch, and where its context ends."""
        lengths = torch.tensor([len(self.requests[owner].context) for owner in batch.owners])
        return Placement(tuple(self.names[owner] for owner in batch.owners), batch.positions, lengths)


def packed(model: HookedModel, requests: Sequence[Request], *, budget: int) -> Iterator[Batch]:
    """All requests in batches of at most `budget` tokens, a shared prompt once; a long document has a batch alone."""
    sharing = sharing_for(model, max(len(request.ids) - 1 for request in requests))
    shared = [n for n, request in enumerate(requests) if sharing.allows(len(request.ids) - 1)]
    alone = sorted(set(range(len(requests))) - set(shared))
    for numbers, share in ((shared, True), (alone, False)):
        if not numbers:
            continue
        inputs = SortedInputs.of([requests[n] for n in numbers], beginnings=sharing.padding)
        inputs = replace(inputs, requests=tuple(tuple(numbers[n] for n in held) for held in inputs.requests))
        price = Price(keys=4.0 * model.d_model, start=NO_TRUNKS)
        plan = make_plan(inputs, price=price, row_limit=LONGEST_TREE, share=share)
        for rows in batch_rows(plan.rows, token_budget=budget, padding=sharing.padding):
            yield collate([grow(requests, inputs, row) for row in rows], 0)


def plain_and_removed(
    model: HookedModel,
    prompts: Prompts,
    removals: Sequence[Removal],
    *,
    replacement: Replacement | None = None,
    budget: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "request"], Float[np.ndarray, "removal request"]]:
    """log p of every request with nothing removed, and with each component removed, in nats.

    `progress(done, total)` counts removals times requests.
    """
    count = len(prompts.requests)
    check_requests(model, prompts.requests)
    plain, removed = np.zeros(count), np.zeros((len(removals), count))
    order = sorted(range(len(removals)), key=lambda n: removals[n].layer)
    done = 0
    for batch in packed(model, prompts.requests, budget=budget):
        residuals, found = run_plain(model, batch)
        _refuse_broken(model, prompts, batch, found)
        np.add.at(plain, batch.requests.numpy(), found)
        reference = replacement.placed(prompts.placement(batch)) if replacement is not None else None
        for layer, held in groupby(order, key=lambda n: removals[n].layer):
            for chosen in _chunks(list(held), max(1, budget // batch.tokens.numel())):
                parts = [removals[n] for n in chosen]
                found = run_removed(model, batch, residuals[layer], parts, reference)
                _refuse_broken(model, prompts, batch, found, parts)
                rows = np.repeat(chosen, len(batch.requests))
                np.add.at(removed, (rows, np.tile(batch.requests, len(chosen))), found)
        done += len(removals) * len(batch.requests.unique())
        if progress is not None:
            progress(done, len(removals) * count)
    _recheck(model, prompts, removals, np.concatenate([plain[None], removed]), replacement)
    return plain, removed


def _recheck(
    model: HookedModel,
    prompts: Prompts,
    removals: Sequence[Removal],
    found: Float[np.ndarray, "way request"],
    replacement: Replacement | None,
) -> None:
    """The running check; the first way removes nothing."""
    count = found.shape[1]

    def alone(number: int) -> Case:
        way, place = divmod(number, count)
        request, name = prompts.requests[place], prompts.names[place]
        if way == 0:
            return Case(name, request, nullcontext())
        removal = removals[way - 1]
        whole = Placement.whole([name], [len(request.context)], len(request.ids) - 1)
        other: Any = replacement.placed(whole) if replacement is not None else None
        if removal.spare:
            other = Sparing(whole.positions == 0, other)
        gates = model.gates(**_masks(model, [removal], 1), reference=other)
        return Case(f"{name} without {removal}", request, gates)

    recheck(model, torch.from_numpy(found.ravel()), alone, way="where removals share their prompt")


def _refuse_broken(
    model: HookedModel, prompts: Prompts, batch: Batch, found: np.ndarray, removed: Sequence[Removal] = ()
) -> None:
    """Stop at what is no finite number, naming the document and what was removed; `found`: a value a target."""
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        number = int(batch.requests[int(bad[0]) % len(batch.requests)])
        without = f" without {removed[int(bad[0]) // len(batch.requests)]}" if removed else ""
        ids = () if removed else prompts.requests[number].ids[:-1]
        raise broken(model, f"the log-likelihood{without}", document=prompts.names[number], tokens=ids)


def run_plain(model: HookedModel, batch: Batch) -> tuple[list[Tensor], Float[np.ndarray, "target"]]:
    """The residual stream in front of every block, and the targets' log-probabilities."""
    found: dict[int, Tensor] = {}
    places = [hooks.Point("resid_pre", layer) for layer in range(model.n_layers)]
    with hooks.capture(model, places, lambda point, value: found.__setitem__(point.layer, value)):
        scores = target_scores(model, batch)
    return [found[layer] for layer in range(model.n_layers)], scores


def run_removed(
    model: HookedModel, batch: Batch, residual: Tensor, removals: Sequence[Removal], reference: Any = None
) -> Float[np.ndarray, "target"]:
    """The targets' log-probabilities with each of these components of one block removed, one after the other."""
    times, rows = len(removals), len(batch.tokens)
    stood = repeat(residual, "b q m -> (n b) q m", n=times)
    masks = _masks(model, removals, rows)
    other: Any = _Repeated(reference, times) if reference is not None else None
    if any(removal.spare for removal in removals):
        spare = torch.tensor([removal.spare for removal in removals]).repeat_interleave(rows)
        other = Sparing((batch.positions.repeat(times, 1) == 0) & spare[:, None], other)
    with resumed(model, removals[0].layer, stood), model.gates(**masks, reference=other):
        return target_scores(model, repeated(batch, times))


def _masks(model: HookedModel, removals: Sequence[Removal], rows: int) -> dict[str, Tensor]:
    """One mask a row, the rows of the first removal first."""
    heads, ffns = torch.ones(len(removals), model.n_layers, model.n_heads), torch.ones(len(removals), model.n_layers)
    for n, removal in enumerate(removals):
        if removal.head is None:
            ffns[n, removal.layer] = 0.0
        else:
            heads[n, removal.layer, removal.head : removal.head + removal.width] = 0.0
    masks = {"heads": heads, "ffns": ffns}
    return {name: mask.repeat_interleave(rows, 0) for name, mask in masks.items() if not bool((mask == 1).all())}


@dataclass(frozen=True)
class _Repeated:
    """A reference made for some rows, for several copies of them."""

    inner: Any
    times: int

    def z(self, layer: int, z: Tensor) -> Tensor:
        first = z[: len(z) // self.times]
        return repeat(self.inner.z(layer, first).expand_as(first), "b q h d -> (n b) q h d", n=self.times)

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        first = output[: len(output) // self.times]
        return repeat(self.inner.ffn(layer, first).expand_as(first), "b q m -> (n b) q m", n=self.times)


def repeated(batch: Batch, times: int) -> Batch:
    """A batch `times` times over, copy after copy; requests keep their numbers."""
    copies = torch.arange(times)

    def shifted(index: Tensor, by: int) -> Tensor:
        return (index[None] + by * copies[:, None]).flatten()

    return replace(
        batch,
        tokens=batch.tokens.repeat(times, 1),
        positions=batch.positions.repeat(times, 1),
        visible=None if batch.visible is None else batch.visible.repeat(times, 1, 1),
        rows=shifted(batch.rows, len(batch.tokens)),
        nodes=batch.nodes.repeat(times),
        places=shifted(batch.places, len(batch.rows)),
        targets=batch.targets.repeat(times),
        requests=batch.requests.repeat(times),
        owners=batch.owners * times,
    )


def target_scores(model: HookedModel, batch: Batch) -> Float[np.ndarray, "target"]:
    """log p of every target of a batch, in float64."""
    with torch.no_grad(), logits_at(model, batch.rows, batch.nodes):
        tokens = batch.tokens.to(model.device)
        logits = model.hf(input_ids=tokens, use_cache=False, **attention_arguments(model, batch)).logits[0]
    places, targets = batch.places.to(logits.device), batch.targets.to(logits.device)
    total, _ = normaliser(logits)
    return (logits[places, targets].to(total) - total[places]).double().cpu().numpy()


def _chunks(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
