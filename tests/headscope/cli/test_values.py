"""Values as they are read from the command line."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscope.cli import values
from headscope.stages.cells import parse_shots
from interp import parse_heads
from interp.errors import UsageError

ODD = ("²", "①", "5²", "٣", "1_000", "0x10", "1e3", "\uff11\uff12", "9" * 5000)


@pytest.mark.parametrize("text", ODD)
def test_only_plain_digits_are_numbers(text: str) -> None:
    """What `str.isdigit` takes and `int` does not, what `int` takes and nobody means, and what is far too long."""
    readers = (
        values.whole("--top"),
        lambda value: values.whole_numbers("--percents", "0,20")(f"0,{value}"),
        lambda value: parse_shots(f"0,{value}"),
        lambda value: parse_heads(f"18.{value}"),
        lambda value: parse_heads(f"L{value}H6"),
    )
    for read in readers:
        with pytest.raises(UsageError) as refused:
            read(text)
        assert len(str(refused.value)) < 400


@given(st.integers(-(10**12), 10**12), st.integers(-5, 5), st.integers(6, 10**6))
def test_a_whole_number_is_within_its_bounds_or_refused(value: int, low: int, high: int) -> None:
    read = values.whole("--n", low, high)
    if low <= value <= high:
        assert read(str(value)) == value
    else:
        with pytest.raises(UsageError, match="--n"):
            read(str(value))


@given(st.text(max_size=30))
def test_whatever_is_typed_is_read_or_refused_in_a_sentence(text: str) -> None:
    readers = (
        values.whole("--n"),
        values.one_of("--n", ("zero", "mean")),
        values.text("--n"),
        values.names("--n", "names"),
        values.path("--n"),
        values.device,
        values.data,
        values.positive("--n", "a number"),
        values.whole_numbers("--n", "0,1"),
        values.checked(parse_shots),
        parse_heads,
    )
    for read in readers:
        try:
            read(text)
        except UsageError as error:
            assert str(error)


@given(st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=5), max_size=6))
def test_a_list_keeps_its_order_and_names_each_once(names: list[str]) -> None:
    assert values.comma_list(" , ".join([*names, "", *names])) == list(dict.fromkeys(names))


@pytest.mark.parametrize(("text", "read"), [("cuda:1", "cuda:1"), ("CPU", "cpu"), (" auto ", "auto")])
def test_devices(text: str, read: str) -> None:
    assert values.device(text) == read


def test_defaults_stay_what_they_are() -> None:
    assert values.whole("--top", 5)(3) == 3 and values.path("-o")(Path("x")) == Path("x")
