"""The induction stage: definitions in its protocol, natural prompts, further scores, counts for a vocabulary."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import induction
import interp
from headscope.stages.induction import measure_induction, stage_of
from headscope.stages.token_counts import mark_of, read_counts
from headscope.store.glossary import TERMS
from headscope.store.run import open_run
from induction.definitions import DEFINITIONS, versions
from interp.errors import StoreError, UsageError
from tests.headscope import tiny
from tests.headscope.commands import command, refused
from tests.induction import worded

ASKED = {"sequences": 3, "length": 10}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> interp.HookedModel:
    return interp.load_model(str(model_folder), check=False)


def test_every_score_has_an_entry_on_the_pages() -> None:
    assert {(one.name, one.variant) for one in DEFINITIONS} <= set(TERMS)
    for (score, variant), term in TERMS.items():
        assert term.meaning.endswith(".") and term.label and term.short, (score, variant)


def test_the_sink_is_read_on_natural_prompts_too_and_other_prompts_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = worded.model("llama")
    drawn = partial(induction.entity_prompts, prompts=3, length=12)
    monkeypatch.setattr(induction, "entity_prompts", drawn)
    measure_induction(model, tmp_path / "run", **ASKED, also=("concept",))  # type: ignore[arg-type]
    run = open_run(tmp_path / "run")
    stored = set(run.head_scores[["score", "variant"]].itertuples(index=False, name=None))
    assert {("sink", ""), ("sink", "natural"), ("concept_induction", ""), ("token_induction", "second_token")} <= stored
    natural = run.head_score("sink", "natural")
    wanted = induction.sink_score(model, induction.natural_prompts(model))
    assert natural.n == wanted.n and float((natural.mean - wanted.mean).abs().max()) < 1e-5
    assert "length" in run.items("head-sink") and "length" not in run.items("head-sink-natural")
    assert run.stages[0].protocol["definitions"] == versions()  # type: ignore[index]


def test_scores_of_another_definition_never_stand_in_the_same_folder(
    model: interp.HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_induction(model, tmp_path, **ASKED)  # type: ignore[arg-type]
    monkeypatch.setattr("induction.definitions.versions", lambda: {"ov_copying": 3})
    with pytest.raises(StoreError, match="definitions"):
        measure_induction(model, tmp_path, **ASKED)  # type: ignore[arg-type]


def test_counts_say_what_sequences_are_drawn_from(model: interp.HookedModel, tmp_path: Path) -> None:
    uniform = measure_induction(model, tmp_path / "uniform", **ASKED, counts="uniform")  # type: ignore[arg-type]
    assert uniform.protocol.startswith("protocol quick")
    record = open_run(tmp_path / "uniform").manifest.recorded("candidates")
    assert record["rule"] == "uniform"
    words = {str(token): 1000 - place for place, token in enumerate(record["ids"][:60])}
    (tmp_path / "counts.json").write_text(json.dumps(words))
    measure_induction(model, tmp_path / "counted", **ASKED, counts=str(tmp_path / "counts.json"))  # type: ignore[arg-type]
    counted = open_run(tmp_path / "counted").manifest.recorded("candidates")
    assert counted["rule"] == "counts" and {str(token) for token in counted["ids"]} < set(words)


def test_a_list_and_a_mapping_of_the_same_counts_are_one(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[0, 3, 5.5]")
    (tmp_path / "map.json").write_text('{"0": 0, "2": 5.5, "1": 3}')
    found = [str(tmp_path / f"{name}.json") for name in ("list", "map")]
    assert read_counts(found[0]) == read_counts(found[1]) == {0: 0.0, 1: 3.0, 2: 5.5}
    assert mark_of(found[0]) == mark_of(found[1]) and mark_of("uniform") == "uniform" and mark_of(None) is None
    options = {"protocol": "quick", "sequences": None, "length": None, "seed": 0}
    assert "counts" not in stage_of(**options).protocol  # type: ignore[arg-type]
    assert stage_of(**options, counts=found[0]).protocol["counts"] == mark_of(found[0])  # type: ignore[arg-type, index]


def test_counts_that_are_none_are_a_sentence(model_folder: Path, tmp_path: Path) -> None:
    for content, told in (
        ("{", "is no JSON"),
        ('"many"', "counts no token"),
        ('{"a": 1}', "something else than counts"),
    ):
        (tmp_path / "counts.json").write_text(content)
        with pytest.raises(UsageError, match=told):
            read_counts(str(tmp_path / "counts.json"))
    asked = ("induction", model_folder, "-o", tmp_path / "run")
    refused(command(*asked, "--counts", tmp_path / "none.json"), "the counts can't be read", "uniform (--counts)")
    refused(command(*asked, "--also", "sinks"), "'sinks' is no further kind of scores; there are retrieval, concept")
