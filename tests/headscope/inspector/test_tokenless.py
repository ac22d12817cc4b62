"""A model without a tokenizer in the inspector: tokens are numbers, and what needs text says one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import induction
import interp
from headscope.inspector import many_prompts, thumbnails, writers, writers_panel, writing_on
from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import QUOTES
from headscope.stages.induction import measure_induction
from headscope.store.run import open_run
from interp.errors import UsageError
from tests.headscope.browsed import READY
from tests.headscope.inspector.test_inspector_states import served

PROMPT = {"kind": "repeated", "length": 6, "repeats": 3, "seed": 0}
ASKED = {"prompt": PROMPT, "query": 9, "removal": {"heads": [[1, 2]], "ffns": [], "ablation": "zero"}}
SAYS = "must be turned into tokens, and this model has no tokenizer"


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64}
    return interp.load_model(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)), check=False)


@pytest.fixture(scope="module")
def bench(model: interp.HookedModel) -> Bench:
    return Bench("toy", model=model)


def test_tokens_are_numbers(bench: Bench) -> None:
    made = bench.read(Prompt("repeated", length=6, repeats=3)).tokens
    assert made.texts == tuple(map(str, made.ids)) and made.ids[1:7] == made.ids[7:13]
    assert all(copy.token.isdigit() and copy.most.isdigit() for copy in bench.copies(1, 2).copies)
    assert bench.repeat_score(RemovedParts()) == bench.repeat_score(RemovedParts())
    assert thumbnails.grid_parts(bench, ASKED)["layers"]


def test_what_the_model_writes_is_told_in_numbers(bench: Bench, model: interp.HookedModel) -> None:
    found = writers.question(bench, ASKED)
    made = writers_panel.writers_parts(bench, ASKED)
    assert f"{QUOTES[0]}{found.answer}{QUOTES[1]}" in made["title"]
    assert float(writers.direct(bench, found).total[-1]) == pytest.approx(
        float(writers.direct(bench, found).logit_difference[-1]), abs=1e-4
    )
    _, written = writing_on.both(bench, {**ASKED, "count": 4})
    assert [one.texts for one in written] == [tuple(map(str, one.ids)) for one in written]


def test_what_needs_text_says_one_sentence(bench: Bench) -> None:
    asked = writers.question(bench, ASKED)
    for refused in (
        lambda: bench.read(Prompt("text", text="a b c")),
        lambda: bench.read(Prompt("task", task="probe_capitals", shots=1)),
        lambda: writers.question(bench, {**ASKED, "answer": "b"}),
        lambda: writers.patched(bench, asked, "a b", "last"),
        lambda: many_prompts.averages(bench, {**ASKED, "lines": "a b\nc d"}),
        lambda: bench.read(Prompt("repeated", length=6, repeats=3), RemovedParts(((1, 2),), ablation="mean")),
    ):
        with pytest.raises(UsageError, match=SAYS):
            refused()


def test_prompts_are_drawn_as_the_runs_sequences_were(model: interp.HookedModel, tmp_path: Path) -> None:
    """Even tokens alone; the same by `--counts`, before there is a run."""
    counts = tmp_path / "counts.json"
    counts.write_text(str([1 - token % 2 for token in range(64)]))
    measure_induction(model, tmp_path / "run", length=6, sequences=2, counts=str(counts))
    for bench in (Bench("toy", run=open_run(tmp_path / "run"), model=model), Bench("toy", model=model)):
        bench.counts = str(counts)
        ids = bench.read(Prompt("repeated", length=6, repeats=3, seed=4)).tokens.ids
        assert all(token % 2 == 0 for token in ids)
        assert (
            bench.candidates.ids.tolist()
            == induction.candidate_tokens(None, 64, counts=dict(enumerate([1, 0] * 32))).ids.tolist()
        )


@pytest.mark.browser
def test_the_page_shows_numbers(bench: Bench, browser: Any) -> None:
    with served(bench) as address:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{address}#head=1.1")
        page.wait_for_selector(READY)
        page.locator("#strip [role=option][title*=attention]").first.wait_for()
        told = page.locator("#strip [role=option]").all_text_contents()
        assert told and all(text.strip().isdigit() for text in told)
        page.locator("#patch-corrupt").fill("a b")
        page.locator("#ask-patch").click()
        page.locator("#patch-problem", has_text=SAYS).wait_for()
        page.locator("#ask-writers").click()
        page.locator("#writers-sum", has_text="together").wait_for()
        assert page.locator("#defect").inner_text() == ""
        page.close()
