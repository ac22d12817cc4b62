"""Tokens as text: every character stands somewhere, once, and none hides another."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from interp.token_display import LONGEST, label, shown, token_texts, visible
from tests.headscope.tiny_model import tiny_model


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_every_character_of_a_text_stands_in_its_tokens(text: str) -> None:
    tokenizer = tiny_model().tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    if "\ufffd" not in text:
        assert "".join(part for part in texts if part != "\ufffd") == text


def test_a_character_of_several_tokens_stands_at_the_last() -> None:
    tokenizer = tiny_model().tokenizer
    ids = tokenizer("a🙂b", add_special_tokens=False)["input_ids"]
    assert token_texts(tokenizer, ids) == ("a", "\ufffd", "\ufffd", "\ufffd", "🙂", "b")


def test_without_a_tokenizer_tokens_are_their_numbers() -> None:
    assert token_texts(None, [5, 0, 61]) == ("5", "0", "61")


@given(st.text(max_size=30))
def test_shown_text_has_nothing_that_hides_or_reorders(text: str) -> None:
    assert not re.search("[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", shown(text))
    assert shown(text) != ""


def test_what_has_no_shape_gets_one() -> None:
    assert shown("\u202eabc\n") == "U+202Eabc⏎" and shown("\r\n\t\x07") == "⏎⇥␇" and shown("") == " "
    assert visible("two\nlines \xad") == "two\nlines U+00AD"


def test_labels_tell_equal_tokens_apart_and_stay_short() -> None:
    assert label(12, " ridge") == "12  ridge" and label(3, "\n") == "3 ⏎"
    assert label(7, "a" * 40) == "7 " + "a" * (LONGEST - 1) + "…" and label(7, "a" * LONGEST) == "7 " + "a" * LONGEST
