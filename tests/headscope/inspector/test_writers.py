"""Which heads write the next token: each number of the panels beside a second route."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ablation import direct_attribution
from headscope.inspector import downloads, writers, writers_panel
from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import MINUS, QUOTES, plain
from interp.errors import UsageError
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model
from tests.interp import families

PROMPT = {"kind": "repeated", "length": 6, "repeats": 3, "seed": 0}
ASKED = {"prompt": PROMPT, "query": 9, "removal": {"heads": [[1, 2]], "ffns": [], "ablation": "zero"}, "at": "last"}
CORRUPT = "abcd efgh abcd"


@pytest.fixture(scope="module")
def live() -> Bench:
    return Bench("tiny", model=tiny_model())


def test_the_answer_is_the_prompts_next_token_or_the_likeliest_or_the_one_that_is_typed(live: Bench) -> None:
    ids = live.read(Prompt("repeated", length=6, repeats=3)).tokens.ids
    assert writers.question(live, ASKED) == writers.Question(ids[:10], ids[10], None, RemovedParts(((1, 2),)))
    with torch.no_grad():
        likeliest = int(live.live(torch.tensor([ids]))[0, -1].argmax())
    assert writers.question(live, {**ASKED, "query": None}).answer == likeliest
    (typed,) = live.live.tokenizer("b", add_special_tokens=False)["input_ids"]
    found = writers.question(live, {**ASKED, "answer": "b", "other": "c"})
    assert found.answer == typed and found.other not in (None, typed)


def test_a_mosaic_of_direct_attribution_is_what_is_left_when_the_stream_loses_a_head(live: Bench) -> None:
    """Each head's z W_O taken out of the stream in front of a norm whose scale is held."""
    found, model = writers.question(live, ASKED), live.live
    made = writers_panel.writers_parts(live, ASKED)
    shown = np.array(made["mosaic"]["mean"], dtype=float).reshape(LAYERS, HEADS)
    tokens = torch.tensor([found.ids])
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, ["z", ("resid_post", LAYERS - 1)])
        stream = cache["resid_post", LAYERS - 1][0, -1].double()
        norm = model.hf.model.norm
        scale = norm.weight.double() / (stream.square().mean() + norm.variance_epsilon).sqrt()
        rows = model.hf.lm_head.weight.double()
        direction = scale * (rows[found.answer] - rows.mean(0))
        for layer in range(LAYERS):
            for head in range(HEADS):
                out = model.hf.model.layers[layer].self_attn.o_proj.weight[:, head * 16 : head * 16 + 16].double()
                written = float(out @ cache["z", layer][0, -1, head].double() @ direction)
                assert shown[layer, head] == pytest.approx(written, rel=2e-3, abs=2e-4)
    direct = writers.direct(live, found)
    assert float(direct.total[-1]) == pytest.approx(float(direct.logit_difference[-1]), abs=1e-3)
    assert sum(map(sum, writers_panel.parts(direct).values())) + float(
        direct.embedding[-1] + direct.bias[-1] + direct.attention_bias[-1].nansum()
    ) == pytest.approx(float(direct.total[-1]), abs=1e-6)


def test_the_lens_ends_with_the_models_own_probability(live: Bench) -> None:
    found = writers.question(live, ASKED)
    for removed in (RemovedParts(), found.removed):
        made = writers.lens(live, found, removed)
        with torch.no_grad(), live.live.gates(heads=list(removed.heads)):
            log_p = live.live(torch.tensor([found.ids]))[0, -1].log_softmax(-1)
        assert float(made.log_p[-1]) == pytest.approx(float(log_p[found.answer]), abs=1e-5)
        assert made.ranks[-1] == 1 + int((log_p > log_p[found.answer]).sum()) and made.best[-1] == int(log_p.argmax())


def test_only_the_token_that_is_asked_about_is_kept(live: Bench) -> None:
    found = writers.question(live, ASKED)
    kept, whole = writers.direct(live, found), direct_attribution(live.live, found.ids, (found.answer,))
    assert kept.heads.shape == (1, LAYERS, HEADS) and kept.heads.untyped_storage().nbytes() == 8 * LAYERS * HEADS
    for name in ("heads", "ffns", "attention_bias", "embedding", "bias", "total", "logit_difference"):
        torch.testing.assert_close(getattr(kept, name)[-1], getattr(whole, name)[-1], equal_nan=True)


def test_the_parts_that_are_told_add_up_where_layers_have_no_heads() -> None:
    model = families.load("qwen3_next")
    made = direct_attribution(model, list(range(5, 14)), [7])
    told = writers_panel.sum_of(made)
    numbers = [float(number.replace(MINUS, "-")) for number in re.findall(rf"{MINUS}?\d+\.\d+", told)]
    assert f"other layers {plain(float(made.mixers[-1].nansum()))}: together" in told and len(numbers) == 7
    assert sum(numbers[:5]) == pytest.approx(numbers[5], abs=0.03)
    assert "other layers" not in writers_panel.sum_of(replace(made, mixers=torch.zeros_like(made.mixers)))


def test_an_answer_that_is_another_token_behind_a_space_is_told(live: Bench) -> None:
    read = {"b": [5], " b": [6], "c": [7], " c": [8, 9]}
    opening, closing = QUOTES
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writers, "read_text", lambda tokenizer, text, **options: read[text])
        assert writers_panel.hints(live, {"answer": "b", "other": "c"}) == [
            f"{opening}b{closing} is the token without a space in front; write one for {opening} b{closing}."
        ]
        assert writers.unspaced(live, {"answer": " b", "other": ""}) == []


@pytest.mark.parametrize("other", ["", "c"])
def test_patching_a_head_is_a_slow_loop_with_hooks(live: Bench, other: str) -> None:
    asked = {**ASKED, "answer": "b", "other": other, "corrupt": CORRUPT}
    found, model = writers.question(live, asked), live.live
    shown = np.array(writers_panel.patch_parts(live, asked)["mosaic"]["mean"], dtype=float).reshape(LAYERS, HEADS)
    corrupt = torch.tensor([model.tokenizer(CORRUPT)["input_ids"]])

    def outcome() -> float:
        with torch.no_grad():
            log_p = model(corrupt)[0, -1].log_softmax(-1)
        return float(log_p[found.answer] - (0 if found.other is None else log_p[found.other]))

    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([found.ids]), ["z"])
    whole = outcome()
    for layer in range(LAYERS):
        for head in range(HEADS):

            def put(z: Any, layer: int = layer, head: int = head) -> Any:
                changed = z.clone()
                changed[0, -1, head] = cache["z", layer][0, -1, head]
                return changed

            with model.edit("z", put, layer=layer):
                assert shown[layer, head] == pytest.approx(outcome() - whole, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"answer": "abcd efgh"}, "tokens, and an answer here is one"),
        ({"answer": "b", "other": "b"}, "are the same"),
        ({"answer": "a" * 500}, "500 characters"),
        ({"prompt": {"kind": "stored"}}, "holds no stored sequence|has attention alone"),
    ],
)
def test_answers_that_are_none_are_told(live: Bench, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        writers.question(live, {**ASKED, **asked})


@pytest.mark.parametrize(
    ("corrupt", "at", "says"),
    [
        ("", "last", "other prompt"),
        ("ab", "first", "not a place"),
        ("ab", "all", "equal length"),
        ("a " * 10_001, "last", "20,002 characters"),
        ("z" * 512, "last", "has 513 tokens, and at most 512"),
    ],
)
def test_other_prompts_that_are_none_are_told(live: Bench, corrupt: str, at: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        writers.patched(live, writers.question(live, ASKED), corrupt, at)


def test_patching_at_every_token_has_a_bound(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    found, corrupt = writers.question(live, ASKED), "ab cd ef"
    count = len(live.live.tokenizer(corrupt)["input_ids"])
    monkeypatch.setattr(writers, "PATCHED", LAYERS * HEADS * count - 1)
    with pytest.raises(UsageError, match=f"shorten the other prompt to {count - 1} tokens"):
        writers.patched(live, found, corrupt, "all")
    for other in (corrupt, "z" * 511):  # the second fills the context
        assert writers.patched(live, found, other, "last").mean.isfinite().all()


def test_files_hold_what_is_shown(live: Bench) -> None:
    state = {"writers-asked": ASKED, "patch-asked": {**ASKED, "corrupt": CORRUPT}}
    rows = {
        name: list(csv.DictReader(io.StringIO(downloads.FILES[name](live, state))))
        for name in ("written-by", "parts", "lens", "patched")
    }
    made = writers.direct(live, writers.question(live, ASKED))
    assert [float(row["logits"]) for row in rows["written-by"]] == pytest.approx(
        made.heads[-1].flatten().tolist(), abs=1e-6
    )
    assert sum(float(row["logits"]) for row in rows["parts"] if row["logits"] != "nan") == pytest.approx(
        float(made.total[-1]), abs=1e-4
    )
    assert len(rows["lens"]) == 2 * LAYERS and {row["pass"] for row in rows["lens"]} == {"before", "after"}
    assert len(rows["patched"]) == LAYERS * HEADS
    with pytest.raises(UsageError, match="Nothing has been asked"):
        downloads.lens_csv(live, {"writers-asked": None})
