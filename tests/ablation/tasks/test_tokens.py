"""Token ids as the harness splits them, what stands in front, and prompts that are too long."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ablation.tasks import ICL14, Demonstration, Document, TokenDocuments, load_task
from ablation.tasks.tokens import front_ids
from interp.errors import UsageError

MERGES = [
    (" ", "t"),
    ("h", "e"),
    (" t", "he"),
    ("i", "n"),
    ("n", "g"),
    ("e", "r"),
    ("o", "n"),
    (":", " "),
    ("\n", "\n"),
]


@dataclass(frozen=True)
class Model:
    """All that a task asks of a model."""

    tokenizer: Any
    max_length: int | None = None


def build_tokenizer(
    *, front: tuple[str, ...] = (), special: dict[str, str] | None = None, merges: list[tuple[str, str]] = MERGES
) -> PreTrainedTokenizerFast:
    """A byte-level BPE with a handful of merges, some of them across a space: joint tokenisation matters."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    place = {" ": "Ġ", "\n": "Ċ"}
    merges = [tuple("".join(place.get(c, c) for c in part) for part in pair) for pair in merges]
    vocabulary = {
        token: i for i, token in enumerate([*letters, *("".join(pair) for pair in merges), "<s>", "</s>", "<cls>"])
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if front:
        template = " ".join([*front, "$A"])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(token, vocabulary[token]) for token in front]
        )
    named = {"bos_token": "<s>", "eos_token": "</s>"} if special is None else special
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


@pytest.fixture(scope="module")
def plain() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="module")
def with_bos() -> PreTrainedTokenizerFast:
    return build_tokenizer(front=("<s>",))


def harness_lm(tokenizer: PreTrainedTokenizerFast) -> HFLM:
    """The harness's HFLM with a tokenizer and no model: as much of it as splits a request into ids."""
    lm = HFLM.__new__(HFLM)
    lm.tokenizer, lm.backend, lm.add_bos_token, lm.custom_prefix_token_id = tokenizer, "causal", None, None
    lm.enable_thinking = False
    return lm


def harness_ids(lm: HFLM, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    found: list[Any] = []
    lm._loglikelihood_tokens = lambda requests, **kwargs: found.extend(requests) or []

    @dataclass
    class Request:
        args: tuple[str, str]

    lm.loglikelihood([Request((context, continuation))], disable_tqdm=True)
    ((_, left, right),) = found
    return tuple(left), tuple(right)


def document(*continuations: str, query: str = "Q: the thing\nA:", demos: tuple[str, ...] = ()) -> Document:
    return Document(
        id="t/validation/0",
        cluster="c",
        unit="u",
        preamble="",
        demonstrations=tuple(Demonstration(f"t/train/{i}", text) for i, text in enumerate(demos)),
        queries=(query,) * len(continuations),
        continuations=continuations,
        gold=0,
        right=(0,),
        metric="acc",
    )


def tokens(doc: Document, model: Model, bos: str = "auto") -> Any:
    front = front_ids(model.tokenizer, bos)
    return TokenDocuments((doc,), tokenizer=model.tokenizer, max_length=model.max_length, front=front)[0]


@pytest.mark.parametrize("kind", ["plain", "with_bos"])
def test_the_split_equals_the_harness_on_awkward_texts(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    lm, model = harness_lm(tokenizer), Model(tokenizer)
    pick = random.Random(0)
    compared = 0
    for _ in range(400):
        context = "".join(pick.choices("the ing\n:éx ", k=pick.randint(0, 12)))
        continuation = "".join(pick.choices(" \nthe ingé", k=pick.randint(1, 6)))
        try:
            wanted = harness_ids(lm, context, continuation)
        except (IndexError, AssertionError):
            continue
        if not wanted[1] or not context.strip():
            continue
        found = tokens(document(continuation, query=context), model)
        assert (found.context, found.target) == wanted
        compared += 1
    assert compared > 250


@pytest.mark.parametrize("name", ICL14)
@pytest.mark.parametrize("kind", ["plain", "with_bos"])
def test_the_split_equals_the_harness_on_every_task(name: str, kind: str, folder: Path, request: Any) -> None:
    tokenizer = request.getfixturevalue(kind)
    lm, task = harness_lm(tokenizer), load_task(name, data=folder, shots=2)
    for text, ids in zip(task.documents, task.token_documents(Model(tokenizer)), strict=True):
        wanted = [harness_ids(lm, *pair) for pair in zip(text.contexts, text.continuations, strict=True)]
        assert list(zip(ids.contexts, ids.choices, strict=True)) == wanted
        assert (ids.context, ids.target) == wanted[text.gold]
        assert (ids.id, ids.cluster, ids.unit, ids.gold) == (text.id, text.cluster, text.unit, text.gold)
        assert not ids.cut
        if name != "winogrande":
            assert all(context is ids.contexts[0] for context in ids.contexts)


def test_white_space_at_the_end_of_the_context_moves(plain: PreTrainedTokenizerFast) -> None:
    found = tokens(document("the end", query="Say \n"), Model(plain))
    assert plain.decode(found.context) == "Say"
    assert plain.decode(found.target) == " \nthe end"


def test_an_empty_prompt_gets_what_the_harness_gives_it(plain: PreTrainedTokenizerFast) -> None:
    found = tokens(document("the end", query=""), Model(plain))
    assert (found.context, found.target) == harness_ids(harness_lm(plain), "", "the end")
    assert found.context == (plain.bos_token_id,)
    only_eos = build_tokenizer(special={"eos_token": "</s>"})
    assert tokens(document("x", query=""), Model(only_eos)).context == (only_eos.eos_token_id,)
    with pytest.raises(UsageError, match="neither a BOS nor an EOS token"):
        tokens(document("x", query=""), Model(build_tokenizer(special={})))


@pytest.mark.parametrize(
    ("front", "bos", "wanted"),
    [
        ((), "auto", []),
        ((), "always", ["<s>"]),
        ((), "never", []),
        (("<s>",), "auto", ["<s>"]),
        (("<s>",), "always", ["<s>"]),
        (("<s>",), "never", []),
        (("<cls>", "<s>"), "auto", ["<cls>", "<s>"]),
        (("<cls>", "<s>"), "always", ["<s>"]),
    ],
)
def test_what_stands_in_front(front: tuple[str, ...], bos: str, wanted: list[str], folder: Path) -> None:
    tokenizer = build_tokenizer(front=front)
    task = load_task("copa", data=folder, bos=bos)
    first = task.token_documents(Model(tokenizer))[0]
    text = tuple(tokenizer("The ice melted because", add_special_tokens=False)["input_ids"])
    assert first.context == (*tokenizer.convert_tokens_to_ids(wanted), *text)
    assert tokenizer.decode(first.target) == " it was hot."


def test_bos_always_needs_a_bos_token(folder: Path) -> None:
    task = load_task("copa", data=folder, bos="always")
    with pytest.raises(UsageError, match="no BOS token, so `--bos always` can't be served: use auto or never"):
        task.token_documents(Model(build_tokenizer(special={})))


DEMOS = ("the first one\n\n", "the second one\n\n", "the third one\n\n")


@pytest.mark.parametrize("kind", ["plain", "with_bos"])
def test_a_long_prompt_loses_whole_demonstrations_then_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(kind)
    doc = document(" in", " the longest answer", demos=DEMOS)
    keep = kind == "with_bos"
    whole = tokens(doc, Model(tokenizer))
    size = len(whole.context) + max(map(len, whole.choices))
    dropped_before = trimmed_before = 0
    for limit in range(size + 2, 20, -1):
        found = tokens(doc, Model(tokenizer, limit))
        assert found.choices == whole.choices
        lengths = [len(context) + len(choice) for context, choice in zip(found.contexts, found.choices, strict=True)]
        assert max(lengths) <= limit
        assert found.cut == (limit < size)
        assert dropped_before <= found.dropped <= dropped_before + 1
        text = "".join(DEMOS[found.dropped :]) + "Q: the thing\nA:"
        ids = tuple(tokenizer(text)["input_ids"])
        assert found.context == ids[:keep] + ids[keep + found.trimmed :]
        if found.trimmed:  # only once every demonstration is gone, and no more than needed
            assert found.dropped == 3 and max(lengths) == limit and found.trimmed in (trimmed_before + 1, 1)
        dropped_before, trimmed_before = found.dropped, found.trimmed
    assert dropped_before == 3 and trimmed_before > 0


def test_a_choice_as_long_as_the_context_is_refused(plain: PreTrainedTokenizerFast) -> None:
    doc = document("abcdefgh", "x")
    assert len(tokens(doc, Model(plain, 9)).context) == 1
    with pytest.raises(UsageError, match=r"A choice of t/validation/0 alone fills the model's context of 8 tokens"):
        tokens(doc, Model(plain, 8))


def test_a_continuation_that_melts_into_the_context_is_refused() -> None:
    melting = build_tokenizer(merges=[("h", "e"), ("t", "he")])
    with pytest.raises(UsageError, match=r"The continuation 'he' of t/validation/0 has no token of its own"):
        tokens(document("he", query="t"), Model(melting))


def test_cut_documents_are_counted(plain: PreTrainedTokenizerFast, folder: Path) -> None:
    task = load_task("boolq", data=folder, shots=2)
    lengths = [len(d.context) + max(map(len, d.choices)) for d in task.token_documents(Model(plain))]
    assert task.token_documents(Model(plain)).cut == 0
    short = task.token_documents(Model(plain, max(lengths) - 1))
    assert short.cut == sum(length == max(lengths) for length in lengths) > 0
    assert len(short) == 2 and [d.id for d in short[0:2]] == [d.id for d in short]


def test_twin_contexts_are_cut_alike(plain: PreTrainedTokenizerFast) -> None:
    doc = replace(document(" was in.", " was in."), queries=("Ann saw the thing as Ann", "Ann saw the thing as Eve"))
    found = tokens(doc, Model(plain, 20))
    assert found.trimmed > 0
    assert found.contexts[0][:-3] == found.contexts[1][:-3] and found.contexts[0] != found.contexts[1]
