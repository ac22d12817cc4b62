"""Needles stand where they are said to, and retrieval equals loops over whole attention matrices (Method 2.10)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import interp
from induction import needle_prompts, retrieval_heads, retrieval_score, retrieval_scores
from induction.needles import DEPTHS, Needle, NeedleItem, NeedlePrompts, _with_needles
from induction.texts import ids_behind
from interp.attention.rows import FactoredRows
from interp.errors import HeadscopeError, UsageError
from interp.model import HookedModel
from tests.induction import handmade, oracle, tiny, worded
from tests.interp.overflowing import overflow_on

FAMILIES = ["gpt2", "llama", "gemma3", "bloom", "gpt_oss"]
LENGTHS = (300, 380)


@lru_cache
def drawn(family: str = "llama") -> NeedlePrompts:
    return needle_prompts(worded.model(family), lengths=LENGTHS, each=2)


def test_prompts_have_their_length_and_values_their_places() -> None:
    prompts, text = drawn(), worded.tokenizer()
    assert len(prompts) == 2 * 2 * 3 and [group.tokens.shape for group in prompts] == [(6, 300), (6, 380)]
    assert [item.length for item in prompts.items] == [300] * 6 + [380] * 6
    for item in prompts.items:
        value, needle = item.choices[0], item.needle
        read = text.decode(item.tokens)
        assert len(item.tokens) == item.length and item.tokens[0] == text.bos_token_id
        assert [item.tokens[place] for place in needle.places] == list(dict.fromkeys(value))
        key = read.split("What is the password for ")[1].split("?")[0]
        assert f" The password for {key} is{text.decode(value)}." in read
        assert read.endswith(f"?\nAnswer:{text.decode(value[:-1])}")
        # the query that predicts a value's token stands in front of it
        follows = [(*item.tokens, value[-1])[query + 1] for query in needle.queries]
        assert follows == [value[n] for n in firsts(value)]
        assert min(needle.places) == read_place(text, item.tokens, f"{key} is")


def firsts(value: tuple[int, ...]) -> list[int]:
    return [n for n, token in enumerate(value) if token not in value[:n]]


def read_place(text: Any, tokens: tuple[int, ...], ends: str) -> int:
    """The first position in front of which the text ends so."""
    return next(n for n in range(len(tokens)) if text.decode(tokens[:n]).endswith(ends))


def test_other_places_are_the_other_keys_values_and_choices_share_no_word() -> None:
    text = worded.tokenizer()
    for item in drawn().items:
        read = text.decode(item.tokens)
        said = re.findall(r"The password for [^.]+ is (\w+ \w+)\.", read)
        value = text.decode(item.choices[0]).strip()
        assert len(said) == 3 and said.index(value) == DEPTHS.index(item.depth)
        for other, places in zip([each for each in said if each != value], item.needle.others, strict=True):
            ids = ids_behind(text, f" {other}")
            assert ids in item.choices[1:]
            wanted = [ids[min(n, len(ids) - 1)] for n in firsts(item.choices[0])]
            assert [item.tokens[place] for place in places] == wanted
        words = [word for choice in item.choices for word in text.decode(choice).split()]
        assert len(item.choices) == 10 and len(set(words)) == len(words) == 20


def test_needles_stand_at_the_sentence_boundary_nearest_to_their_depth() -> None:
    """Ten sentences of ten tokens; the needles of 3, 4 and 5 tokens push what is behind them back."""
    filler = [tuple(range(10 * n, 10 * n + 10)) for n in range(10)]
    said = [(-1,) * 3, (-2,) * 4, (-3,) * 5]
    text, starts = _with_needles(filler, said, (0.1, 0.52, 0.9))
    assert starts == [10, 53, 97] and [text[at] for at in starts] == [-1, -2, -3]
    assert [token for token in text if token >= 0] == list(range(100)) and len(text) == 112
    assert _with_needles(filler, said, (0.9, 0.1, 0.5))[1] == [99, 10, 54]  # in any order
    assert _with_needles(filler, said[:2], (0.0, 1.0))[1] == [0, 103]
    assert _with_needles(filler[:1], said, (0.1, 0.2, 0.9))[1] == [0, 3, 17]


def test_every_item_has_a_context_of_its_own_from_its_seed() -> None:
    model, asked = worded.model("llama"), {"lengths": (300,)}
    one, more, other = (
        needle_prompts(model, each=count, seed=seed, **asked) for count, seed in ((1, 0), (2, 0), (1, 1))
    )
    assert one.items == more.items[:3] == drawn().items[:3] and one.items[0] != other.items[0]
    assert len({item.context for item in more.items}) == len({item.tokens[1:30] for item in more.items}) == 6


def test_a_text_of_ones_own_is_the_filler() -> None:
    text = " ".join(f"Number {n} is a number." for n in range(40))
    prompts = needle_prompts(worded.model("llama"), lengths=(300,), each=2, filler=text)
    read = [worded.tokenizer().decode(item.tokens) for item in prompts.items]
    assert all(" is a number." in each and "baker" not in each for each in read) and read[0][:60] != read[3][:60]
    with pytest.raises(UsageError, match=r"the filler has \d+ tokens, and these contexts need \d+"):
        needle_prompts(worded.model("llama"), lengths=(300,), filler="Too short. By far.")


def test_a_repeated_token_counts_once() -> None:
    needle = Needle.of((7, 8, 7, 9), 50, 20, [(30, 4), (40, 2)])
    assert needle == Needle((50, 51, 53), (20, 21, 23), ((30, 31, 33), (40, 41, 41)))


def check_against_loops(family: str, prompts: NeedlePrompts) -> None:
    hf, parts = worded.build(family), oracle.FAMILIES.get(family, oracle.FAMILIES["llama"])
    hard, soft, others = [], [], []
    for item in prompts.items:
        attention = oracle.watch(hf, parts, torch.tensor([item.tokens])).attention
        looked, mass, elsewhere = (np.zeros((2, 4, len(item.needle.queries))) for _ in range(3))
        for n, (query, place) in enumerate(zip(item.needle.queries, item.needle.places, strict=True)):
            for layer, head in np.ndindex(2, 4):
                row = attention[layer][0, head, query]
                best = max(range(1, len(row)), key=lambda j, row=row: (row[j], -j))
                looked[layer, head, n], mass[layer, head, n] = best == place, row[place]
                elsewhere[layer, head, n] = np.mean([row[other[n]] for other in item.needle.others])
        hard.append(looked.mean(-1))
        soft.append(mass.mean(-1))
        others.append(elsewhere.mean(-1))
    found = {scores.variant: scores for scores in retrieval_scores(worded.model(family), prompts, draws=0)}
    np.testing.assert_allclose(found[""].per_item.numpy(), hard, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["soft"].per_item.numpy(), soft, rtol=0, atol=1e-5)
    assert np.std(soft) > 1e-4
    null = retrieval_score(worded.model(family), prompts, "soft", draws=4000).nulls[0]
    np.testing.assert_allclose(null.mean.numpy(), np.mean(others, 0), rtol=0.1, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_retrieval_equals_loops_over_whole_matrices(family: str) -> None:
    """And with values that heads do look at: the place that one looks at most, in each item, is made the value's."""
    model = worded.model(family)
    prompts = needle_prompts(model, lengths=(300,), each=1)
    looked = []
    for number, item in enumerate(prompts.items):
        _, cache = model.run_with_cache(torch.tensor([item.tokens]), names=["pattern"])
        query = item.needle.queries[0]
        place = 1 + int(cache["pattern", 1][0, number % 4, query, 1:].argmax())
        looked.append(replace(item, needle=replace(item.needle, places=(place, *item.needle.places[1:]))))
    check_against_loops(family, prompts)
    moved = NeedlePrompts.of(looked, 0, model.device)
    check_against_loops(family, moved)
    assert retrieval_score(model, moved, draws=0).mean.max() > 0


def test_right_items_are_those_whose_value_is_likelier_than_nine_others() -> None:
    model = worded.model("llama")
    prompts, right = needle_prompts(model, lengths=(300,), each=8), []
    for item in prompts.items:
        likelihoods = []
        for choice in item.choices:
            tokens = torch.tensor([[*item.context, *choice]])
            with torch.no_grad():
                logs = model.hf(tokens).logits[0].double().log_softmax(-1)
            places = range(len(item.context) - 1, tokens.shape[1] - 1)
            likelihoods.append(sum(float(logs[n, tokens[0, n + 1]]) for n in places))
        right.append(likelihoods[0] > max(likelihoods[1:]))
    found = {scores.variant: scores for scores in retrieval_scores(model, prompts, draws=30)}
    assert list(found) == ["", "soft", "right", "soft_right"] and 0 < sum(right) < len(right)
    assert found[""].provenance["right"] == right and found[""].provenance["depth"] == [0.1, 0.5, 0.9] * 8
    for variant, base in (("right", ""), ("soft_right", "soft")):
        scores, every = found[variant], found[base]
        assert scores.n == sum(right) and torch.equal(scores.per_item, every.per_item[torch.tensor(right)])
        assert scores.provenance["right"] == [True] * sum(right)
        assert [null.name for null in scores.nulls] == ["N1 another key's value"]


def test_nothing_right_leaves_the_variants_out() -> None:
    """The choices turned round: what was likeliest of all is now another value."""
    model, prompts = worded.model("llama"), drawn()
    wrong = [replace(item, choices=(*item.choices[:1], item.choices[0])) for item in prompts.items]
    same = NeedlePrompts.of(wrong, 0, model.device)  # no value is likelier than itself
    assert [scores.variant for scores in retrieval_scores(model, same, draws=0)] == ["", "soft"]
    with pytest.raises(UsageError, match="none of 12 items right"):
        retrieval_score(model, same, "right")


# --- known answers -------------------------------------------------------------------------------------------------


def copied(keys: list[int], values: list[tuple[int, ...]]) -> NeedlePrompts:
    """Key and value, key and value, ...; at the end a key again, and its value as far as it goes. All tokens differ."""
    context, places = [1], []
    for key, value in zip(keys, values, strict=True):
        places.append(len(context) + 1)
        context += [key, *value]
    items = []
    for asked, key in enumerate(keys):
        others = [(place, len(values[n])) for n, place in enumerate(places) if n != asked]
        needle = Needle.of(values[asked], len(context), places[asked], others)
        choices = (values[asked], *values[:asked], *values[asked + 1 :])
        items.append(NeedleItem((*context, key), choices, needle, len(context) + len(values[asked]), 0.5))
    return NeedlePrompts.of(items, 0, torch.device("cpu"))


def test_an_induction_head_retrieves_and_other_heads_do_not() -> None:
    model = handmade.model()
    prompts = copied([20, 21, 22], [(30, 31, 32), (40, 41, 42), (50, 51, 52)])
    silent = torch.ones(2, 5)
    silent[0, 2:4], silent[1, 1:3] = 0, 0  # what says other things than the induction head
    with model.gates(heads=silent):
        hard, soft, right, soft_right = retrieval_scores(model, prompts, draws=200)
    assert right.provenance["right"] == [True] * 3
    for scores in (hard, soft, right, soft_right):
        assert scores.mean[1, :3].tolist() == pytest.approx([1] * 3, abs=1e-4)
        assert scores.mean[0].max() < 0.1 and scores.nulls[0].mean[1, :3].max() < 1e-4
        assert scores.p_family[1, 0] == pytest.approx(1 / 9)  # of three prompts with two other keys each: 8 ways
    assert soft.mean[0, 1] == pytest.approx(np.mean([1 / n for n in (14, 15, 16)]), rel=1e-5)  # looks at all alike
    assert retrieval_heads(hard).tolist() == [[False] * 5, [True] * 3 + [False] * 2]
    assert hard.kv_group_max().shape == (2, 5)


def test_the_class_is_made_of_the_highest_attention() -> None:
    with pytest.raises(UsageError, match=r"not of 'retrieval \(soft\)'"):
        retrieval_heads(retrieval_score(worded.model("llama"), drawn(), "soft", draws=0))


# --- how it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "bloom", "glm_moe_dsa"])
def test_batches_do_not_matter_and_units_are_taken(family: str) -> None:
    model = worded.model(family)
    prompts, units = needle_prompts(model, lengths=(300,), each=1), tiny.Kept()
    told: list[tuple[int, int]] = []
    whole = retrieval_score(
        model, prompts, "soft", units=units, progress=lambda done, total: told.append((done, total))
    )
    assert len(units) == 1 + 3 and told[-1] == (1800, 1800)
    alone = retrieval_score(model, prompts, "soft", token_budget=1)
    torch.testing.assert_close(alone.per_item, whole.per_item, rtol=0, atol=1e-6)
    heard: list[int] = []
    with model.edit("resid_pre", lambda value: heard.append(len(value)), layer=0):
        again = retrieval_score(model, prompts, "soft", units=units)
    assert not heard and torch.equal(again.per_item, whole.per_item) and torch.equal(again.p, whole.p)


def test_no_matrix_is_ever_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every layer a row at a time is read: the rows of the answer, and the last one, whose sum is checked."""
    read: list[int] = []
    block = FactoredRows.block

    def watched(self: FactoredRows, start: int, stop: int) -> torch.Tensor:
        read.append(stop - start)
        return block(self, start, stop)

    monkeypatch.setattr(FactoredRows, "block", watched)
    prompts = needle_prompts(worded.model("llama"), lengths=(300,), each=1)
    retrieval_score(worded.model("llama"), prompts, draws=0)
    queries = {query for item in prompts.items for query in item.needle.queries}
    assert read == [1] * 2 * (len(queries) + 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lengths": (100,)}, r"needles and question alone have \d+ tokens: give lengths above that, not 100"),
        ({"lengths": (500,)}, r"500 tokens, .* is longer than this model's context of 400.*lengths=\(396,\)"),
        ({"lengths": ()}, "a length and an item for each depth"),
        ({"each": 0}, "a length and an item for each depth"),
        ({"depths": (0.5,)}, r"depths are 2 to 10 shares.*\[0.5\]"),
        ({"depths": (0.5, 1.5)}, r"depths are 2 to 10 shares.*\[0.5, 1.5\]"),
    ],
)
def test_impossible_prompts_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        needle_prompts(worded.model("llama"), **{"lengths": (300,), **options})


def broken_on(token: int, dtype: torch.dtype = torch.float16) -> HookedModel:
    hf = worded.build("llama", dtype)
    return overflow_on(interp.load_model(hf, tokenizer=worded.tokenizer(), check=False), token)


def test_what_overflows_names_head_prompt_and_dtype_and_is_not_kept() -> None:
    prompts = needle_prompts(worded.model("llama"), lengths=(300,), each=2)
    held = [set(item.tokens) for item in prompts.items]
    number, rare = next((n, min(own)) for n in (3, 2, 4, 1) if (own := held[n] - set().union(*held[:n])))
    units = tiny.Kept()
    told = rf"^the attention of head 1\.0 at token \d+ of sequence {number} is no finite number: it overflows float16; "
    with pytest.raises(HeadscopeError, match=told + "it begins in the residual stream behind layer 0"):
        retrieval_scores(broken_on(rare), prompts, units=units)
    assert not units
    assert all(s.mean.isfinite().all() for s in retrieval_scores(broken_on(rare, torch.float32), prompts, draws=0))


def test_a_choice_that_overflows_alone_is_named() -> None:
    """Behind the last layer, where no head looks any more: a token that stands in the wrong choices of one item."""
    prompts = needle_prompts(worded.model("llama"), lengths=(300,), each=1)
    read = set().union(*(set(item.tokens) for item in prompts.items))
    number, rare = next(
        (n, min(own))
        for n, item in enumerate(prompts.items)
        if (own := {token for choice in item.choices for token in choice[:-1]} - read)
    )
    with pytest.raises(
        HeadscopeError, match=rf"log-likelihood of a value of document retrieval/{number} is no .*float16"
    ):
        retrieval_scores(broken_on(rare), prompts)


def test_words_need_a_tokenizer() -> None:
    model: HookedModel = interp.load_model(worded.build("llama"), check=False)
    with pytest.raises(UsageError, match=r"needles in a context must be turned into tokens.* no tokenizer"):
        needle_prompts(model)
