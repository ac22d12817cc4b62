"""The report file: one file, its policy, its escaping, and its numbers, read without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headscope.findings.page import page_of
from headscope.report import render
from headscope.report.attention import encoded_example
from headscope.report.page import safe_json
from headscope.store.attention_example import AttentionExample
from headscope.store.glossary import TERMS
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import StoreError
from interp.scores import FFNScores, HeadScores
from interp.token_display import shown
from tests.headscope.synthetic import HOSTILE, IDENTITY, SCORES, Shape, write_run

EVIL = "</script><script>alert(1)</script>"
TOKENS = ["<s>", *HOSTILE, *HOSTILE, *HOSTILE]
SMALL = Shape(6, 4, 2)


class Reader(HTMLParser):
    """Scripts (with attributes), the policy, the text outside scripts and styles, and every address in an attribute."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.addresses: list[str] = []
        self.policy = self.text = ""
        self.open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [str(named[name]) for name in ("src", "href", "srcset", "action", "data") if named.get(name)]
        assert not [name for name in named if name.startswith("on")], "a handler in an attribute"
        if tag == "meta" and named.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(named["content"])
        if tag in ("script", "style"):
            self.open = tag
            if tag == "script":
                self.scripts.append((named, ""))

    def handle_endtag(self, tag: str) -> None:
        self.open = None if tag == self.open else self.open

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self.open is None:
            self.text += data


def read(path: Path) -> tuple[Reader, dict[str, Any]]:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    (data,) = [text for attributes, text in reader.scripts if attributes.get("type") == "application/json"]
    return reader, json.loads(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 x 9 heads, all stages, 101 tokens."""
    tokens = ["<s>", *[f" token{place % 25}" for place in range(100)]]
    return render(write_run(tmp_path_factory.mktemp("whole") / "run", study=True, tasks=["copa", "rte"], tokens=tokens))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name that comes from outside is an attack."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    identity = {**IDENTITY, "source": f"me/{EVIL}", "quantization": f'"{EVIL}', "architecture": "<b>x</b>"}
    write_run(folder, shape=SMALL, study=True, tasks=[f"task{EVIL}", "copa"], tokens=TOKENS, identity=identity)
    return render(folder)


def test_the_report_is_one_file_under_eight_megabytes(whole: Path) -> None:
    assert whole.name == "report.html" and whole.stat().st_size < 8e6
    reader, data = read(whole)
    assert (data["scores"]["layers"], data["scores"]["heads"], len(data["attention"]["heads"])) == (30, 9, 270)
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)


def test_the_policy_names_every_script_and_allows_no_other(whole: Path) -> None:
    reader, _ = read(whole)
    policy = dict(part.strip().split(" ", 1) for part in reader.policy.split(";"))
    run = [text for attributes, text in reader.scripts if attributes.get("type") != "application/json"]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run}
    assert set(policy["script-src"].split()) == hashes and len(run) >= 5
    for name in ("default-src", "connect-src", "base-uri", "form-action"):
        assert policy[name] == "'none'"
    assert "http" not in reader.policy and "unsafe-eval" not in reader.policy


def test_what_comes_from_outside_is_text(hostile: Path) -> None:
    reader, data = read(hostile)
    source = hostile.read_text(encoding="utf-8")
    assert EVIL not in source and "alert(1)</script>" not in source
    assert f"me/{EVIL}" in reader.text and "<b>x</b>" in reader.text and f"task{EVIL}" in reader.text
    assert data["attention"]["tokens"] == [shown(token) for token in TOKENS]
    assert any(EVIL in score["label"] for score in data["scores"]["entries"])


def test_json_cannot_end_its_element() -> None:
    value = {"a": ["</script>", "<!--", "&lt;", "\u2028", "\ud800", "é🙂"]}
    text = safe_json(value)
    assert not set(text) & set("<>&\u2028") and text.isascii() and json.loads(text) == value


def test_numbers_are_the_stored_ones(whole: Path) -> None:
    run, (_, data) = open_run(whole.parent), read(whole)
    free = [score for score in data["scores"]["entries"] if score["group"] == data["scores"]["groups"][0]]
    assert len(free) == len(SCORES) and free[0]["id"] == "prefix_matching///0"
    for entry in data["scores"]["entries"]:
        name, variant, task, shots = entry["id"].split("/")
        stored = run.head_score(name, variant, task=task, shots=int(shots))
        for key, column in (("mean", stored.mean), ("low", stored.ci_low), ("high", stored.ci_high)):
            np.testing.assert_allclose(entry[key], column.flatten(), rtol=1e-3)
        if stored.nulls:
            np.testing.assert_allclose(entry["family"], stored.p_family.flatten(), rtol=1e-3)
            np.testing.assert_allclose(entry["null"], stored.null_mean.flatten(), rtol=1e-3, atol=1e-6)
        else:
            assert entry["null"] == entry["p"] == entry["family"] == []


def test_heads_that_do_not_exist_are_null_and_not_zero(tmp_path: Path) -> None:
    items = torch.rand(4, 2, 3)
    items[:, 1] = torch.nan
    with begin_stage(tmp_path, IDENTITY, Stage("induction", "quick")) as writer:
        writer.add_scores(HeadScores.from_items("prefix_matching", items))
    _, data = read(render(tmp_path))
    mean = data["scores"]["entries"][0]["mean"]
    assert mean[3:] == [None] * 3 and None not in mean[:3]
    assert data["scores"]["classes"] is None and data["attention"] is None and data["scores"]["vectors"] is None
    assert [figure["name"] for figure in data["figures"]] == ["layer_profile"]


def test_the_words_agree_with_the_tables(whole: Path) -> None:
    reader, data = read(whole)
    text = re.sub(r"\s+", " ", reader.text)
    counts = {name: data["scores"]["classes"].count(name) for name in ("copying", "anti-copying", "matching only")}
    assert f"{sum(counts.values())} of its 270 heads look back" in text
    assert "Q4_1, dequantised to float32" in text
    assert "20 sequences, each a block of 50 random tokens repeated" in text
    above = sum(p <= 0.05 for p in data["scores"]["entries"][0]["family"])
    assert re.search(rf"Prefix matching\s*{above}\b", text)
    assert "Not finished" not in text


def test_the_report_of_a_study_answers_in_the_readers_order(whole: Path) -> None:
    text = re.sub(r"\s+", " ", read(whole)[0].text)
    titles = [section.title for section in page_of(open_run(whole.parent))[1:-1]]
    titles = [title if title != "Which heads look back" else "Head by head" for title in titles]
    places = [text.index(title) for title in [*titles, "How to read this page", "All heads"]]
    assert len(titles) == 8 and places == sorted(places)
    for section in page_of(open_run(whole.parent)):
        if section.name in ("mosaic", "dots", "contest"):
            continue  # Their captions are those of the report's figures.
        assert all(re.sub(r"\s+", " ", line) in text for line in (*section.sentences, section.note) if line), section
    assert [title.split(".")[0] for title in re.findall(r"Table \d+\.", text)] == [f"Table {n}" for n in range(1, 8)]


def test_the_report_of_the_scores_alone_names_the_strongest_head(tmp_path: Path) -> None:
    reader, data = read(render(write_run(tmp_path / "run", shape=SMALL)))
    prefix = data["scores"]["entries"][0]["mean"]
    best = int(np.argmax(prefix))
    assert f"that of head {best // 4}.{best % 4}: {prefix[best]:.3f}" in re.sub(r"\s+", " ", reader.text)
    assert "How to read this page" not in reader.text


def test_what_the_stage_recorded_is_told(tmp_path: Path) -> None:
    with begin_stage(tmp_path, IDENTITY, Stage("induction", {"protocol": "paper"}, seed=4)) as writer:
        writer.add_scores(HeadScores.from_items("prefix_matching", torch.rand(3, 2, 3)))
        writer.record(lengths=[25, 27], repeat_score=-3.456, refused={"copying": "post-LN"})
    text = re.sub(r"\s+", " ", read(render(tmp_path))[0].text)
    assert "3 sequences, each a block of 25 to 27 random tokens repeated (protocol paper, seed 4)" in text
    assert "loss falls by 3.46 nats" in text and "Not scored: copying (post-LN)." in text


def test_only_tasks_whose_importance_was_measured_are_said_to_be(tmp_path: Path) -> None:
    write_run(tmp_path / "run", shape=SMALL)
    begin_stage(tmp_path / "run", IDENTITY, Stage("study", "few", tasks=("copa", "rte"))).finish()
    assert "Importance for tasks was measured" not in read(render(tmp_path / "run"))[0].text
    begin_stage(tmp_path / "run", IDENTITY, Stage("importance", "few", tasks=("copa",))).finish()
    assert "Importance for tasks was measured on 1: copa." in read(render(tmp_path / "run"))[0].text


def test_fv_heads_are_told_apart_from_induction_heads(tmp_path: Path) -> None:
    write_run(tmp_path / "run", shape=SMALL)
    with begin_stage(tmp_path / "run", IDENTITY, Stage("vectors", "probes", tasks=("copa",))) as writer:
        writer.add_scores(HeadScores.from_items("fv", torch.rand(3, 6, 4)))
        writer.record(fv_heads=["5.1", "0.3"])
    _, data = read(render(tmp_path / "run"))
    assert data["scores"]["vectors"] == [3, 21]
    (entry,) = [entry for entry in data["scores"]["entries"] if entry["id"].startswith("fv/")]
    assert entry["label"] == "Function vector" and entry["group"] == data["scores"]["groups"][0]


def test_an_interrupted_stage_is_said_to_be_one(tmp_path: Path) -> None:
    begin_stage(tmp_path, IDENTITY, Stage("prune", "probes"))
    reader, _ = read(render(tmp_path))
    assert "Not finished: prune" in reader.text


def test_a_run_without_heads_shows_what_it_has(tmp_path: Path) -> None:
    with begin_stage(tmp_path, {"source": "tiny"}, Stage("knockout", "probes", tasks=("copa",))) as writer:
        writer.add_scores(FFNScores.from_items("knock_out", torch.rand(4, 3)), task="copa")
    reader, data = read(render(tmp_path))
    assert data["scores"]["entries"] == [] and [figure["name"] for figure in data["figures"]] == ["ffn_knockout"]
    assert "Head by head" not in reader.text and "FFN knock-out by layer" in reader.text


def test_rendering_twice_gives_the_same_bytes(hostile: Path) -> None:
    before = hostile.read_bytes()
    assert render(str(hostile.parent)).read_bytes() == before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no manifest\.json"):
        render(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_patterns_are_packed_row_by_row_and_within_the_budget() -> None:
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 256, (2, 3, 40, 40), generator=generator).to(torch.uint8).tril()
    example = AttentionExample(tuple("t" * 40), patterns)
    order = [(1, 2), (0, 0), (0, 1), (1, 1)]
    packed = encoded_example(example, order)
    assert list(packed["heads"]) == ["1.2", "0.0", "0.1", "1.1"]
    rows = zlib.decompress(base64.b64decode(packed["heads"]["1.2"]))
    assert list(rows) == [int(patterns[1, 2, q, k]) for q in range(40) for k in range(q + 1)]
    size = len(packed["heads"]["1.2"])
    assert list(encoded_example(example, order, budget=2 * size + 50)["heads"]) == ["1.2", "0.0"]


def test_all_patterns_of_a_small_model_fit(whole: Path) -> None:
    _, data = read(whole)
    assert sum(len(text) for text in data["attention"]["heads"].values()) < 2e6


@pytest.mark.parametrize("key", SCORES)
def test_every_score_of_the_induction_package_is_explained(key: tuple[str, str]) -> None:
    assert TERMS[key].meaning and TERMS[key].short
