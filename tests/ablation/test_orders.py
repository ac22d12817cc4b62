"""Orders of removal: nested, seeded, and each what its name says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation import orders
from ablation.importance import importance
from ablation.orders import iterative_order
from interp.errors import UsageError
from interp.scores import FFNScores, HeadScores
from tests.ablation.documents import documents
from tests.interp.families import load


def heads(values: torch.Tensor) -> HeadScores:
    return HeadScores.from_items("importance", values[None])


def some_heads(seed: int = 0, *, layers: int = 5, width: int = 4) -> HeadScores:
    return heads(torch.rand(layers, width, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), low=st.integers(0, 100), high=st.integers(0, 100))
def test_every_order_is_nested_and_removes_the_floor(seed: int, low: int, high: int) -> None:
    scores = some_heads(seed)
    low, high = min(low, high), max(low, high)
    made = [
        orders.by_scores(scores),
        orders.inverse(scores),
        *orders.random_orders(scores, n=2, seed=seed),
        *orders.layer_matched_orders(scores, n=2, seed=seed),
    ]
    for order in made:
        less, more = order.mask(low).values, order.mask(high).values
        assert int((less == 0).sum()) == low * 20 // 100 == order.removed(low)
        assert bool((more <= less).all())


def test_own_removes_the_lowest_and_inverse_the_highest() -> None:
    scores = heads(torch.arange(20.0).view(5, 4))
    assert orders.by_scores(scores).mask(20).removed() == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert orders.inverse(scores).mask(20).removed() == [(4, 0), (4, 1), (4, 2), (4, 3)]


def test_layer_matched_orders_take_as_many_from_each_layer_and_other_heads() -> None:
    scores = some_heads(3)
    own = orders.by_scores(scores)
    matched = orders.layer_matched_orders(scores)
    assert len(matched) == 20 and len({tuple(order.ranking.order.tolist()) for order in matched}) == 20
    for percent in range(0, 100, 10):
        for order in matched:
            assert torch.equal(order.mask(percent).values.sum(1), own.mask(percent).values.sum(1))


def test_random_orders_depend_on_their_seed_alone() -> None:
    few, more = orders.random_orders(some_heads(), n=3), orders.random_orders(some_heads(1), n=20)
    assert [o.ranking.order.tolist() for o in few] == [o.ranking.order.tolist() for o in more[:3]]
    assert len({tuple(order.ranking.order.tolist()) for order in more}) == 20
    assert [order.seed for order in more] == list(range(20))


def test_random_orders_are_uniform() -> None:
    made = orders.random_orders(some_heads(layers=2, width=2), n=2000)
    first = torch.tensor([int(order.ranking.order[0]) for order in made])
    assert bool(((torch.bincount(first, minlength=4) - 500).abs() < 100).all())


def test_components_that_do_not_exist_are_in_no_order() -> None:
    values = torch.rand(3, 4)
    values[1] = torch.nan
    scores = heads(values)
    controls = (*orders.random_orders(scores, n=3), *orders.layer_matched_orders(scores, n=3))
    for order in (orders.by_scores(scores), *controls):
        assert sorted(order.ranking.order.tolist()) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_the_aggregate_is_the_mean_of_shares() -> None:
    one, two = heads(torch.tensor([[1.0, 3.0]])), heads(torch.tensor([[30.0, 10.0]]))
    torch.testing.assert_close(orders.aggregate_scores([one, two])[0], torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(orders.aggregate_scores([one, two], rule="paper")[0], torch.tensor([[15.5, 6.5]]))
    order = orders.aggregate({"a": one, "b": two}, without="b")
    torch.testing.assert_close(order.ranking.scores, torch.tensor([[0.25, 0.75]]))
    assert order.provenance["task"] == ["a"]


def test_signed_scores_are_shared_out_by_their_size_and_keep_their_sign() -> None:
    """Harmful and helpful heads nearly cancel: divided by their plain sum one task would drown all others."""
    signed, plain = heads(torch.tensor([[3.0, -2.9], [0.1, 0.0]])), heads(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    found, _ = orders.aggregate_scores([signed, plain])
    torch.testing.assert_close(found, torch.tensor([[0.5, -2.9 / 6], [0.1 / 6, 0.0]]) / 2 + 0.125)
    assert orders.aggregate({"a": signed, "b": plain}).mask(25).removed() == [(0, 1)]
    lost = heads(-signed.mean)  # all of a task's scores turned round: the order of that task turns round too
    assert orders.aggregate({"a": lost}).mask(25).removed() == [(0, 0)]


def test_a_task_without_any_score_is_left_out_and_named() -> None:
    one, none, unknown = (heads(torch.tensor([values])) for values in ([1.0, 3.0], [0.0, 0.0], [float("nan")] * 2))
    order = orders.aggregate({"a": one, "zero": none, "unknown": unknown})
    torch.testing.assert_close(order.ranking.scores, torch.tensor([[0.25, 0.75]]))
    assert order.provenance["task"] == ["a"] and order.provenance["left_out"] == ["zero", "unknown"]
    assert "left_out" not in orders.aggregate({"a": one}).provenance
    with pytest.raises(UsageError, match="none of the 2 tasks has a score other than 0"):
        orders.aggregate({"zero": none, "unknown": unknown})


def test_a_head_that_one_task_lacks_has_no_place_in_the_aggregate() -> None:
    partly = heads(torch.tensor([[1.0, float("nan"), 2.0]]))
    order = orders.aggregate({"a": heads(torch.tensor([[3.0, 2.0, 1.0]])), "b": partly})
    assert order.ranking.scores.isnan().tolist() == [[False, True, False]] and order.ranking.order.tolist() == [0, 2]
    ffns = [FFNScores.from_items("importance", torch.tensor([values])) for values in ([1.0, 3.0], [4.0, 4.0])]
    torch.testing.assert_close(
        orders.aggregate({"a": ffns[0], "b": ffns[1]}).ranking.scores, torch.tensor([0.375, 0.625])
    )


def group_scores(values: torch.Tensor, width: int = 3) -> HeadScores:
    return HeadScores.from_items(
        "importance", values[None], provenance={"heads_per_group": width}, n_kv_heads=values.shape[1]
    )


def test_orders_of_kv_groups_remove_all_heads_of_a_group() -> None:
    scores = group_scores(torch.tensor([[4.0, 1.0], [3.0, 2.0]]))
    own = orders.by_scores(scores)
    assert own.kind == "kv_group" and own.removed(50) == 2
    assert own.mask(50).removed() == [(0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (1, 5)]
    for order in (orders.inverse(scores), *orders.random_orders(own, n=3), *orders.layer_matched_orders(own, n=3)):
        assert order.kind == "kv_group" and order.mask(25).values.shape == (2, 6)
        assert len(order.mask(25).removed()) == 3
    together = orders.aggregate({"a": scores, "b": group_scores(torch.ones(2, 2))})
    assert together.kind == "kv_group" and together.mask(25).removed() == [(0, 3), (0, 4), (0, 5)]


def test_an_even_order_takes_one_from_every_layer_before_a_second_from_any() -> None:
    values = torch.rand(5, 4, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [[1.0], [9.0], [2.0], [1.0], [1.0]]
    )
    values[3] = torch.nan
    even = orders.even_over_layers(heads(values))
    places = even.ranking.order.view(4, 4)
    for turn, taken in enumerate(places):
        assert sorted((taken // 4).tolist()) == [0, 1, 2, 4]
        assert [int(place % 4) for place in sorted(taken.tolist())] == values[[0, 1, 2, 4]].argsort(1)[:, turn].tolist()
        scores = values.flatten()[taken]
        assert bool((scores.diff() >= 0).all())
    assert even.name == "even" and orders.even_over_layers(group_scores(torch.rand(2, 2))).kind == "kv_group"
    with pytest.raises(UsageError, match="one FFN"):
        orders.even_over_layers(FFNScores.from_items("importance", torch.rand(2, 5)))


def test_groups_can_be_removed_by_name() -> None:
    model = load("llama")
    assert orders.without_groups(model, [(1, 1)]).removed() == [(1, 2), (1, 3)]
    for group in ((1, 2), (2, 0), (0, -1)):
        with pytest.raises(UsageError, match="does not exist: the model has layers 0-1 and groups 0-1"):
            orders.without_groups(model, [group])


@pytest.mark.parametrize("kind", ["random", "layer_matched"])
def test_every_seed_is_a_draw_of_its_own(kind: str) -> None:
    """Draw k of seed s is draw 0 of seed s + k, under that seed's name: stored curves are told apart by it."""
    make = orders.random_orders if kind == "random" else orders.layer_matched_orders
    scores = some_heads()
    found = make(scores, n=3, seed=40)
    assert [order.seed for order in found] == [40, 41, 42]
    for k, order in enumerate(found):
        assert torch.equal(order.ranking.order, make(scores, n=1, seed=40 + k)[0].ranking.order)
    assert not torch.equal(found[0].ranking.order, make(scores, n=1, seed=0)[0].ranking.order)


def test_an_iterative_order_scores_what_is_left_again() -> None:
    model, docs = load("gpt2"), documents()
    order = iterative_order(model, docs, component="head", percents=(0, 25, 50))
    first = importance(model, docs).heads().ranking().order.tolist()
    found = order.ranking.order.tolist()
    assert sorted(found) == list(range(8)) and found[:2] == first[:2]
    mask = torch.ones(8)
    mask[found[:2]] = 0
    with model.gates(heads=mask.view(2, 4)):
        again = importance(model, docs).heads().mean.flatten()
    left = [head for head in again.argsort().tolist() if head not in found[:2]]
    assert found[2:4] == left[:2]


def test_ffns_have_an_iterative_order_too() -> None:
    order = iterative_order(load("gpt2"), documents(), component="ffn", percents=(0, 50))
    assert order.kind == "ffn" and sorted(order.ranking.order.tolist()) == [0, 1]


def test_what_makes_no_sense_is_refused() -> None:
    ffns = FFNScores.from_items("importance", torch.rand(2, 5))
    with pytest.raises(UsageError, match="one FFN"):
        orders.layer_matched_orders(ffns)
    with pytest.raises(UsageError, match="at least one task besides"):
        orders.aggregate({"a": some_heads()}, without="a")
    with pytest.raises(UsageError, match="different models"):
        orders.aggregate_scores([some_heads(), some_heads(layers=2)])
    with pytest.raises(UsageError, match="share"):
        orders.aggregate_scores([some_heads()], rule="median")
    with pytest.raises(UsageError, match="iterative"):
        iterative_order(load("gpt2"), documents(), component="neuron")


def test_scores_to_aggregate_are_given_by_task() -> None:
    scores = FFNScores.from_items("importance", torch.rand(3, 2))
    with pytest.raises(UsageError, match=r"scores are given by task, for example \{'copa': .* type list"):
        orders.aggregate([scores, scores])
