"""All heads on one prompt, one head over many prompts, and sets of heads that have a name: beside slow loops."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.tasks import load_task
from headscope.inspector import downloads, many_prompts, named_sets, thumbnails
from headscope.inspector.asked import Prompt
from headscope.inspector.bench import Bench
from headscope.inspector.passes import read_pass
from headscope.inspector.prompts import Tokens
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError
from tests.headscope.synthetic import IDENTITY, Shape, write_run
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model
from tests.interp import families

PROMPT = {"kind": "repeated", "length": 12, "repeats": 4, "seed": 0}
LINES = "abcd efgh abcd\naa bb aa bb\nfghi"


@pytest.fixture(scope="module")
def live() -> Bench:
    return Bench("tiny", model=tiny_model())


# ---- pictures -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(0, 99))
def test_a_picture_holds_the_largest_value_of_each_block(length: int, seed: int) -> None:
    patterns = np.random.default_rng(seed).random((2, length, length)).astype(np.float32)
    made = thumbnails.pictures(patterns)
    block = -(-length // thumbnails.SIDE)
    assert made.shape == (2, -(-length // block), -(-length // block)) and made.shape[1] <= thumbnails.SIDE
    slow = np.zeros(made.shape)
    for head in range(2):
        for query in range(length):
            for key in range(1 if length > 1 else 0, query + 1):
                at = (head, query // block, key // block)
                slow[at] = max(slow[at], patterns[head, query, key])
    np.testing.assert_allclose(made, 255 * np.sqrt(slow), atol=0.51)


def test_the_pictures_are_those_of_the_pass(live: Bench) -> None:
    made = thumbnails.grid_parts(live, {"prompt": PROMPT, "removal": {"heads": [[0, 1]]}})
    removed = live.read(Prompt("repeated"), named_removal())
    assert [layer for layer, _ in made["layers"]] == list(range(LAYERS)) and made["side"] == 25
    for layer, text in made["layers"]:
        shown = np.frombuffer(base64.b64decode(text), np.uint8).reshape(HEADS, 25, 25)
        expected = thumbnails.pictures(np.stack([removed.pattern(layer, head) for head in range(HEADS)]))
        assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1
    with pytest.raises(UsageError, match="up to 5 tokens"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(thumbnails, "LONGEST", 5)
        thumbnails.grid_parts(live, {"prompt": PROMPT})


def named_removal() -> Any:
    from headscope.inspector.asked import RemovedParts

    return RemovedParts(((0, 1),))


# ---- many prompts ---------------------------------------------------------------------------------------------------


def slow_kinds(ids: tuple[int, ...], query: int, fronted: bool = True) -> dict[str, list[int]]:
    """Method 2.4 begins at the second content token, and nothing but `first` is about the token that all can see."""
    copies = [key for key in range(1 if fronted else 0, query) if ids[key] == ids[query]]
    return {
        "first": [0] if query else [],
        "self": [query] if query else [],
        "previous": [query - 1] if query > 1 else [],
        "copy": [key for key in copies if key],
        "after_copy": [key + 1 for key in copies if key + 1 < query],
    }


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.booleans())
def test_the_kinds_are_those_of_a_loop(ids: list[int], fronted: bool) -> None:
    made = many_prompts.kinds_of(ids, fronted=fronted)
    for query in range(len(ids)):
        slow = slow_kinds(tuple(ids), query, fronted)
        assert {kind: where[query].nonzero()[0].tolist() for kind, where in made.items()} == slow


@pytest.mark.parametrize("family", ["mistral", "gemma2", "llama"])
def test_queries_whose_keys_are_out_of_a_layers_reach_are_not_counted_there(family: str) -> None:
    """Copies stand 12 tokens back, and windows are 8 wide."""
    model = families.load(family)
    ids = tuple([*range(5, 17)] * 2)
    made = read_pass(model, Tokens(ids, tuple(map(str, ids)), ""), lambda done, of: None)
    sums = many_prompts._Sums(model.n_layers, model.n_heads)
    sums.add(0, made, fronted=False)
    shares = sums.shares()
    near = [bool((made.window(layer, 0, 24)[:, 23, :12] == 0).all()) for layer in range(model.n_layers)]
    assert any(near) == (family != "llama") and all(near) == (family == "mistral")
    for layer in range(model.n_layers):
        patterns = made.window(layer, 0, 24)
        reach = 8 if near[layer] else 24
        for kind in many_prompts.KINDS:
            paid = []
            for query in range(24):
                keys = [key for key in slow_kinds(ids, query, False)[kind] if query - key < reach]
                if keys:
                    paid.append(patterns[:, query, keys].sum(-1))
            assert sums.queries[kind][layer] == len(paid)
            expected = np.mean(paid, 0) if paid else np.full(model.n_heads, np.nan)
            np.testing.assert_allclose(shares[kind][layer], expected, atol=1e-6)


def test_shares_and_examples_are_those_of_a_loop_over_queries(live: Bench) -> None:
    made = many_prompts.averages(live, {"lines": LINES})
    passes = [live.read(Prompt("text", text=line)) for line in LINES.splitlines()]
    assert [one.ids for one in made.prompts] == [one.tokens.ids for one in passes]
    for layer in range(LAYERS):
        for head in range(HEADS):
            paid: dict[str, list[float]] = {kind: [] for kind in many_prompts.KINDS}
            best = []
            for number, one in enumerate(passes):
                pattern = one.pattern(layer, head)
                for query in range(len(pattern)):
                    for kind, keys in slow_kinds(one.tokens.ids, query).items():
                        if keys:
                            paid[kind].append(sum(float(pattern[query, key]) for key in keys))
                    if query > 1:
                        key = max(range(1, query), key=lambda key: float(pattern[query, key]))
                        best.append((float(pattern[query, key]), number, query, key))
            for kind, values in paid.items():
                assert made.queries[kind][layer] == len(values)
                assert made.shares[kind][layer, head] == pytest.approx(np.mean(values), abs=1e-5), kind
            best = sorted(best, key=lambda pair: -pair[0])[: many_prompts.EXAMPLES]
            shown = made.examples[layer, head]
            assert [one.attention for one in shown] == pytest.approx([pair[0] for pair in best], abs=1e-6)
            assert (shown[0].prompt, shown[0].query, shown[0].key) == best[0][1:]


def test_a_task_is_averaged_over_its_documents_and_loaded_once(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"prompt": {"kind": "task", "task": "probe_plurals", "shots": 1}, "count": 3, "head": [1, 2]}
    loads: list[dict[str, Any]] = []

    def counting(name: str, **options: Any) -> Any:
        loads.append(options)
        return load_task(name, **options)

    with monkeypatch.context() as patched:
        patched.setattr("ablation.tasks.load_task", counting)
        made = many_prompts.averages(live, asked)
    assert [options["limit"] for options in loads] == [3]
    documents = [live.attention(Prompt("task", task="probe_plurals", shots=1, document=n)).tokens.ids for n in range(3)]
    assert [one.ids for one in made.prompts] == documents
    heading, _ = many_prompts.average_parts(live, asked)["table"]
    assert heading.children == "Head 1.2 over 3 documents of probe_plurals, 1 shot"
    rows = list(csv.DictReader(io.StringIO(downloads.average_csv(live, {"average-asked": asked}))))
    assert len(rows) == LAYERS * HEADS * len(many_prompts.KINDS)
    assert (rows[0]["task"], rows[0]["shots"], rows[0]["prompts"]) == ("probe_plurals", "1", "3")
    assert float(rows[0]["share"]) == pytest.approx(made.shares["first"][0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "one a line"),
        ({"lines": "ab\n" * 99}, "at most 64"),
        ({"prompt": {"kind": "task", "task": "probe_plurals"}, "count": 0}, "documents is 0"),
    ],
)
def test_prompts_that_can_not_be_averaged_are_told(live: Bench, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        many_prompts.averages(live, asked)


# ---- sets -----------------------------------------------------------------------------------------------------------


def test_the_sets_are_the_runs_classes_and_its_function_vector_heads(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", shape=Shape(3, 4, 2))
    bench = Bench("tiny", run=open_run(folder), why="not loaded.")
    frame = open_run(folder).classes
    frame = frame[frame["class"] != ""]
    sets = {one["name"]: one["heads"] for one in named_sets.named_sets(bench)}
    assert sorted(map(tuple, sets[named_sets.INDUCTION])) == sorted(zip(frame["layer"], frame["head"], strict=True))
    for kind, rows in frame.groupby("class"):
        assert sorted(map(tuple, sets[f"{kind} heads"])) == sorted(zip(rows["layer"], rows["head"], strict=True))
    assert "function-vector heads" not in sets
    with begin_stage(folder, IDENTITY, Stage("vectors", "", record={"fv_heads": ["2.1", "0.3"]})):
        pass
    again = Bench("tiny", run=open_run(folder), why="not loaded.")
    sets = {one["name"]: one["heads"] for one in named_sets.named_sets(again)}
    assert sets["function-vector heads"] == [[0, 3], [2, 1]]
