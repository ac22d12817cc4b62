"""Plans and packing: whatever the plan, every token is scored once, behind exactly the tokens before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.engine.packing import Batch, batch_rows, collate, grow, trunk_tree
from ablation.engine.prefix_plan import Ids, Price, Request, SortedInputs, Trunk, make_plan
from interp.errors import UsageError

EVERYDAY = Price(keys=2304.0)
PRICES = (EVERYDAY, Price(keys=1e9, start=1e9), Price(keys=1e9, start=-1e9), Price(keys=3.0, start=0.0))


def batches(requests: list[Request], inputs: SortedInputs, trunk: Trunk, seen: tuple[int, ...]) -> Iterator[Batch]:
    """Every batch of a plan, each checked to stand behind the tokens that `seen` says are cached."""
    for rows in batch_rows(trunk.rows, token_budget=64):
        batch = collate([grow(requests, inputs, row) for row in rows], trunk.end)
        check(batch, requests, seen)
        yield batch
    for inner in trunk.trunks:
        batch = collate([trunk_tree(requests, inputs, inner)], inner.start)
        check(batch, requests, seen)
        yield batch
        yield from batches(requests, inputs, inner, (*seen, *batch.tokens[0].tolist()))


def check(batch: Batch, requests: list[Request], seen: tuple[int, ...]) -> None:
    """What each target's position sees, in the order of positions, is the request up to there."""
    assert batch.cached == len(seen)
    for place, target, request in zip(batch.places, batch.targets, batch.requests, strict=True):
        row, node = int(batch.rows[place]), int(batch.nodes[place])
        if batch.visible is None:
            own = range(node + 1)
        else:
            assert batch.visible[row, node, : batch.cached].all()
            own = batch.visible[row, node, batch.cached :].nonzero().flatten().tolist()
        places = {int(batch.positions[row, other]): int(batch.tokens[row, other]) for other in own}
        prefix = (*seen, *(places[position] for position in sorted(places)))
        ids = requests[request].ids
        assert len(own) == len(places) and sorted(places) == list(range(len(seen), len(prefix)))
        assert prefix == ids[: len(prefix)] and int(target) == ids[len(prefix)]
        assert batch.owners[row] == request or requests[batch.owners[row]].group == requests[request].group


def run(requests: list[Request], price: Price, *, row_limit: int = 1000, share: bool = True) -> list[Batch]:
    """All batches, having checked that every token of every continuation is scored exactly once."""
    inputs = SortedInputs.of(requests)
    plan = make_plan(inputs, price=price, row_limit=row_limit, share=share)
    found = list(batches(requests, inputs, plan, ()))
    counts = np.bincount(np.concatenate([batch.requests.numpy() for batch in found]), minlength=len(requests))
    assert counts.tolist() == [len(request.continuation) for request in requests]
    return found


def size(found: list[Batch]) -> int:
    return sum(batch.tokens.numel() for batch in found)


ids = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
stems = st.sampled_from([(), (1, 2) * 9, (1, 2) * 9 + (0,) * 18])
parts = st.lists(st.tuples(stems, ids, ids, st.integers(0, 1)), min_size=1, max_size=14)


@settings(deadline=None)
@given(parts, st.sampled_from(PRICES), st.sampled_from([1, 20, 1000]), st.booleans())
def test_every_token_is_scored_once_behind_its_prefix(
    drawn: list[tuple[Ids, Ids, Ids, int]], price: Price, row_limit: int, share: bool
) -> None:
    requests = [Request((*stem, *context), continuation, group) for stem, context, continuation, group in drawn]
    run(requests, price, row_limit=row_limit, share=share)


def test_choices_of_a_document_run_its_context_once() -> None:
    context = tuple(range(100))
    found = run([Request(context, (200 + n, 300, 301)) for n in range(4)], EVERYDAY)
    assert [tuple(batch.tokens.shape) for batch in found] == [(1, 100 + 4 * 2)]


def test_one_token_choices_share_one_plain_row() -> None:
    found = run([Request((1, 2, 3), (4,)), Request((1, 2, 3), (5,)), Request((1, 2, 3), (4, 6))], EVERYDAY)
    assert [batch.tokens.tolist() for batch in found] == [[[1, 2, 3, 4]]]
    assert found[0].visible is None


def test_fixed_demonstrations_run_once_and_passages_within_them() -> None:
    demonstrations, passages = tuple(range(600)), (tuple(range(1000, 1300)), tuple(range(2000, 2300)))
    requests = [
        Request((*demonstrations, *passage, *range(q, q + 60)), (choice, 9))
        for passage in passages
        for q in range(3000, 4800, 100)
        for choice in (1, 2)
    ]
    found = run(requests, EVERYDAY)
    once = 600 + 2 * 300 + 36 * 62
    assert once <= size(found) < 1.1 * once
    assert max(batch.cached for batch in found) == 900


def test_a_tree_longer_than_a_row_stands_on_a_trunk() -> None:
    requests = [Request(tuple(range(80)), (100 + n, *range(200, 220))) for n in range(10)]
    assert max(batch.tokens.shape[1] for batch in run(requests, EVERYDAY, row_limit=100)) == 80


def test_groups_share_nothing() -> None:
    requests = [Request((1, 2, 3, 4), (5, 6), group) for group in (0, 1)]
    assert size(run(requests, EVERYDAY)) == 2 * size(run(requests[:1], EVERYDAY))


def test_deeply_nested_branches_do_not_exhaust_the_stack() -> None:
    requests = [Request((1,) * depth, (2, 3)) for depth in range(1, 200)]
    run(requests, EVERYDAY, row_limit=10)


def test_without_padding_only_equal_lengths_share_a_batch() -> None:
    inputs = SortedInputs.of([Request((1, 2), (3,) * n) for n in (1, 2, 2, 3)], beginnings=False)
    plan = make_plan(inputs, price=EVERYDAY, row_limit=9, share=False)
    found = [[row.size for row in rows] for rows in batch_rows(plan.rows, token_budget=100, padding=False)]
    assert found == [[4], [3], [2]]


@pytest.mark.parametrize("pair", [((), (1,)), ((1,), ())])
def test_a_request_needs_both_parts(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="one of each at least"):
        Request(*pair)
