"""Sequences repeat, do not depend on how many are drawn, and know their targets (Method 1)."""

from __future__ import annotations

import dataclasses
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from transformers import LlamaConfig, LlamaForCausalLM

import interp
from induction.sequences import (
    RepeatedSequences,
    SequenceGroup,
    candidates_of,
    earlier_copies,
    fitting_length,
    repeated_sequences,
    unrepeated_twin,
)
from induction.vocabulary import Candidates, candidate_tokens
from interp.errors import UsageError
from interp.model import HookedModel
from tests.induction.tokenizers import opt_like, pair_merges

BOS = 2
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def model() -> HookedModel:
    """A tiny Llama with 1,296 merges and a context of 900."""
    tokenizer = opt_like(pair_merges(string.ascii_letters[:36]))
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=900, **SIZES)
    return interp.load_model(LlamaForCausalLM(config), tokenizer=tokenizer, check=False)


@pytest.fixture(scope="module")
def pool(model: HookedModel) -> Candidates:
    return candidate_tokens(model.tokenizer, model.vocab_size)


@pytest.fixture(scope="module")
def without_bos(model: HookedModel) -> HookedModel:
    tokenizer = opt_like(pair_merges(string.ascii_letters[:36]))
    tokenizer.bos_token = None
    return dataclasses.replace(model, tokenizer=tokenizer)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(2, 40), repeats=st.integers(1, 5), seed=st.integers(0, 10**9))
def test_a_block_of_distinct_candidates_repeats(
    model: HookedModel, pool: Candidates, length: int, repeats: int, seed: int
) -> None:
    drawn = repeated_sequences(model, length=length, repeats=repeats, sequences=3, seed=seed, candidates=pool)
    assert drawn.tokens.shape == (3, 1 + length * repeats)
    assert drawn.tokens[:, 0].tolist() == [BOS] * 3
    blocks = drawn.tokens[:, 1:].reshape(3, repeats, length)
    assert (blocks == blocks[:, :1]).all()
    assert all(len(set(row)) == length for row in blocks[:, 0].tolist())
    assert torch.isin(blocks, pool.ids).all()


@settings(max_examples=40, deadline=None)
@given(length=st.integers(2, 12), repeats=st.integers(1, 5))
def test_targets_are_all_pairs_of_equal_content(
    model: HookedModel, pool: Candidates, length: int, repeats: int
) -> None:
    (group,) = repeated_sequences(model, length=length, repeats=repeats, sequences=2, candidates=pool)
    equal = group.tokens[1][:, None] == group.tokens[1][None, :]
    wanted = (equal & group.content[:, None] & group.content[None, :]).tril(-1).nonzero()
    assert torch.equal(torch.stack(group.targets.duplicate_pairs, 1), wanted)
    assert torch.equal(torch.stack(group.targets.prefix_pairs, 1), wanted + torch.tensor([0, 1]))
    assert len(wanted) == length * repeats * (repeats - 1) // 2
    assert group.targets.query_positions.tolist() == list(range(1 + length, 1 + length * repeats))


@given(tokens=st.lists(st.integers(0, 5), min_size=1, max_size=20), hidden=st.sets(st.integers(0, 19)))
def test_earlier_copies_equal_the_double_loop(tokens: list[int], hidden: set[int]) -> None:
    content = torch.tensor([position not in hidden for position in range(len(tokens))])
    found = earlier_copies(torch.tensor(tokens), content)
    loop = [
        (i, p)
        for i in range(len(tokens))
        for p in range(i)
        if tokens[p] == tokens[i] and p not in hidden and i not in hidden
    ]
    assert list(zip(found.queries.tolist(), found.matches.tolist(), strict=True)) == loop


@settings(max_examples=20, deadline=None)
@given(few=st.integers(1, 5), more=st.integers(0, 5), seed=st.integers(0, 10**9), repeats=st.sampled_from([1, 4]))
def test_a_sequence_does_not_depend_on_how_many_are_drawn(
    model: HookedModel, pool: Candidates, few: int, more: int, seed: int, repeats: int
) -> None:
    some = repeated_sequences(model, repeats=repeats, sequences=few, seed=seed, candidates=pool)
    all_of_them = repeated_sequences(model, repeats=repeats, sequences=few + more, seed=seed, candidates=pool)
    assert torch.equal(some.tokens, all_of_them.tokens[:few])


def test_streams_of_seeds_protocols_and_repeats_differ(model: HookedModel, pool: Candidates) -> None:
    def first(**options: object) -> list[int]:
        drawn = repeated_sequences(model, length=30, sequences=1, candidates=pool, **options)  # type: ignore[arg-type]
        return drawn.tokens[0, 1:31].tolist()

    streams = [first(), first(seed=1), first(protocol="paper"), first(repeats=1)]
    assert all(one != other for index, one in enumerate(streams) for other in streams[:index])
    assert first() == first()


def test_the_draw_is_the_same_on_every_machine(model: HookedModel) -> None:
    """A fixed answer: a change of the stream would change every published number."""
    numbers = Candidates(torch.arange(100, 1100), "counts", 1000)
    drawn = repeated_sequences(model, length=5, sequences=2, candidates=numbers)
    assert drawn.tokens[:, :6].tolist() == [[2, 862, 198, 627, 592, 1081], [2, 328, 753, 779, 252, 632]]


def test_the_quick_protocol(model: HookedModel) -> None:
    repeated, single = repeated_sequences(model), repeated_sequences(model, repeats=1)
    assert (len(repeated), repeated.lengths, repeated.tokens.shape) == (20, (50,), (20, 201))
    assert (len(single), single.lengths, single.tokens.shape) == (20, (50,), (20, 201))
    assert (repeated.groups[0].block, single.groups[0].block) == (50, 200)
    assert len(single.groups[0].targets.queries) == 0
    assert not repeated.groups[0].content[0] and repeated.groups[0].content[1:].all()
    assert repeated.candidates.rule == "merges"


def test_the_paper_protocol(model: HookedModel, pool: Candidates) -> None:
    repeated = repeated_sequences(model, protocol="paper", candidates=pool)
    single = repeated_sequences(model, protocol="paper", repeats=1, candidates=pool)
    assert repeated.lengths == single.lengths == tuple(range(25, 224, 2))
    assert len(repeated) == len(single) == 100
    for group, alone in zip(repeated, single, strict=True):
        assert group.tokens.shape == alone.tokens.shape == (1, 1 + 4 * group.length)
        assert group.indices == alone.indices == ((group.length - 25) // 2,)
        assert len(set(alone.tokens[0].tolist())) == alone.tokens.shape[1]
    with pytest.raises(UsageError, match=r"100 lengths \(25, 27, 29, "):
        repeated.tokens  # noqa: B018


def test_without_bos_a_random_token_outside_the_block_stands_in_front(
    without_bos: HookedModel, pool: Candidates
) -> None:
    (group,) = repeated_sequences(without_bos, length=40, sequences=30, candidates=pool)
    fronts = group.tokens[:, 0]
    assert group.front == "random"
    assert len(fronts.unique()) > 1 and torch.isin(fronts, pool.ids).all()
    assert not (group.tokens[:, 1:] == fronts[:, None]).any()
    assert without_bos.tokenizer.eos_token_id not in fronts.tolist()


def test_control_ids_of_the_configuration_are_never_drawn(model: HookedModel, pool: Candidates) -> None:
    control = pool.ids[100:103].tolist()
    hf = LlamaForCausalLM(LlamaConfig(vocab_size=model.vocab_size, eos_token_id=control, **SIZES))
    drawn = repeated_sequences(dataclasses.replace(model, hf=hf), sequences=1)
    assert not set(control) & set(drawn.candidates.ids.tolist())
    assert len(drawn.candidates) < len(pool)


def test_candidates_are_made_once_and_anew_when_the_tokenizer_changes(without_bos: HookedModel) -> None:
    model = dataclasses.replace(without_bos)
    first = candidates_of(model)
    with pytest.MonkeyPatch.context() as held:
        held.setattr("induction.sequences.candidate_tokens", None)  # made once
        assert torch.equal(candidates_of(model).ids, first.ids)
    special = int(first.ids[3])
    model.tokenizer.add_special_tokens({"sep_token": model.tokenizer.convert_ids_to_tokens(special)})
    try:
        assert special not in candidates_of(model).ids
    finally:
        model.tokenizer.sep_token = None
    assert special in first.ids


def test_writing_to_what_was_handed_out_changes_no_later_draw(model: HookedModel) -> None:
    first = repeated_sequences(model, length=10, sequences=2)
    wanted = first.tokens.clone()
    first.candidates.ids[:] = first.candidates.ids.flip(0)
    candidates_of(model).ids.zero_()
    first.tokens.zero_()
    assert torch.equal(repeated_sequences(model, length=10, sequences=2).tokens, wanted)


@pytest.mark.parametrize("name", ["length", "repeats", "sequences", "seed"])
@pytest.mark.parametrize("value", [5.0, 5.5, True, "5"])
def test_sizes_are_whole_numbers(monkeypatch: pytest.MonkeyPatch, model: HookedModel, name: str, value: object) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    with pytest.raises(UsageError, match=f"{name} is a whole number, got '{value}'"):
        repeated_sequences(model, **{name: value})  # type: ignore[arg-type]


def test_batches_are_the_group_in_parts(model: HookedModel, pool: Candidates) -> None:
    (group,) = repeated_sequences(model, length=10, sequences=7, candidates=pool)
    parts = list(group.batches(max_tokens=3 * 41 + 40))
    assert [part.indices for part in parts] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert torch.equal(torch.cat([part.tokens for part in parts]), group.tokens)
    assert len(list(group.batches(max_tokens=1))) == 7


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"length": 225}, r"1 \+ 4 x 225 = 901 tokens.*context of 900.*length=224"),
        ({"length": 1}, "2 tokens or more.*length=1"),
        ({"repeats": 0}, "repeats=0"),
        ({"sequences": 0}, "sequences=0"),
        ({"protocol": "paper", "sequences": 101}, "sequences=101.*1 to 100"),
    ],
)
def test_impossible_requests_are_refused(
    model: HookedModel, pool: Candidates, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        repeated_sequences(model, candidates=pool, **options)  # type: ignore[arg-type]


def test_too_few_candidates_are_refused(model: HookedModel, without_bos: HookedModel) -> None:
    few = Candidates(torch.arange(100, 140), "counts", 40)
    with pytest.raises(UsageError, match="needs 41 distinct tokens, but only 40"):
        repeated_sequences(model, length=41, candidates=few)
    with pytest.raises(UsageError, match="needs 41 distinct tokens, but only 40"):
        repeated_sequences(without_bos, length=40, candidates=few)
    assert repeated_sequences(model, length=40, candidates=few).tokens.shape == (20, 161)


def test_the_longest_length_that_fits_is_told(model: HookedModel, without_bos: HookedModel) -> None:
    """Of the twin without repeats, too, which other scores read: one piece of advice suffices."""
    few = Candidates(torch.arange(100, 141), "counts", 41)
    for hooked, length in ((model, 50), (without_bos, 50), (model, 5000)):
        with pytest.raises(UsageError, match=r"length=10 \(--length 10\) or less"):
            repeated_sequences(hooked, length=length, candidates=few)
        repeated = repeated_sequences(hooked, length=10, candidates=few)
        assert unrepeated_twin(hooked, repeated).tokens.shape == (20, 41)
        with pytest.raises(UsageError, match=r"without repeats, 4 blocks long, needs 4[45] distinct.*--length 10\)"):
            unrepeated_twin(hooked, repeated_sequences(hooked, length=11, candidates=few))
    fewer = Candidates(torch.arange(100, 107), "counts", 7)  # too few for a twin: what is asked for has its own limit
    with pytest.raises(UsageError, match=r"length=7 \(--length 7\) or less"):
        repeated_sequences(model, length=50, candidates=fewer)


def test_a_length_is_fitted_to_context_and_candidates(model: HookedModel, without_bos: HookedModel) -> None:
    few = Candidates(torch.arange(100, 126), "counts", 26)
    plenty = Candidates(torch.arange(100, 1100), "counts", 1000)
    by_candidates = fitting_length(model, "quick", few)
    assert by_candidates is not None and by_candidates.length == 6 and "26 tokens that can be drawn" in by_candidates.by
    drawn = repeated_sequences(model, length=by_candidates.length, candidates=few)
    assert unrepeated_twin(model, drawn).repeats == 1
    alone = fitting_length(without_bos, "quick", few, most=40, twin=False)
    assert alone is not None and alone.length == 25  # one of the 26 stands in front
    assert fitting_length(model, "quick", plenty) is None
    by_context = fitting_length(model, "quick", plenty, most=300)
    assert by_context is not None and by_context.length == 224 and "context of 900 tokens" in by_context.by


def short_of(context: int) -> HookedModel:
    hf = LlamaForCausalLM(LlamaConfig(vocab_size=1200, **{**SIZES, "max_position_embeddings": context}))
    return interp.load_model(hf, check=False)


def test_a_context_or_vocabulary_too_short_for_any_sequence_is_said(pool: Candidates) -> None:
    short = short_of(8)
    with pytest.raises(UsageError, match=r"context of 8 tokens is too short.*1 \+ 4 x 4 = 17"):
        repeated_sequences(short, candidates=Candidates(torch.arange(100, 1100), "counts", 1000))
    with pytest.raises(UsageError, match=r"The 2 tokens .* too few"):  # no length that is advised would do
        repeated_sequences(short_of(20), candidates=Candidates(torch.arange(100, 102), "counts", 2))
    with pytest.raises(UsageError, match=r"The 3 tokens .* too few: .* take 5 different ones.*\(--counts\)"):
        repeated_sequences(short, length=3, repeats=1, candidates=Candidates(torch.arange(100, 103), "counts", 3))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_generator_takes_are_refused(model: HookedModel, pool: Candidates, seed: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 4294967295"):
        repeated_sequences(model, seed=seed, candidates=pool)


@pytest.mark.parametrize("ids", [[BOS, 7, 8], [7, 8, 10**6]])
def test_candidates_that_the_model_does_not_have_are_refused(model: HookedModel, ids: list[int]) -> None:
    with pytest.raises(UsageError, match="candidates must be ids under"):
        repeated_sequences(model, length=2, candidates=Candidates(torch.tensor(ids), "counts", 3))


def test_sequences_that_do_not_repeat_alike_are_noticed(model: HookedModel, pool: Candidates) -> None:
    (group,) = repeated_sequences(model, length=5, sequences=2, candidates=pool)
    for change in ([1, 3], [1, 4]):
        tokens = group.tokens.clone()
        tokens[change[0], change[1]] = tokens[change[0], change[1] + 1] if change[1] == 4 else int(pool.ids[0])
        with pytest.raises(UsageError, match="do not repeat alike"):
            SequenceGroup(tokens, 5, 4, (0, 1), "bos").targets  # noqa: B018


def test_no_group_has_no_tokens(pool: Candidates) -> None:
    with pytest.raises(UsageError):
        RepeatedSequences((), "quick", 4, 0, pool).tokens  # noqa: B018
