"""A removal where it happens: the line above the page, what stands beside the mosaic, what the model writes on."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch

from headscope.inspector import downloads, outcome, writing_on
from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.questions import answered
from headscope.inspector.selection import shaded
from interp.errors import UsageError
from interp.masks import heads_in, layers_in
from tests.headscope.tiny_model import tiny_model

PROMPT = {"kind": "repeated", "length": 6, "repeats": 3, "seed": 0}
REMOVAL = {"heads": [[1, 2]], "ffns": [2], "ablation": "zero"}


@pytest.fixture
def live() -> Bench:
    return Bench("tiny", model=tiny_model())


def without_weights() -> Any:
    """The tiny model with the weights of REMOVAL at zero: the second route to what is removed."""
    model = tiny_model()
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        hf.model.layers[1].self_attn.o_proj.weight[:, 2 * model.d_value : 3 * model.d_value] = 0
        hf.model.layers[2].mlp.down_proj.weight.zero_()
    return hf


def text(node: Any) -> str:
    """The words of an element of Dash."""
    if node is None or isinstance(node, str | int | float):
        return str(node or "")
    if isinstance(node, list | tuple):
        return " ".join(text(part) for part in node)
    return text(getattr(node, "children", ""))


def test_the_line_and_the_brief_tell_the_probability_before_and_after(live: Bench) -> None:
    reading, tokens = {"prompt": PROMPT}, live.read(Prompt("repeated", length=6, repeats=3)).tokens
    *_, line, brief, problem = outcome.outcome_parts(live, REMOVAL, reading, 9, "tab")
    ids = torch.tensor([tokens.ids])
    with torch.no_grad():
        whole, left = (hf(ids).logits[0, 9].softmax(-1) for hf in (tiny_model().hf, without_weights()))
    most = int(whole.argmax())
    assert problem == ""
    assert outcome.percent(float(whole[most])) in text(line)
    after = re.split("→ ", text(line))[1]
    assert after == outcome.percent(float(left[most])) or after.startswith(("≤", "<"))
    assert outcome.percent(float(whole[most])) in text(brief) and "loss, repeats" in text(brief)
    assert outcome.outcome_parts(live, None, reading, 9, "tab")[-3:-1] == [[], []]


def test_the_repeat_score_stands_in_the_line(live: Bench) -> None:
    _, line, brief = outcome.learning_parts(live, REMOVAL, "tab")
    scores = [live.repeat_score(one) for one in (RemovedParts(), RemovedParts(((1, 2),), (2,)))]
    assert text(line) == f" · repeat score {outcome.plain(scores[0])} → {outcome.plain(scores[1])}"
    assert text(line).removeprefix(" · ") in text(brief)
    assert outcome.learning_parts(live, None, "tab")[1:] == [[], []]


def test_what_is_written_on_is_the_likeliest_token_each_time(live: Bench) -> None:
    """Beside a loop over the model with zeroed weights."""
    position, made = writing_on.both(live, {"prompt": PROMPT, "removal": REMOVAL, "query": 9, "count": 7})
    assert position == 9 and len(made) == 2
    start = list(live.read(Prompt("repeated", length=6, repeats=3)).tokens.ids[:10])
    for one, hf in zip(made, (tiny_model().hf, without_weights()), strict=True):
        ids = list(start)
        with torch.no_grad():
            for _ in range(7):
                ids.append(int(hf(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] == 2:
                    break
        assert list(one.ids) == ids[10:]
    assert made[0].ids != made[1].ids
    apart = next(at for at, pair in enumerate(zip(made[0].ids, made[1].ids, strict=False)) if pair[0] != pair[1])
    assert f"They part at new token {apart + 1}." in writing_on.note(position, made)
    csv = downloads.written_csv(live, {"write-asked": {"prompt": PROMPT, "removal": REMOVAL, "query": 9, "count": 7}})
    assert len(csv.splitlines()) == 1 + len(made[0].ids) + len(made[1].ids)


def test_long_prompts_get_fewer_tokens_and_a_full_context_ends(live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing_on, "READ", 40)
    made = writing_on.write_on(live.live, [3] * 10, 9, lambda done, total: None)
    assert len(made.ids) <= 4 and (made.full or made.ids[-1] == 2)
    monkeypatch.setattr(writing_on, "READ", 1 << 20)
    full = writing_on.write_on(live.live, [3] * 511, 9, lambda done, total: None)
    assert len(full.ids) == 1


@pytest.mark.parametrize("asked", [{"count": 0}, {"count": "x"}, {"count": 49}, {"prompt": {"kind": "stored"}}])
def test_what_can_not_be_written_on_is_told(live: Bench, asked: dict[str, Any]) -> None:
    made = answered(live, {"prompt": PROMPT, **asked}, "tab", writing_on.written_parts)
    assert made["problem"] and "table" not in made


def test_ranges_and_whole_layers() -> None:
    assert heads_in("2.*, 0.1-2 1.3;2.0", 3, 4) == [(2, 0), (2, 1), (2, 2), (2, 3), (0, 1), (0, 2), (1, 3)]
    assert heads_in("*.3", 3, 4) == [(0, 3), (1, 3), (2, 3)] and heads_in("0-1.0", 3, 4) == [(0, 0), (1, 0)]
    assert layers_in("0-1, 2", 3) == layers_in("*", 3) == [0, 1, 2] and heads_in(" ", 3, 4) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("3.*", "layers 0-2"),
        ("0.2-4", "heads 0-3"),
        ("0.3-1", "backwards"),
        ("2", "is not a head"),
        ("²", "not a head"),
    ],
)
def test_ranges_of_what_is_not_there_are_refused(given: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        heads_in(given, 3, 4)


def test_lists_with_ranges_are_read(live: Bench) -> None:
    made = outcome.list_parts(live, {"heads": "1.*", "ffns": "0-1"})
    assert made == {"heads": [[1, 0], [1, 1], [1, 2], [1, 3]], "ffns": [0, 1], "problem": ""}
    assert "layers 0-2" in outcome.list_parts(live, {"heads": "", "ffns": "2-3"})["problem"]
    long = outcome.list_parts(live, {"heads": "0.0," * 5000 + "1.2", "ffns": "0," * 1000 + "2"})  # to its end
    assert long == {"heads": [[0, 0], [1, 2]], "ffns": [0, 2], "problem": ""}
    assert "is not a head" in outcome.list_parts(live, {"heads": "*.*," * 5000 + "x", "ffns": ""})["problem"]


def test_who_attends_to_a_token_is_a_column(live: Bench) -> None:
    pattern = live.read(Prompt("repeated", length=6, repeats=3)).pattern(1, 2)
    row, column = (shaded(pattern, {"query": 5, "toward": toward}) for toward in (False, True))
    assert row == [round(float(value), 4) for value in pattern[5]]
    assert column == [round(float(pattern[query, 5]), 4) for query in range(len(pattern))]
