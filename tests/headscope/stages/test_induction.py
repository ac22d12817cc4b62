"""The induction stage: definitions in its protocol, natural prompts, further scores, counts for a vocabulary."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import induction
import interp
from headscope.cli import options
from headscope.stages.induction import measure_induction, stage_of
from headscope.stages.token_counts import mark_of, read_counts
from headscope.store.glossary import TERMS
from headscope.store.run import open_run
from induction import reading, retrieval
from induction.definitions import DEFINITIONS, SUMMED, versions
from induction.needles import fewest_tokens
from induction.sequences import SHORTEST, candidates_of
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
    assert run.stages[0].record["running_check"] == SUMMED


@pytest.mark.parametrize(
    ("positions", "trained", "lengths"),
    [(400, False, (256, 396)), (300, False, (256,)), (128, True, (128,)), (1024, True, None)],
)
def test_needle_prompts_fit_themselves_to_a_short_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, positions: int, trained: bool, lengths: tuple[int, ...] | None
) -> None:
    model, each = worded.short(positions, trained=trained), 1
    monkeypatch.setattr(induction, "needle_prompts", partial(induction.needle_prompts, each=each))
    found = measure_induction(model, tmp_path / "run", **ASKED, also=("retrieval",))  # type: ignore[arg-type]
    run = open_run(tmp_path / "run")
    record = run.stages[0].record
    told = "; retrieval fitted to it: lengths "
    if lengths is None:
        assert "fitted_prompts" not in record and told not in found.protocol
    else:
        assert record["fitted_prompts"] == {"retrieval": {"lengths": list(lengths)}}
        assert found.protocol.endswith(told + " and ".join(map(str, lengths)))
    drawn = induction.needle_prompts(model, lengths=lengths or (256, 1024))
    assert {item.length for item in drawn.items} == set(lengths or (256, 1024))
    for wanted in induction.retrieval_scores(model, drawn):
        stored = run.head_score("retrieval", wanted.variant)
        assert (stored.n, torch.equal(stored.mean, wanted.mean)) == (wanted.n, True), wanted.variant
        assert torch.equal(stored.p_family, wanted.p_family)
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # units are keyed by these very prompts: the same command runs none of them again
        patch.setattr(retrieval, "prepare", None)
        patch.setattr(reading, "_listening", None)
        measure_induction(model, tmp_path / "run", **ASKED, also=("retrieval",))  # type: ignore[arg-type]


def test_a_context_too_short_for_needles_is_told_with_what_the_command_has(tmp_path: Path) -> None:
    roomy = worded.short(512, trained=True)
    assert 2 * longest_said(roomy) <= fewest_tokens(roomy) <= 2 * longest_said(roomy) + 16
    for positions, trained, fewest in ((200, False, 256), (64, True, fewest_tokens(roomy))):
        folder = tmp_path / str(positions)
        with pytest.raises(UsageError, match=rf"prompts of {fewest} tokens or more .* context of {positions} holds"):
            measure_induction(worded.short(positions, trained=trained), folder, **ASKED, also=("retrieval",))  # type: ignore[arg-type]
        assert not folder.exists()
    model = worded.short(64, trained=True)
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    asked = ("induction", tmp_path / "model", "--sequences", 3, "--length", 10, "-o", tmp_path / "run")
    outcome = command(*asked, "--also", "retrieval", "--check", "off")
    refused(outcome, "leave retrieval out (--also)")
    assert "lengths=" not in outcome.error and not (tmp_path / "run").exists()


def longest_said(model: interp.HookedModel) -> int:
    """Needles and question at their longest, from whole prompts: what is left of them without filler."""
    shortest = 0
    for seed in range(2):
        for length in range(20, 200):
            try:
                induction.needle_prompts(model, lengths=(length,), seed=seed)
            except UsageError:
                continue
            shortest = max(shortest, length - 1)
            break
    return shortest


def test_entity_prompts_fit_themselves_too(tmp_path: Path) -> None:
    """In 40 tokens: a front, r and the entity, a line break, and r with the entity's first token."""
    model = worded.short(40)
    found = measure_induction(model, tmp_path / "run", sequences=3, length=8, also=("concept",))
    run = open_run(tmp_path / "run")
    assert run.stages[0].record["fitted_prompts"] == {"concept": {"length": 19}}
    assert found.protocol.endswith("; concept fitted to it: length 19")
    for wanted in induction.concept_scores(model, induction.entity_prompts(model, length=19)):
        assert torch.equal(run.head_score(wanted.name, wanted.variant).mean, wanted.mean)
    few = replace(candidates_of(model), ids=candidates_of(model).ids[:20])
    with pytest.raises(UsageError, match=r"allows 40 names and 1 tokens: leave concept out \(--also\)"):
        measure_induction(model, tmp_path / "few", sequences=2, length=4, candidates=few, also=("concept",))


def test_the_command_line_knows_the_shortest_block() -> None:
    assert options.SHORTEST == SHORTEST


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


def test_candidates_are_drawn_from_and_told_apart_by_their_ids(model: interp.HookedModel, tmp_path: Path) -> None:
    ids = torch.arange(30, 60)
    pool = induction.Candidates(ids, "counts", len(ids))
    told = measure_induction(model, tmp_path, sequences=2, candidates=pool)
    assert "L = 7, 4 repeats, as long as the 30 tokens that can be drawn allow" in told.protocol
    (stage,) = open_run(tmp_path).stages
    assert stage.record["candidates"]["ids"] == ids.tolist() and stage.record["fitted_length"] == 7
    other = induction.Candidates(ids.flip(0), "counts", len(ids))
    with pytest.raises(StoreError, match="candidates"):
        measure_induction(model, tmp_path, sequences=2, candidates=other)
    with pytest.raises(UsageError, match="not both"):
        measure_induction(model, tmp_path / "both", candidates=pool, counts="uniform")
