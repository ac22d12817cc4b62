"""Log-likelihoods of continuations: the sum of log p(token | all before it), every shared prefix run once.

Method 6.
1. Plan which tokens are run together (prefix_plan.py): choices of a document, questions about a passage, documents
   behind the same demonstrations.
2. Run rows of similar length in batches (packing.py), trunks before what stands on them, with logits only where a
   scored token is predicted.
3. Add each token's log-probability to its request, in float64.
Gates stand over the whole run, so that they change prefixes and caches too; no cache outlives a call. Where a model
can't share prefixes (sharing.py) every request has a row of its own. Hooks of the caller's see packed rows: removing
components is done with `heads`, `ffns` and `replacement`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ablation.batch_sizes import evaluation_tokens
from ablation.engine.below import Below
from ablation.engine.packing import Batch, batch_rows, collate, grow, trunk_tree
from ablation.engine.prefix_plan import Ids, Price, Request, SortedInputs, Trunk, make_plan
from ablation.engine.recheck import Case, recheck
from ablation.engine.sharing import Sharing, attention_arguments, find_sharing
from ablation.engine.target_logits import logits_at
from ablation.replacement import Placement, Replacement, by_position, refuse_evaluated
from interp.errors import UsageError
from interp.masks import FFNs, Heads, ffn_mask, head_mask
from interp.offload import is_offloaded
from interp.overflow import broken
from interp.patching import refuse_by_place
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel

Progress = Callable[[int, int], None]
LONGEST_TREE = 2048
ROWS_AT_ONCE = 8


@runtime_checkable
class ScorableDocument(Protocol):
    """A document as token ids: choice c is `contexts[c]` followed by `choices[c]`."""

    @property
    def id(self) -> str: ...
    @property
    def contexts(self) -> Sequence[Ids]: ...
    @property
    def choices(self) -> Sequence[Ids]: ...


@one_line
@dataclass(frozen=True)
class Likelihoods:
    """Per request: log p(continuation | context) in nats, and whether greedy decoding would write it."""

    log_likelihoods: Float[np.ndarray, "request"]
    greedy: Bool[np.ndarray, "request"]


def log_likelihoods(
    model: HookedModel,
    documents: Iterable[ScorableDocument],
    *,
    heads: Heads | None = None,
    ffns: FFNs | None = None,
    replacement: Replacement | None = None,
    below: Below | None = None,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[list[float]]:
    """One log-likelihood a choice, for every document, in nats.

    `heads` and `ffns` remove components (Method 3.3), `replacement` says by what. `below` is shared by calls for the
    same documents that remove nothing below its block (below.py). `token_budget`: tokens in a forward pass.
    `progress(done, total)` counts choices. Raises UsageError for empty or over-long token ids.
    """
    held = list(documents)
    refuse_evaluated(replacement, held)
    requests = [(context, choice) for d in held for context, choice in zip(d.contexts, d.choices, strict=True)]
    names = [document.id for document in held for _ in document.choices]
    scores = score_requests(
        model,
        requests,
        heads=heads,
        ffns=ffns,
        replacement=replacement,
        below=below,
        documents=names,
        token_budget=token_budget,
        progress=progress,
    )
    ends = np.cumsum([len(document.choices) for document in held], dtype=np.int64)
    return [part.tolist() for part in np.split(scores.log_likelihoods, ends[:-1])] if held else []


def score_requests(
    model: HookedModel,
    requests: Sequence[tuple[Ids, Ids]],
    *,
    heads: Heads | None = None,
    ffns: FFNs | None = None,
    replacement: Replacement | None = None,
    below: Below | None = None,
    documents: Sequence[str] | None = None,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> Likelihoods:
    """Score (context ids, continuation ids) pairs; what they share is run once.

    `documents` names each request's document, which `replacement` asks for. Otherwise as `log_likelihoods`.
    Raises HeadscopeError, which says where, for what is no finite number.
    """
    names = list(documents) if documents is not None else [str(number) for number in range(len(requests))]
    if len(names) != len(requests):
        raise UsageError(f"{len(requests)} requests have {len(names)} document names: give one to each")
    grouped = [Request(*pair) for pair in requests] if by_position(replacement) else _grouped(requests, names)
    check_requests(model, grouped)
    if not grouped:
        return Likelihoods(np.zeros(0), np.zeros(0, dtype=bool))
    heads, ffns = head_mask(heads, model.n_layers, model.n_heads), ffn_mask(ffns, model.n_layers)
    masks = {"heads": heads, "ffns": ffns}
    shared = below if below is not None and below.serves(model, heads, ffns) else None
    run = _Run(
        model,
        grouped,
        names,
        replacement,
        token_budget or default_budget(model),
        masks,
        below=shared,
        progress=progress,
    )
    with torch.no_grad():
        sharing = sharing_for(model, max(len(request.ids) - 1 for request in grouped))
        gates = model.gates(heads=heads, ffns=ffns) if replacement is None else nullcontext()
        with gates, shared.run() if shared is not None else nullcontext():
            run.all(sharing)
        recheck(model, run.scores, run.alone)
    return run.result()


def default_budget(model: HookedModel) -> int:
    """Tokens in a forward pass."""
    where = "offloaded" if is_offloaded(model.hf) else "cpu" if model.device.type == "cpu" else "gpu"
    return evaluation_tokens(where, model.vocab_size)


def price_for(model: HookedModel) -> Price:
    """What tokens cost on this model; a forward pass from disk or on a GPU has a higher price of its own."""
    price = Price(keys=4.0 * model.d_model)
    if is_offloaded(model.hf):
        return replace(price, start=4096.0)
    return price if model.device.type == "cpu" else replace(price, start=256.0)


def _grouped(requests: Sequence[tuple[Ids, Ids]], names: Sequence[str]) -> list[Request]:
    """Requests that share only within a document and a length of context: a replacement is aligned by both."""
    keys = [(name, len(context)) for name, (context, _) in zip(names, requests, strict=True)]
    number = {key: n for n, key in enumerate(dict.fromkeys(keys))}
    return [Request(*pair, group=number[key]) for key, pair in zip(keys, requests, strict=True)]


def check_requests(model: HookedModel, requests: Sequence[Request]) -> None:
    """Raises UsageError for inputs longer than the model's context, for ids it does not have, and under a patch."""
    refuse_by_place(model)
    limit = model.max_length
    for number, request in enumerate(requests):
        ids = request.ids
        if limit is not None and len(ids) - 1 > limit:
            raise UsageError(
                f"request {number} feeds the model {len(ids) - 1} tokens, its context holds {limit}: cut the prompt "
                "on the left (tasks do that by themselves)"
            )
        if not 0 <= min(ids) <= max(ids) < model.vocab_size:
            raise UsageError(
                f"request {number} holds the token ids {min(ids)} to {max(ids)}, the model has 0 to "
                f"{model.vocab_size - 1}: was it tokenised for another model?"
            )


def sharing_for(model: HookedModel, longest: int) -> Sharing:
    """Whether inputs of up to `longest` tokens may share prefixes on this model."""

    def score(requests: Sequence[Request], price: Price) -> Float[Tensor, " request"]:
        run = _Run(model, list(requests), [""] * len(requests), None, 4096, {}, price, strict=False)
        run.all(Sharing(None))
        return run.scores

    return find_sharing(model, longest, score)


@dataclass
class _Run:
    """One call's state: what every request has so far."""

    model: HookedModel
    requests: Sequence[Request]
    names: Sequence[str]
    replacement: Replacement | None
    budget: int
    masks: dict[str, Any]
    price: Price | None = None
    below: Below | None = None
    progress: Progress | None = None
    strict: bool = True  # what is no finite number is refused
    done: int = 0
    passes: int = 0
    scores: Float[Tensor, " request"] = field(init=False)
    greedy: Bool[Tensor, " request"] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = torch.zeros(len(self.requests), dtype=torch.float64)
        self.greedy = torch.ones(len(self.requests), dtype=torch.bool)

    def result(self) -> Likelihoods:
        return Likelihoods(self.scores.numpy(), self.greedy.numpy())

    def all(self, sharing: Sharing) -> None:
        """Requests that may share, then those that may not."""
        shared = [n for n, request in enumerate(self.requests) if sharing.allows(len(request.ids) - 1)]
        chosen = set(shared)
        alone = [n for n in range(len(self.requests)) if n not in chosen]
        for numbers, share in ((shared, True), (alone, False)):
            if numbers:
                self.some(numbers, share=share, padding=sharing.padding)

    def some(self, numbers: Sequence[int], *, share: bool, padding: bool) -> None:
        inputs = SortedInputs.of([self.requests[n] for n in numbers], beginnings=padding)
        inputs = replace(inputs, requests=tuple(tuple(numbers[n] for n in held) for held in inputs.requests))
        price = self.price or price_for(self.model)
        plan = make_plan(inputs, price=price, row_limit=min(self.budget, LONGEST_TREE), share=share)
        self.stand(plan, inputs, None, padding=padding)

    def stand(self, trunk: Trunk, inputs: SortedInputs, cache: Any, *, padding: bool) -> None:
        """Run what stands on a trunk whose keys and values are in `cache`."""
        for rows in batch_rows(trunk.rows, token_budget=self.budget, padding=padding):
            batch = collate([grow(self.requests, inputs, row) for row in rows], trunk.end)
            self.forward(batch, expanded(cache, len(rows)))
            self.report(sum(len(inputs.requests[n]) for row in rows for n in range(row.lo, row.hi)))
        for inner in trunk.trunks:
            grown = _empty_cache() if cache is None else expanded(cache, 1)
            self.forward(collate([trunk_tree(self.requests, inputs, inner)], inner.start), grown)
            self.stand(inner, inputs, grown, padding=padding)

    def forward(self, batch: Batch, cache: Any) -> None:
        """Run a batch and give its targets' log-probabilities to their requests."""
        arguments = attention_arguments(self.model, batch)
        if cache is not None:
            arguments["past_key_values"] = cache
        gates = self.gates(batch)  # stand-ins are run here: neither resumed nor kept as what stands below
        with self.standing(batch), gates, logits_at(self.model, batch.rows, batch.nodes):
            tokens = batch.tokens.to(self.model.device)
            logits = self.model.hf(input_ids=tokens, use_cache=cache is not None, **arguments).logits[0]
        places, targets = batch.places.to(logits.device), batch.targets.to(logits.device)
        total, highest = normaliser(logits)
        chosen = logits[places, targets].to(total)
        found = (chosen - total[places]).double().cpu()
        if self.strict and not bool(found.isfinite().all()):
            number = int(batch.requests[int((~found.isfinite()).nonzero()[0])])
            ids = self.requests[number].ids[:-1]
            raise broken(self.model, "the log-likelihood", document=self.names[number], tokens=ids)
        self.scores.index_add_(0, batch.requests, found)
        self.greedy[batch.requests[(chosen < highest[places]).cpu()]] = False

    def standing(self, batch: Batch) -> Any:
        """What stands below the first removed component, where calls share it."""
        self.passes += 1
        if self.below is None:
            return nullcontext()
        return self.below.around(self.model, self.passes - 1, batch.tokens)

    def gates(self, batch: Batch) -> Any:
        """The gates of a batch whose replacement has to be told which document stands where."""
        if self.replacement is None:
            return nullcontext()
        lengths = torch.tensor([len(self.requests[owner].context) for owner in batch.owners])
        return self.placed(Placement(tuple(self.names[owner] for owner in batch.owners), batch.positions, lengths))

    def alone(self, number: int) -> Case:
        """One request, to be run by itself under its gates."""
        name, request = self.names[number], self.requests[number]
        whole = Placement.whole([name], [len(request.context)], len(request.ids) - 1)
        return Case(name, request, self.placed(whole))

    def placed(self, placement: Placement) -> Any:
        """The gates, and what stands in where."""
        reference = None if self.replacement is None else self.replacement.placed(placement)
        return self.model.gates(**self.masks, reference=reference)

    def report(self, finished: int) -> None:
        self.done += finished
        if self.progress is not None:
            self.progress(self.done, len(self.requests))


def normaliser(logits: Float[Tensor, "place vocab"]) -> tuple[Float[Tensor, " place"], Float[Tensor, " place"]]:
    """Log-sum-exp and maximum of every row, at least float32; a few rows at a time, three times faster on a CPU."""
    wide = logits.dtype if logits.dtype.itemsize > 4 else torch.float32
    parts = [(rows.to(wide).logsumexp(-1), rows.amax(-1)) for rows in logits.split(ROWS_AT_ONCE)]
    total, highest = (torch.cat(part) for part in zip(*parts, strict=True))
    return total, highest.to(wide)


def _empty_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def expanded(cache: Any, rows: int) -> Any:
    """A cache of its own for `rows` rows on the same keys and values; None stays None."""
    if cache is None:
        return None
    from transformers.cache_utils import DynamicLayer

    grown = _empty_cache()
    for layer in cache.layers:
        copy = DynamicLayer()
        grown.layers.append(copy)
        if not layer.is_initialized:  # a block that was passed over
            continue
        copy.lazy_initialization(layer.keys, layer.values)
        copy.keys, copy.values = layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1)
    return grown
