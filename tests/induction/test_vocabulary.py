"""Candidates: by merges, scores or counts, and whatever the ids are, the same tokens (Method 1)."""

from __future__ import annotations

import random
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from induction.vocabulary import Candidates, candidate_tokens
from interp.errors import UsageError
from tests.induction.tokenizers import gemma_like, opt_like, pair_merges, unigram, word_level

MERGES = pair_merges(string.ascii_lowercase[:10])  # 100 of them, so that 4 go at each end
FILLER = pair_merges("abcdefg")  # 49


def spelled(tokenizer: object, found: Candidates) -> list[str]:
    return tokenizer.convert_ids_to_tokens(found.ids.tolist())  # type: ignore[attr-defined]


def test_bpe_candidates_are_the_merges_in_their_order_without_the_ends() -> None:
    tokenizer = opt_like(MERGES)
    found = candidate_tokens(tokenizer, len(tokenizer))
    assert spelled(tokenizer, found) == ["".join(pair) for pair in MERGES[4:96]]
    assert (found.rule, found.ranked, len(found)) == ("merges", 100, 92)
    assert found.ids.tolist() != sorted(found.ids.tolist())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_ids_do_not_matter(seed: int) -> None:
    one, other = opt_like(MERGES, seed=3), opt_like(MERGES, seed=seed)
    assert spelled(one, candidate_tokens(one, len(one))) == spelled(other, candidate_tokens(other, len(other)))


def test_letters_behind_the_merges_are_no_candidates() -> None:
    tokenizer = gemma_like(MERGES)
    found = candidate_tokens(tokenizer, len(tokenizer))
    assert spelled(tokenizer, found) == ["".join(pair) for pair in MERGES[4:96]]


def test_a_token_counts_from_the_first_merge_that_makes_it() -> None:
    merges = [("y", "x"), *FILLER[:20], ("x", "yx"), *FILLER[20:], ("x", "y"), ("xy", "x")]
    tokenizer = opt_like(merges)
    wanted = ["".join(pair) for pair in merges[:-1]]  # the last one makes xyx a second time
    assert spelled(tokenizer, candidate_tokens(tokenizer, len(tokenizer))) == wanted[2:-2]


def test_merges_in_either_spelling_and_with_a_prefix() -> None:
    from induction.vocabulary import _by_merges

    vocabulary = {"a": 0, "##b": 1, "ab": 9, "##c": 2, "abc": 5}
    model = {"vocab": vocabulary, "continuing_subword_prefix": "##"}
    assert _by_merges({**model, "merges": [["a", "##b"], ["ab", "##c"]]}) == [9, 5]
    assert _by_merges({**model, "merges": ["a ##b", "ab ##c"]}) == [9, 5]


def test_added_and_special_tokens_are_no_candidates() -> None:
    barred = "".join(MERGES[50])
    tokenizer = opt_like(MERGES, added=[barred, "<extra>"])
    tokenizer.add_special_tokens({"sep_token": "".join(MERGES[51])})
    found = spelled(tokenizer, candidate_tokens(tokenizer, len(tokenizer)))
    assert not {barred, "".join(MERGES[51]), "<extra>", "</s>", "<pad>"} & set(found)
    assert len(found) == 98 - 2 * 3


def test_ids_the_caller_or_the_model_can_not_have_are_left_out() -> None:
    tokenizer = opt_like(MERGES)
    whole = candidate_tokens(tokenizer, len(tokenizer)).ids.tolist()
    assert not {whole[0], whole[7]} & set(
        candidate_tokens(tokenizer, len(tokenizer), never=[whole[0], whole[7]]).ids.tolist()
    )
    assert max(candidate_tokens(tokenizer, 200).ids.tolist()) < 200 < max(whole)


def test_tokens_that_do_not_re_encode_are_left_out() -> None:
    never_reached = ("h", "ij")  # "hij" always becomes "hi" and "j"
    half_a_letter = ("Ġ", "Ã")  # a blank and the first byte of é: no text
    whole_letter = ("Ã", "©")
    tokenizer = opt_like([("h", "i"), ("i", "j"), never_reached, half_a_letter, whole_letter, *FILLER])
    wanted = ["hi", "ij", "Ã©", *("".join(pair) for pair in FILLER)]
    assert spelled(tokenizer, candidate_tokens(tokenizer, len(tokenizer))) == wanted[2:-2]


def test_unigram_candidates_follow_the_scores() -> None:
    scores = [("".join(pair), -float(rank) / 10) for rank, pair in enumerate(MERGES)]
    shuffled = random.Random(1).sample(scores, len(scores))
    tokenizer = unigram(shuffled)
    found = candidate_tokens(tokenizer, len(tokenizer))
    ranked = [piece for piece, _ in scores] + list(string.ascii_lowercase)
    assert (found.rule, found.ranked) == ("scores", 126)
    assert spelled(tokenizer, found) == ranked[5:121]


def test_counts_of_the_user_come_first() -> None:
    tokenizer = opt_like(MERGES)
    ids = tokenizer.convert_tokens_to_ids(["".join(pair) for pair in MERGES[:50]])
    counts = {token: 1000 - 10 * rank for rank, token in enumerate(reversed(ids))} | {ids[0]: 0}
    found = candidate_tokens(tokenizer, len(tokenizer), counts=counts)
    assert found.rule == "counts"
    assert found.ids.tolist() == ids[:0:-1][1:-1]


def test_a_vocabulary_without_frequencies_is_refused_without_counts() -> None:
    words = [a + b for a in "abcde" for b in "fghij"]
    tokenizer = word_level(words)
    with pytest.raises(UsageError, match=r"WordLevel.*counts"):
        candidate_tokens(tokenizer, len(tokenizer))
    assert len(candidate_tokens(tokenizer, len(tokenizer), counts=dict.fromkeys(range(1, 26), 2))) == 23


def test_unusable_counts_and_candidates_are_refused() -> None:
    tokenizer = opt_like(MERGES)
    with pytest.raises(UsageError, match="outside this vocabulary"):
        candidate_tokens(tokenizer, len(tokenizer), counts={10**6: 3})
    with pytest.raises(UsageError, match="0 can be drawn"):
        candidate_tokens(tokenizer, len(tokenizer), counts={0: 3})
    with pytest.raises(UsageError, match="different token ids"):
        Candidates(torch.tensor([4, 5, 4]), "counts", 3)
