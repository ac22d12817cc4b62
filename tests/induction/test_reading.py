"""Stored batches are taken for themselves alone, and a seed decides every draw and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch

import induction
from induction.copying import Copying
from induction.positional import PreviousToken
from induction.prefix_matching import PrefixMatching
from induction.reading import Reader, read
from induction.sequences import SequenceGroup
from induction.wrong_token import WrongToken
from interp.attention.rows import FactoredRows
from interp.errors import HeadscopeError
from interp.model import HookedModel
from tests.induction import tiny

MODEL = "llama"


def kept(model: HookedModel, group: SequenceGroup, reader: Reader[Any], units: tiny.Kept | None) -> dict[str, Any]:
    read(model, [group], [reader], units=units)
    return reader.export()


OTHERS: dict[str, tuple[Callable[[HookedModel], Reader[Any]], dict[str, Any]]] = {
    "tokens": (PreviousToken, {"tokens": torch.randint(7, 90, (2, 25), generator=torch.Generator().manual_seed(1))}),
    "length": (PreviousToken, {"length": 9}),  # distances up to it
    "repeats": (WrongToken, {"repeats": 2}),  # four blocks of 6 are two of 12
    "indices": (lambda model: Copying(model, null_values=3), {"indices": (5, 6)}),  # each has its own random tokens
}


@pytest.mark.parametrize("field", OTHERS)
def test_a_stored_batch_is_not_taken_for_one_that_differs_in_a_field(field: str) -> None:
    """Were the field not part of the key, the second batch would get the first one's values."""
    model, (make, change) = tiny.model(MODEL), OTHERS[field]
    drawn = tiny.unrepeated(model, length=24) if field == "indices" else tiny.sequences(model, length=6, repeats=4)
    (group,) = drawn
    other, units = replace(group, **change), tiny.Kept()
    first, again = (kept(model, group, make(model), units) for _ in range(2))
    second, wanted = kept(model, other, make(model), units), kept(model, other, make(model), None)
    assert len(units) == 2
    assert all(torch.equal(again[name], first[name]) for name in first)
    assert second.keys() == wanted.keys() and all(torch.equal(second[name], wanted[name]) for name in wanted)
    assert any(first[name].shape != wanted[name].shape or not first[name].equal(wanted[name]) for name in wanted)


def test_readers_give_themselves_the_names_that_units_are_filed_under() -> None:
    """A class may be renamed without losing what was stored; a reader without a name goes by its class."""

    class Renamed(PreviousToken):
        pass

    class Nameless(Reader[SequenceGroup]):
        pass

    model = tiny.model(MODEL)
    assert Renamed(model).settings == PreviousToken(model).settings
    assert Nameless(model).settings == {"reader": "Nameless"}
    named = [PrefixMatching, PreviousToken, WrongToken, Copying, induction.positional.DuplicateToken]
    names = [cls(model).settings["reader"] for cls in [*named, induction.direct_effect.DirectEffect]]
    assert len(set(names)) == len(names)


def nulls_of_copying(model: HookedModel, *, seed: int, indices: tuple[int, ...] = (0, 1)) -> dict[str, torch.Tensor]:
    (group,) = tiny.unrepeated(model)
    reader = Copying(model, attended=True, null_values=8, attended_values=8, seed=seed)
    read(model, [replace(group, indices=indices)], [reader])
    return {name: reader.items(name) for name in ("argmax", "attended", "argmax_null", "attended_null")}


def test_the_random_tokens_of_copying_are_the_seeds_and_the_sequences_own() -> None:
    model = tiny.model(MODEL)
    first, again, other = (nulls_of_copying(model, seed=seed) for seed in (0, 0, 1))
    elsewhere = nulls_of_copying(model, seed=0, indices=(1, 2))
    for name, value in first.items():
        assert torch.equal(value, again[name])
        drawn = name.endswith("null")
        assert torch.equal(value, other[name]) != drawn and torch.equal(value, elsewhere[name]) != drawn


def test_another_seed_draws_other_nulls_for_the_same_scores() -> None:
    """The same sequences under two seeds: no score moves, every null does."""
    model = tiny.model(MODEL)
    repeated = tiny.sequences(model, sequences=5)
    twin = induction.sequences.unrepeated_twin(model, repeated)
    found = [
        induction.induction_scores(model, replace(repeated, seed=seed), replace(twin, seed=seed), draws=60)
        for seed in (0, 0, 1)
    ]
    for first, again, moved in zip(*(each.scores for each in found), strict=True):
        if first.name == "ov_copying":
            continue  # its seed draws the tokens that it is made of
        assert torch.equal(first.mean, again.mean) and torch.equal(first.mean, moved.mean)
        for one, same, another in zip(first.nulls, again.nulls, moved.nulls, strict=True):
            assert torch.equal(one.mean, same.mean) and torch.equal(one.p, same.p)
            assert not torch.equal(one.mean, another.mean), (first.title, one.name)


def test_rows_that_do_not_sum_to_1_end_the_run() -> None:
    """All a hundredth too low: each probability still lies in [0, 1]."""
    model = tiny.model(MODEL)
    (group,) = tiny.sequences(model, length=6, repeats=4)
    block = FactoredRows.block
    with (
        mock.patch.object(FactoredRows, "block", lambda rows, start, stop: 0.99 * block(rows, start, stop)),
        pytest.raises(HeadscopeError, match=r"the last rows of attention of layer 0 sum to 1 only within 0\.01"),
    ):
        read(model, [group], [PreviousToken(model)])
