"""Demonstrations: without state, never the document itself, the same in any shard, as the harness would build them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ablation.tasks import ICL14, PROBES, load_task
from ablation.tasks.definitions import own_task
from ablation.tasks.sampler import draw, random_order
from interp.errors import UsageError

ALL = [*ICL14, "probe_capitals", "probe_pattern"]


def rows(n: int, split: str = "train") -> list[dict[str, object]]:
    return [{"document_id": f"t/{split}/{i}", "cluster_id": f"t/{split}/{i}", "text": f"{split} {i}"} for i in range(n)]


def test_an_order_is_a_permutation_that_the_key_decides() -> None:
    orders = {key: list(random_order(50, key)) for key in ("a", "b")}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert orders["a"] == list(random_order(50, "a")) != orders["b"]
    assert list(random_order(0, "a")) == []


def test_every_order_is_equally_likely() -> None:
    counts = Counter(tuple(random_order(3, f"key {number}")) for number in range(6000))
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())  # 1,000 expected, five standard deviations


def test_fewer_shots_show_the_first_of_more() -> None:
    pool, document = rows(30), rows(1, "validation")[0]
    ten = draw(pool, document, 10, seed=3)
    assert [draw(pool, document, n, seed=3) for n in range(11)] == [ten[:n] for n in range(11)]


@pytest.mark.parametrize("demos", ["document", "fixed"])
def test_no_document_is_in_its_own_demonstrations(demos: str) -> None:
    pool = rows(12)
    for document in pool:
        for seed in range(20):
            shown = draw(pool, document, 11, seed=seed, demos=demos)
            assert sorted(shown) == [i for i, row in enumerate(pool) if row is not document]


def test_copies_twins_and_other_pools_are_passed_over() -> None:
    document = {"document_id": "t/validation/7", "cluster_id": "c", "pool_id": "A", "idx": 1, "text": "same"}
    copy = {**document, "document_id": "t/train/0", "cluster_id": "d", "idx": 9}
    twin = {**document, "document_id": "t/train/1", "text": "twin"}
    stranger = {**document, "document_id": "t/train/2", "cluster_id": "e", "pool_id": "B", "text": "stranger"}
    good = {**document, "document_id": "t/train/3", "cluster_id": "f", "text": "good"}
    for seed in range(20):
        assert draw([copy, twin, stranger, good], document, 1, seed=seed) == [3]
    with pytest.raises(UsageError, match=r"2 shots were asked for, but only 1 of the 4 documents that t has"):
        draw([copy, twin, stranger, good], document, 2, seed=0)


def test_fixed_demonstrations_are_shared_but_for_those_who_meet_themselves() -> None:
    pool = rows(40)
    shown = Counter(
        tuple(draw(pool, document, 5, seed=1, demos="fixed")) for document in [*pool, *rows(9, "validation")]
    )
    ((common, count), *others) = shown.most_common()
    assert count == 40 + 9 - 5
    # Each of the five sees the other four and the next in line.
    (sixth,) = {index for other, _ in others for index in other} - set(common)
    assert {other for other, _ in others} == {(*common[:i], *common[i + 1 :], sixth) for i in range(5)}
    assert draw(pool, pool[0], 5, seed=2, demos="fixed") != list(common)


@pytest.mark.parametrize("name", ["probe_antonyms", "probe_labels"])
@pytest.mark.parametrize("demos", ["document", "fixed"])
def test_any_shard_has_the_prompts_of_the_whole(name: str, demos: str) -> None:
    whole = load_task(name, shots=4, demos=demos)
    random.seed(99)
    few = load_task(name, shots=4, demos=demos, limit=17)
    by_id = {document.id: document for document in whole.documents}
    assert list(few.documents) == [by_id[document.id] for document in few.documents] and len(few.documents) == 17
    assert whole.select([150, 3]).documents == (whole.documents[150], whole.documents[3])
    assert load_task(name, shots=4, demos=demos, seed=1).documents != whole.documents


@pytest.mark.parametrize("name", PROBES)
def test_ranking_documents_never_show_themselves(name: str) -> None:
    for document in load_task(name, shots=10, split="train").documents:
        shown = [demonstration.id for demonstration in document.demonstrations]
        assert len(set(shown)) == 10
        assert document.id not in shown
        query = document.queries[0].removeprefix("Input: ")
        assert not any(f"Input: {query}" in demonstration.text for demonstration in document.demonstrations)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("split", ["validation", "train"])
def test_prompts_equal_what_the_harness_builds_from_our_yaml(name: str, split: str, folder: Path) -> None:
    """The second route: the harness's own `fewshot_context` and requests, with the sampler that the YAML names."""
    shots = 1 if split == "train" else 2
    task = load_task(name, data=folder, shots=shots, seed=5, split=split)
    task = task.select(range(min(8, len(task.documents))))
    theirs = own_task(name, None if name in PROBES else folder)
    theirs.set_fewshot_seed(5)
    docs = theirs.training_docs() if split == "train" else theirs.eval_docs
    for document, row in reversed(list(zip(task.documents, docs, strict=False))):
        context = theirs.fewshot_context(row, shots)
        requests = theirs.construct_requests(row, context)
        assert list(zip(document.contexts, document.continuations, strict=True)) == [r.args for r in requests]


def test_more_shots_than_documents(folder: Path, tmp_path: Path, write: Callable[..., None]) -> None:
    with pytest.raises(
        UsageError, match="3 shots were asked for, but copa has 2 documents to draw demonstrations from"
    ):
        load_task("copa", data=folder, shots=3)
    row = {"question": "is it", "passage": "It is.", "label": 1}
    write(tmp_path, "boolq", [row, {**row, "question": "was it"}], [{**row, "question": "will it"}])
    assert load_task("boolq", data=tmp_path).documents[0].cluster.startswith("boolq#")
    with pytest.raises(UsageError, match=r"only 0 of the 2 documents .* may be shown to boolq/validation/0"):
        load_task("boolq", data=tmp_path, shots=1)
