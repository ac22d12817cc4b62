"""The inspector without a browser: what is asked is checked, what is answered is the model's."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from headscope.inspector import asked, circuit_tables, downloads, outcome, passes, prompts, removal, token_copies
from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.cache import Kept
from headscope.inspector.score_table import ScoreTable
from headscope.inspector.work import WAITING, Work
from headscope.store.run import open_run
from interp.errors import RefusedModelError, UsageError
from tests.headscope.synthetic import TASKS, write_run
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model
from tests.interp import families

TEXT = "abcd efgh abcd efgh abcd"
REPEATED = Prompt("repeated", length=6, repeats=3)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", study=True)


@pytest.fixture(scope="module")
def stored(run_folder: Path) -> Bench:
    """A run without its model."""
    return Bench("smollm2-135m", run=open_run(run_folder), why="it was started with --no-model.")


@pytest.fixture
def live() -> Bench:
    """A model without a run."""
    return Bench("tiny", model=tiny_model())


# ---- what is asked --------------------------------------------------------------------------------------------------


def test_prompts_are_read_from_what_a_browser_sends() -> None:
    assert asked.asked_prompt({"kind": "text", "text": TEXT}) == Prompt("text", text=TEXT)
    told = {"kind": "repeated", "length": "7", "repeats": 3, "seed": " 5 "}
    assert asked.asked_prompt(told) == Prompt("repeated", length=7, repeats=3, seed=5)
    assert asked.asked_prompt({"kind": "task", "task": "copa", "shots": 2}).task == "copa"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "no kind of prompt"),
        ([], "no kind of prompt"),
        ({"kind": "exec"}, "no kind of prompt 'exec'"),
        ({"kind": "text"}, "empty"),
        ({"kind": "text", "text": 5}, "empty"),
        ({"kind": "text", "text": "a" * 100_000}, "100,000 characters.*at most 20,000"),
        ({"kind": "repeated", "length": "x"}, "no whole number"),
        ({"kind": "repeated", "seed": " "}, "seed is empty: give a whole number from 0"),
        ({"kind": "repeated", "length": 1}, "between 2"),
        ({"kind": "repeated", "repeats": -3}, "between 2 and"),
        ({"kind": "task", "shots": 99}, "between 0 and 10"),
        ({"kind": "task", "document": 1.5}, "no whole number"),
        ({"kind": "repeated", "seed": {"a": 1}}, "no whole"),
    ],
)
def test_prompts_that_are_none_are_refused(value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked.asked_prompt(value)


def test_removals_are_each_once_in_order() -> None:
    told = {"heads": [[2, 1], [0, 3], [2, 1]], "ffns": [2, 0, 2], "ablation": "mean"}
    assert asked.asked_removal(told, 3, 4) == RemovedParts(((0, 3), (2, 1)), (0, 2), "mean")
    assert not asked.asked_removal(None, 3, 4)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"heads": [[3, 0]]}, r"head 3\.0 does not exist"),
        ({"heads": [[0, -1]]}, "does not exist"),
        ({"heads": ["x"]}, "is not a head"),
        ({"ffns": [3]}, "FFN is 3"),
        ({"ablation": "resample"}, "no replacement"),
    ],
)
def test_removals_of_what_is_not_there_are_refused(value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        asked.asked_removal(value, 3, 4)


@given(st.text(max_size=60), st.text(max_size=60))
def test_prompts_have_the_same_key_when_they_are_the_same(one: str, other: str) -> None:
    keys = [Prompt("text", text=text).key for text in (one, other)]
    assert (keys[0] == keys[1]) == (one == other) and all(key.isalnum() for key in keys)


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first() -> None:
    kept: Kept[str] = Kept(entries=2)
    for key in "ab":
        kept.put(key, key)
    assert kept.get("a") == "a"
    kept.put("c", "c")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("a", None, "c")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=30))
def test_bytes_stay_within_bounds(puts: list[tuple[int, int]]) -> None:
    kept: Kept[bytes] = Kept(entries=4, size=60, weigh=len)
    for key, size in puts:
        kept.put(key, bytes(size))
        assert kept.size <= 60 and len(kept) <= 4
        assert kept.get(key) == bytes(size)


def test_what_is_too_large_is_given_but_not_kept() -> None:
    kept: Kept[bytes] = Kept(entries=4, size=10, weigh=len)
    kept.put("small", b"1234")
    assert kept.put("large", bytes(11)) == bytes(11)
    assert kept.get("large") is None and kept.get("small") == b"1234"


def test_each_tab_is_told_of_its_own_work() -> None:
    work, begun, go = Work(), threading.Event(), threading.Event()

    def hold() -> None:
        with work.of("first"), work.on_model("reading") as tell:
            tell(1, 4)
            begun.set()
            go.wait(10)

    def wait() -> None:
        with work.of("second"), work.on_model("reading"):
            pass

    threads = [threading.Thread(target=hold), threading.Thread(target=wait)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    until(lambda: work.doing("second") != "")
    assert (work.doing("first"), work.doing("second"), work.doing("third")) == ("reading: 25%", WAITING, "")
    go.set()
    for thread in threads:
        thread.join(10)
    assert work.doing("first") == work.doing("second") == ""


def until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited ten seconds")


# ---- prompts and passes ---------------------------------------------------------------------------------------------


def test_a_repeated_prompt_repeats(live: Bench) -> None:
    tokens = live.attention(REPEATED).tokens
    assert tokens.blocks == (1, 7, 13) and len(tokens.ids) == 19
    assert tokens.ids[1:7] == tokens.ids[7:13] == tokens.ids[13:19] and len(set(tokens.ids[1:7])) == 6


def test_a_tasks_document_ends_with_its_gold_answer(live: Bench) -> None:
    from ablation.tasks import load_task

    tokens = live.attention(Prompt("task", task="probe_plurals", shots=2, document=3)).tokens
    document = load_task("probe_plurals", shots=2, limit=4).documents[3]
    assert tokens.target is not None
    assert "".join(text for text in tokens.texts[tokens.target :]) == document.target
    assert "".join(tokens.texts[1 : tokens.target]) == document.context


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt("text", text="a " * 900), "at most 512 can be looked at here.*shorten it"),
        (Prompt("repeated", length=256, repeats=16), "take a shorter block"),
        (Prompt("task", task="no_such_task"), "no task"),
        (Prompt("task", task="probe_plurals", document=9999), "has 200 documents"),
        (Prompt("stored"), "holds no stored sequence"),
    ],
)
def test_prompts_that_can_not_be_had_are_refused(live: Bench, prompt: Prompt, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        live.attention(prompt)


def test_a_text_that_the_tokenizer_can_not_read_is_refused() -> None:
    """A vocabulary of signs without a token for the rest: the Rust library raises a plain exception."""
    words = Tokenizer(models.WordLevel({"丁": 0}))
    model = families.load("llama", tokenizer=PreTrainedTokenizerFast(tokenizer_object=words))
    with pytest.raises(UsageError, match="tokenizer can't read 'hello'"):
        prompts.tokens_of(Prompt("text", text="hello"), model, "hub")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma2", "gpt_oss", "mistral"])
def test_a_pass_keeps_every_heads_attention(family: str) -> None:
    model = families.load(family)
    ids = families.random_tokens(batch=1, length=20)
    tokens = prompts.Tokens(tuple(ids[0].tolist()), tuple("x" * 20), "")
    made = passes.read_pass(model, tokens, lambda done, total: None)
    _, cache = model.run_with_cache(ids, ["pattern"])
    for layer in model.attention_layers:
        whole = cache["pattern", layer][0].detach().numpy()
        np.testing.assert_allclose(made.window(layer, 4, 15), whole[:, 4:15, 4:15], atol=1e-6)
        for head in range(model.n_heads):
            np.testing.assert_allclose(made.pattern(layer, head), whole[head], atol=1e-6)
    assert made.size > 0


def test_losses_and_next_tokens_are_those_of_the_logits() -> None:
    logits = torch.randn(150, 97, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(0, 97, (150,), generator=torch.Generator().manual_seed(2))
    made = passes.predictions(logits, ids)
    expected = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
    np.testing.assert_allclose(made.losses, expected.numpy(), rtol=1e-5)
    values, places = logits.log_softmax(-1).topk(64)
    np.testing.assert_array_equal(made.next_ids, places.numpy())
    np.testing.assert_allclose(made.next_log_p, values.numpy(), rtol=1e-4, atol=1e-6)


def test_a_pass_is_made_once_however_many_ask(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    read = passes.read_pass

    def counted(*arguments: Any) -> passes.PromptPass:
        made.append(1)
        time.sleep(0.05)
        return read(*arguments)

    monkeypatch.setattr("headscope.inspector.bench.read_pass", counted)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(live.read(REPEATED))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(made) == 1


def test_two_removals_at_once_do_not_meet(live: Bench) -> None:
    """Threads that hold different gates give what each gives alone."""
    removals = [RemovedParts(((layer, head),)) for layer in range(LAYERS) for head in range(HEADS)]
    alone = {one: Bench("tiny", model=tiny_model()).read(REPEATED, one).predicted.losses for one in removals}
    found: dict[RemovedParts, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda one=one: found.__setitem__(one, live.read(REPEATED, one).predicted.losses))
        for one in removals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in removals:
        np.testing.assert_allclose(found[one], alone[one], atol=1e-6)
    assert len({tuple(losses.round(4)) for losses in alone.values()}) == len(removals)


# ---- removing -------------------------------------------------------------------------------------------------------


def test_removing_equals_zeroing_the_weights(live: Bench) -> None:
    import copy

    model = tiny_model()
    hf = copy.deepcopy(model.hf)
    width = model.d_value
    with torch.no_grad():
        hf.model.layers[1].self_attn.o_proj.weight[:, 2 * width : 3 * width] = 0
        hf.model.layers[2].mlp.down_proj.weight.zero_()
        made = live.read(REPEATED, RemovedParts(((1, 2),), (2,)))
        ids = torch.tensor([made.tokens.ids])
        expected = torch.nn.functional.cross_entropy(hf(ids).logits[0, :-1], ids[0, 1:], reduction="none")
    np.testing.assert_allclose(made.predicted.losses, expected.numpy(), atol=1e-4)
    assert not np.allclose(made.predicted.losses, live.read(REPEATED).predicted.losses, atol=1e-3)


def test_the_repeat_score_is_inductions_under_the_gates(live: Bench) -> None:
    import induction

    model, removed = tiny_model(), RemovedParts(((0, 0), (1, 1)))
    sequences = induction.repeated_sequences(model, length=12, repeats=4, sequences=4)
    with ExitStack() as stack:
        live.gate(stack, removed, None)
        expected = induction.in_context_learning_score(model, sequences).repeat
    assert live.repeat_score(removed) == pytest.approx(expected, abs=1e-5)
    assert live.repeat_score(RemovedParts()) != pytest.approx(expected, abs=1e-4)


def test_mean_ablation_replaces_by_the_means_of_training_documents(live: Bench) -> None:
    from ablation.references import mean_of
    from ablation.tasks import PROBES, load_task

    told: list[tuple[int, int]] = []
    found: Any = removal.means(live.live, lambda done, total: told.append((done, total)))
    documents = [
        d for name in PROBES for d in load_task(name, shots=2, limit=8, split="train").token_documents(live.live)
    ]
    expected = mean_of(live.live, documents)
    torch.testing.assert_close(found.z_rest, expected.z_rest)
    assert found.n_documents == len(documents) == told[-1][1] >= 64
    zero, mean = (live.read(REPEATED, RemovedParts(((1, 2),), (), kind)) for kind in ("zero", "mean"))  # type: ignore[arg-type]
    assert not np.allclose(zero.predicted.losses, mean.predicted.losses, atol=1e-4)


def test_tables_say_of_which_head_and_removal_they_are(live: Bench) -> None:
    import csv
    import io

    told = {"heads": [[0, 1], [1, 2]], "ffns": [2], "ablation": "zero"}
    prompt = {"kind": "repeated", "length": 6, "repeats": 3}
    state: dict[str, Any] = {
        "head": [2, 3],
        "reading": {"prompt": prompt},
        "removal": told,
        "query": None,
        "after": told,
        "vis": {"kind": "layer", "start": 0},
    }

    def rows_of(what: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(downloads.FILES[what](live, state))))

    removed = RemovedParts(((0, 1), (1, 2)), (2,))
    after, before = live.read(REPEATED, removed), live.read(REPEATED)
    for what in ("attention", "pairs", "window"):
        rows = rows_of(what)
        assert {row["removed"] for row in rows} == {"0.1, 1.2, FFN 2 by zero"}
        for row in rows:
            query, key, head = (int(row[name]) for name in ("query", "key", "head"))
            assert float(row["attention"]) == pytest.approx(float(after.pattern(2, head)[query, key]), abs=1e-6)
        assert {row["head"] for row in rows} == ({"0", "1", "2", "3"} if what == "window" else {"3"})
    rows = rows_of("learning")
    assert [float(rows[0][name]) for name in ("before", "after")] == pytest.approx(
        [live.repeat_score(RemovedParts()), live.repeat_score(removed)], abs=1e-6
    )
    changes = removal.loss_changes(before, after)
    assert [(row["part"], float(row["after"])) for row in rows[1:]] == [
        (change.part, pytest.approx(change.after, abs=1e-6)) for change in changes
    ]
    names = {what: downloads.file_name(live, what, state) for what in ("attention", "window", "copies", "learning")}
    assert names == {
        "attention": "attention-2.3-after",
        "window": "window-2-after",
        "copies": "copies-2.3",
        "learning": "learning",
    }
    state["after"] = None
    assert {row["removed"] for row in rows_of("attention")} == {""}
    assert downloads.file_name(live, "attention", state) == "attention-2.3"


def test_loss_changes_are_means_over_the_parts(live: Bench) -> None:
    before, after = live.read(REPEATED), live.read(REPEATED, RemovedParts(((1, 2),)))
    changes = {change.part: change for change in removal.loss_changes(before, after)}
    losses = before.predicted.losses  # of tokens 1..18; copies begin at 1, 7, 13
    assert changes["all tokens"].before == pytest.approx(losses.mean())
    assert changes["first copy"].before == pytest.approx(losses[0:6].mean())
    assert changes["repeats"].before == pytest.approx(losses[7:].mean())
    assert changes["repeats"].after == pytest.approx(after.predicted.losses[7:].mean())
    document = live.read(Prompt("task", task="probe_plurals", shots=1))
    part = {change.part: change for change in removal.loss_changes(document, document)}["the answer"]
    assert part.before == pytest.approx(document.predicted.losses[document.tokens.target - 1 :].mean())


def test_next_tokens_tell_what_they_were(live: Bench) -> None:
    before, after = (live.read(REPEATED, one).predicted for one in (RemovedParts(), RemovedParts(((1, 2), (2, 0)))))
    ids = torch.tensor([live.read(REPEATED).tokens.ids])
    with torch.no_grad():
        whole = live.live(ids)[0, 5].softmax(-1)
    listed = removal.next_tokens(live.live, after, before, 5)
    assert [token.p for token in listed] == sorted((token.p for token in listed), reverse=True) and len(listed) == 10
    kept = set(before.next_ids[5].tolist())
    for rank, token in enumerate(listed):
        whole_p, number = float(whole[int(after.next_ids[5, rank])]), int(after.next_ids[5, rank])
        assert token.bounded == (number not in kept)
        assert token.other >= whole_p * 0.999 if token.bounded else token.other == pytest.approx(whole_p, rel=1e-3)


def test_what_a_token_was_is_a_number_or_a_bound() -> None:
    was = [
        removal.NextToken("a", 0.5, other, bounded) for other, bounded in ((0.25, False), (0.004, True), (2e-4, True))
    ]
    assert [outcome.was_p(token) for token in was] == ["25.0%", "≤0.4%", "<0.1%"]


# ---- circuits -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(0, 1000))
def test_strongest_pairs_are_those_of_a_slow_search(length: int, seed: int) -> None:
    pattern = np.tril(np.random.default_rng(seed).random((length, length))).astype(np.float32)
    slow = sorted(
        ((float(pattern[q, k]), q, k) for q in range(length) for k in range(1, q + 1) if pattern[q, k] > 0),
        reverse=True,
    )
    found = circuit_tables.strongest_pairs(pattern)
    assert [pair.attention for pair in found] == [value for value, _, _ in slow[:10]]
    assert all(pattern[pair.query, pair.key] == pair.attention and pair.key > 0 for pair in found)


def test_token_copies_equal_a_slow_loop(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token: E_eff through the input norm, W_V, W_O, the final norm's gain and the unembedding."""
    from induction.ov_circuit import effective_embedding, random_tokens

    monkeypatch.setattr(token_copies, "TOKENS", 40)
    model, layer, head = tiny_model(), 1, 3
    found = live.copies(layer, head)
    chosen = random_tokens(model, 40, 0)
    block = model.hf.model.layers[layer]
    with torch.no_grad():
        read = block.input_layernorm(effective_embedding(model, chosen))
        width, kv = model.d_head, head // (HEADS // 2)
        value = read @ block.self_attn.v_proj.weight[kv * width : (kv + 1) * width].T
        written = value @ block.self_attn.o_proj.weight[:, head * width : (head + 1) * width].T
        logits = (written * model.hf.model.norm.weight) @ model.hf.lm_head.weight[chosen].T
    rows = []
    for at, token in enumerate(chosen.tolist()):
        row = logits[at]
        rank = 1 + int((row > row[at]).sum())
        rows.append((float((row[at] - row.mean()) / row.std(unbiased=False)), rank, model.tokenizer.decode([token])))
    rows.sort(reverse=True)
    assert [(copy.token, copy.rank) for copy in found.copies] == [(text, rank) for _, rank, text in rows[:10]]
    np.testing.assert_allclose([copy.deviations for copy in found.copies], [row[0] for row in rows[:10]], rtol=1e-3)
    assert found.first == pytest.approx(np.mean([rank == 1 for _, rank, _ in rows]))


def test_what_is_kept_of_circuits_is_bounded_in_bytes(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's embeddings give way to the next one's, and the answers are the same."""
    monkeypatch.setattr(token_copies, "TOKENS", 40)
    one = 40 * 64 * 4  # bytes of 40 embeddings
    for room in (one, 4 * one):
        monkeypatch.setattr("headscope.inspector.bench.CIRCUITS", room)
        bench = Bench("tiny", model=tiny_model())
        for layer in range(LAYERS):
            assert bench.copies(layer, 0) == live.copies(layer, 0)
            assert 0 < bench._circuits.size <= room


def test_families_whose_heads_write_no_logits_say_so() -> None:
    from tests.induction.tokenizers import opt_like, pair_merges

    bench = Bench("post-norm", model=families.load("opt-350m", tokenizer=opt_like(pair_merges("abc"))))
    with pytest.raises(RefusedModelError, match="copying scores are refused"):
        bench.copies(0, 0)


# ---- stored scores --------------------------------------------------------------------------------------------------


def test_the_table_of_scores_is_the_runs(stored: Bench, run_folder: Path) -> None:
    scores, run = stored.scores, open_run(run_folder)
    assert (scores.layers, scores.heads, scores.kv) == (30, 9, 3)
    prefix = run.head_score("prefix_matching")
    np.testing.assert_allclose(scores.by_id["prefix_matching///0"]["mean"], prefix.mean.flatten(), rtol=1e-3)
    best = prefix.top(1)[0]
    assert scores.strongest() == (best.layer, best.head)
    assert scores.pair() == ("prefix_matching///0", f"importance/token/{TASKS[0]}/5")


def test_without_importance_the_signed_direct_effect_stands_beside_prefix_matching(tmp_path: Path) -> None:
    from headscope.store.snapshot import Stored

    scores = ScoreTable.read(Stored(open_run(write_run(tmp_path / "run"))))
    assert scores.pair() == ("prefix_matching///0", "copying/signed//0")


def test_a_model_that_is_not_scored_has_no_scores(live: Bench) -> None:
    scores = live.scores
    assert (scores.layers, scores.heads, scores.entries) == (LAYERS, HEADS, ())
    assert scores.strongest() == (0, 0) and scores.data()["classes"] is None


def test_a_run_without_its_model_shows_what_is_stored_and_says_why_the_rest_is_off(stored: Bench) -> None:
    example = stored.attention(Prompt("stored"))
    expected = stored.run.attention_example.patterns[26, 8].float().numpy() / 255  # type: ignore[union-attr]
    np.testing.assert_allclose(example.pattern(26, 8), expected, atol=1e-6)
    np.testing.assert_allclose(example.window(26, 3, 9)[8], expected[3:9, 3:9], atol=1e-6)
    for ask in (
        lambda: stored.read(REPEATED),
        lambda: stored.copies(0, 0),
        lambda: stored.repeat_score(RemovedParts()),
    ):
        with pytest.raises(UsageError, match=r"needs the model.*--no-model"):
            ask()


def test_a_stored_figure_comes_with_what_it_is_and_its_panels_are_listed_once(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope.inspector import stored_figures
    from headscope.store.snapshot import Stored

    listed: list[str] = []
    entries = stored_figures.CATALOGUE

    def counted(entry: Any) -> Any:
        return lambda stored: listed.append(entry.name) or entry.panels(stored)

    monkeypatch.setattr(
        stored_figures, "CATALOGUE", tuple(dataclasses.replace(entry, panels=counted(entry)) for entry in entries)
    )
    bench = Bench("stored", run=open_run(run_folder), why="--no-model")
    for choice in (["pruning_heads", 1], ["cross_task", 0]):
        made: Any = stored_figures.stored_parts(bench, choice)
        panels = list(next(entry for entry in entries if entry.name == choice[0]).panels(Stored(open_run(run_folder))))
        assert made["choice"] == made["asked"] == choice and made["panels"] == [panel.title for panel in panels]
        assert made["figure"]["layout"]["title"]["text"] == panels[choice[1]].draw().layout.title.text
    assert len(listed) == len(set(listed)) > 5
    for missing in (["nothing", 0], ["cross_task", 99], ["cross_task", "x"]):
        made = stored_figures.stored_parts(bench, missing)
        assert made["choice"] != missing and "does not have the figure that was asked for" in made["caption"]


def test_tasks_with_slashes_in_their_names_keep_their_shots() -> None:
    from headscope.inspector.score_table import key_of

    assert key_of("importance/token/a/b </c>/5") == ("importance", "token", "a/b </c>", "5")
    assert key_of("prefix_matching///0") == ("prefix_matching", "", "", "0")
    entry = {"mean": [0.0], "low": [], "high": [], "null": [], "p": [], "family": [], "group": "g", "n": 1}
    names = ("prefix_matching///0", "importance/token/a/b/0", "importance/token/a/b/5")
    table = ScoreTable(1, 1, 1, tuple({**entry, "id": name} for name in names))
    assert table.pair() == ("prefix_matching///0", "importance/token/a/b/5")
    assert table.csv().splitlines()[-1].startswith("0,0,,importance,token,a/b,5,0.0")


def test_a_bench_needs_something_on_it() -> None:
    with pytest.raises(UsageError, match="nothing to inspect"):
        Bench("nothing")


def test_scores_are_written_with_every_head_and_value(stored: Bench) -> None:
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(stored.scores.csv())))
    assert len(rows) == len(stored.scores.entries) * 270
    row = next(r for r in rows if (r["layer"], r["head"], r["score"], r["task"]) == ("2", "3", "importance", "copa"))
    assert float(row["mean"]) == stored.scores.by_id["importance/token/copa/0"]["mean"][2 * 9 + 3]


def test_probabilities_are_percentages() -> None:
    assert outcome.percent(0.5) == "50.0%" and outcome.percent(0.0001) == "<0.1%"
