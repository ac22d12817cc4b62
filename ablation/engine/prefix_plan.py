"""Which tokens are run together: requests that share a prefix run it once.

1. A request is a context and a continuation; what the model is fed is both without the last token. Sorted, inputs that
   share a prefix stand side by side, and an input that begins another one comes along for nothing.
2. A set of inputs is a tree. It can be run as one row (every token once, each attending to its own ancestors), as
   one row a branch (the trunk again in each), or with the trunk run first and kept as a key-value cache.
3. The cheapest of the three is taken, for the whole and, recursively, for every branch. Prices are in tokens: a token
   costs 1 and, for each key it attends to, a share; a forward pass of its own costs a constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from interp.errors import UsageError

Ids = tuple[int, ...]
MINIMUM_TRUNK = 16  # a shorter one is never worth a forward pass
MAXIMUM_LEVELS = 40  # of branches within branches; deeper ones are run one by one


@dataclass(frozen=True)
class Request:
    """Score `continuation` behind `context`. Requests of two groups share nothing."""

    context: Ids
    continuation: Ids
    group: int = 0

    def __post_init__(self) -> None:
        if not self.context or not self.continuation:
            raise UsageError(
                f"A request has {len(self.context)} tokens of context and {len(self.continuation)} of continuation; "
                "it needs one of each at least (an empty prompt is given the BOS token)."
            )

    @property
    def ids(self) -> Ids:
        """Context and continuation."""
        return self.context + self.continuation


@dataclass(frozen=True)
class Price:
    """What running tokens costs, in tokens.

    keys: how many attended keys cost as much as the token itself. Fitted on SmolLM2-135M (576 wide) at 16 to 1,536
    tokens on two cores: a token's time doubles at 2,300 masked keys, four times the width, and a forward pass has a
    constant of 32 tokens. Causal attention without a mask visits half of the keys.
    """

    keys: float
    start: float = 32.0

    def tokens(self, new: int, cached: int, *, masked: bool) -> float:
        """The price of `new` tokens behind `cached` ones."""
        visited = new + cached if masked else new / 2
        return new * (1.0 + visited / self.keys)


@dataclass(frozen=True)
class Row:
    """Inputs lo..hi-1 of the sorted ones from position `start` on, in one row."""

    lo: int
    hi: int
    start: int
    size: int
    chain: bool


@dataclass(frozen=True)
class Trunk:
    """Positions start..end-1 that inputs lo..hi-1 share, run once; `rows` and `trunks` stand on its cache.

    The whole plan is a trunk without tokens.
    """

    lo: int
    hi: int
    start: int
    end: int
    rows: tuple[Row, ...]
    trunks: tuple[Trunk, ...]


@dataclass(frozen=True)
class SortedInputs:
    """Distinct inputs in order. `shared[i]` = length of the prefix that i has in common with i-1.

    `requests[i]` are the numbers of the requests whose input is i or a beginning of it.
    """

    inputs: tuple[Int[np.ndarray, "_"], ...]
    shared: Int[np.ndarray, "input"]
    requests: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, requests: Sequence[Request], *, beginnings: bool = True) -> SortedInputs:
        """Sort, put beginnings (or only equals) with what they begin, and measure what neighbours share."""
        ids = [np.asarray(request.ids[:-1], dtype=np.int64) for request in requests]
        keys = [(request.group, array.astype(">u4").tobytes()) for request, array in zip(requests, ids, strict=True)]
        inputs: list[np.ndarray] = []
        shared: list[int] = []
        members: list[list[int]] = []
        group = None
        for n in sorted(range(len(keys)), key=keys.__getitem__):
            same = group == requests[n].group
            common = common_prefix(inputs[-1], ids[n]) if same else 0
            if same and common == len(inputs[-1]) and (beginnings or common == len(ids[n])):
                inputs[-1] = ids[n]
                members[-1].append(n)
            else:
                inputs.append(ids[n])
                shared.append(common)
                members.append([n])
            group = requests[n].group
        return cls(tuple(inputs), np.asarray(shared, dtype=np.int64), tuple(map(tuple, members)))


def common_prefix(left: Int[np.ndarray, "left"], right: Int[np.ndarray, "right"]) -> int:
    """Length of the common beginning."""
    shorter = min(len(left), len(right))
    differ = np.flatnonzero(left[:shorter] != right[:shorter])
    return int(differ[0]) if differ.size else shorter


@dataclass(frozen=True)
class Option:
    """A way to run some inputs, and its price."""

    price: float
    rows: tuple[Row, ...]
    trunks: tuple[Trunk, ...]


@dataclass
class Planner:
    """Finds the cheapest plan; `row_limit` is the longest row that is not a single chain of tokens."""

    sorted_inputs: SortedInputs
    price: Price
    row_limit: int
    found: dict[tuple[int, int, int], Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lengths = np.asarray([len(array) for array in self.sorted_inputs.inputs], dtype=np.int64)
        own = self.lengths - self.sorted_inputs.shared
        self.cumulative = np.concatenate([[0], np.cumsum(own)])

    def plan(self) -> Trunk:
        """The plan for all inputs. Groups, and inputs without a common beginning, stay apart."""
        count = len(self.lengths)
        option = self.joined(self.branches(0, count, 0), 0, 0)
        return Trunk(0, count, 0, 0, option.rows, option.trunks)

    def best(self, lo: int, hi: int, start: int, level: int) -> Option:
        """The cheapest way to run inputs lo..hi-1, whose first `start` positions are cached."""
        key = (lo, hi, start)
        if key not in self.found:
            self.found[key] = min(self.options(lo, hi, start, level), key=lambda option: option.price)
        return self.found[key]

    def options(self, lo: int, hi: int, start: int, level: int) -> Iterable[Option]:
        row = self.row(lo, hi, start)
        if row.chain or row.size <= self.row_limit:
            yield Option(self.price.tokens(row.size, start, masked=start > 0 or not row.chain), (row,), ())
        if row.chain:
            return
        if level >= MAXIMUM_LEVELS:
            yield self.one_by_one(lo, hi, start)
            return
        end = int(self.sorted_inputs.shared[lo + 1 : hi].min())
        parts = self.branches(lo, hi, end)
        yield self.joined(parts, start, level)
        if end - start >= MINIMUM_TRUNK:
            inner = self.joined(parts, end, level)
            trunk = Trunk(lo, hi, start, end, inner.rows, inner.trunks)
            own = self.price.tokens(end - start, start, masked=start > 0)
            yield Option(own + inner.price + 2 * self.price.start, (), (trunk,))

    def row(self, lo: int, hi: int, start: int) -> Row:
        size = int(self.lengths[lo] - start + self.cumulative[hi] - self.cumulative[lo + 1])
        return Row(lo, hi, start, size, chain=hi - lo == 1)

    def branches(self, lo: int, hi: int, end: int) -> list[tuple[int, int]]:
        """The parts of lo..hi-1 that go different ways at position `end`."""
        cuts = np.flatnonzero(self.sorted_inputs.shared[lo + 1 : hi] <= end) + lo + 1
        edges = [lo, *cuts.tolist(), hi]
        return [(a, b) for a, b in pairwise(edges) if a < b]

    def joined(self, parts: Iterable[tuple[int, int]], start: int, level: int) -> Option:
        """The parts, each at its cheapest."""
        options = [self.best(lo, hi, start, level + 1) for lo, hi in parts]
        return Option(
            sum(option.price for option in options),
            tuple(row for option in options for row in option.rows),
            tuple(trunk for option in options for trunk in option.trunks),
        )

    def one_by_one(self, lo: int, hi: int, start: int) -> Option:
        rows = tuple(self.row(n, n + 1, start) for n in range(lo, hi))
        return Option(sum(self.price.tokens(row.size, start, masked=start > 0) for row in rows), rows, ())


def make_plan(inputs: SortedInputs, *, price: Price, row_limit: int, share: bool = True) -> Trunk:
    """How to run the inputs; without `share` each has a row of its own from position 0 on."""
    planner = Planner(inputs, price, row_limit)
    if share:
        return planner.plan()
    count = len(inputs.inputs)
    return Trunk(0, count, 0, 0, planner.one_by_one(0, count, 0).rows, ())
