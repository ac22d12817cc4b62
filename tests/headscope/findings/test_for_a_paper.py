"""The methods paragraph and the bibliography of a run: no number that the run does not hold, no paper made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from headscope.findings.citations import BANSAL, SOURCES, bibliography, cited
from headscope.findings.methods import methods
from headscope.store.glossary import TERMS
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.scores import FAMILY_LEVEL, FFNScores, HeadScores
from tests.headscope.synthetic import IDENTITY, Shape, write_run

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs/results/smollm2-135m/probes"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Scores, and a study's stages with numbers that nothing else has."""
    folder = write_run(
        tmp_path_factory.mktemp("paper") / "run", shape=Shape(6, 4, 2), study=True, tasks=["copa", "rte"]
    )
    asked = {"shots": 17}
    with begin_stage(folder, IDENTITY, Stage("screen", "probes", seed=23, tasks=("copa", "rte"), options=asked)) as one:
        one.record(learnt=["copa"])
    protocol = {"controls": 41, "limit": 29, "ways": [], "looks": [0.3333333, 1.0]}
    with begin_stage(folder, IDENTITY, Stage("primary", protocol, seed=31, tasks=("copa", "rte"))) as other:
        other.record(looks=[{"documents": 101}, {"documents": 1203}])
    return open_run(folder)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)*", text.replace(",", "")))


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (leaf for pair in value.items() for part in pair for leaf in leaves(part))
    elif isinstance(value, list):
        yield from (leaf for part in value for leaf in leaves(part))
    else:
        yield f"{value:.3g}" if isinstance(value, float) else str(value)


def test_every_number_is_the_manifests_or_a_tables(run: Run) -> None:
    text = methods(run)
    manifest = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    known = numbers(" ".join(leaves(manifest)).replace(IDENTITY["weight_hash"], "")) | {IDENTITY["weight_hash"][:12]}
    rows = run.head_scores
    shape = {str(int(rows[column].max()) + 1) for column in ("layer", "head")}
    counts = {str(int(n)) for n in rows["n"]} | {str(len(stage.tasks)) for stage in run.stages} | {"1"}  # 1 task passed
    definitions = {"95", str(FAMILY_LEVEL), *numbers(" ".join(run.head_nulls["null"]))}
    said = numbers(text.replace(IDENTITY["weight_hash"][:12], ""))
    assert said <= known | shape | counts | definitions, said - known - shape - counts - definitions
    assert IDENTITY["weight_hash"][:12] in text and "6 layers of 4 heads" in text
    assert "20 sequences, each a block of 50 random tokens" in text and "1,203 documents" in text
    assert "seed 23" in text and "seed 31" in text and "controls 41" in text and "looks 0.333 and 1" in text
    assert "2 tasks (named above)" in text and "1 task passed" in text and "ways" not in text
    assert "prefix matching, copying (signed)" in text and "N1 wrong token" in text


def test_the_published_run_has_its_paragraph() -> None:
    run = open_run(PUBLISHED)
    text = methods(run)
    assert "30 layers of 9 heads" in text and str(run.identity["weight_hash"])[:12] in text
    assert "{" not in text and "  " not in text and "None" not in text and text.endswith(".")


def test_a_run_of_ffns_alone_says_what_it_has(tmp_path: Path) -> None:
    with begin_stage(tmp_path, {"source": "tiny"}, Stage("knockout", "probes", tasks=("copa",))) as writer:
        writer.add_scores(FFNScores.from_items("knock_out", torch.rand(4, 3)), task="copa")
    run = open_run(tmp_path)
    assert methods(run).startswith("We measured tiny. Components were removed one by one on 1 task (copa); settings:")
    assert [paper.key for paper in cited(run)] == ["headscope", "bansal2023rethinking"]


def test_the_study_that_it_follows_is_cited_first_whatever_the_run_holds(tmp_path: Path) -> None:
    """Exact keys of scores do not name `knock_out_mean_sample`, nor a run that holds no scores at all."""
    with begin_stage(tmp_path, {"source": "tiny"}, Stage("knockout", "probes", tasks=("copa",))) as writer:
        writer.add_scores(FFNScores.from_items("knock_out_mean_sample", torch.rand(4, 3)), task="copa")
    assert [paper.key for paper in cited(open_run(tmp_path))] == ["headscope", "bansal2023rethinking"]


def later(folder: Path, stage: Stage, **record: Any) -> str:
    with begin_stage(folder, {"source": "tiny"}, stage) as writer:
        writer.record(**record)
    return methods(open_run(folder))


def test_tasks_are_those_that_were_measured(tmp_path: Path) -> None:
    """Sixteen asked for, one left out: all fifteen, and one more, would be named."""
    asked = tuple(f"task{n}" for n in range(17))
    documents = {f"{task}, 2 shots": "hash" for task in asked[1:]}
    told = later(tmp_path / "some", Stage("primary", {}, tasks=asked), documents=documents)
    assert "on 16 tasks (task1, task2" in told and "task16" in told and "task0" not in told and " more" not in told
    for command, said in (
        ("primary", "The effect of removing the tested heads was not measured: no task passed the screen."),
        ("vectors", "Function vectors and label heads were not scored: no task passed the screen."),
        ("contest", "Kinds of heads were not removed in turn: no task passed the screen."),
    ):
        stage = Stage(command, {"ways": ["zero"]}, tasks=asked)
        assert said in later(tmp_path / command, stage, reason="no task passed the screen")


def test_draws_and_ways_are_told_as_they_were(tmp_path: Path) -> None:
    protocol = {"demo_seeds": 1, "demos": "fixed", "ways": ["zero", "mean/last"]}
    for command in ("screen", "primary", "contest"):
        told = later(tmp_path / command, Stage(command, protocol, tasks=("copa",)), draws=3)
        assert "demo seeds" not in told and "3 draws of demonstrations share the documents" in told
        means = "heads replaced by their mean at all positions, also by: zero and their mean at the last position"
        assert (means in told) == (command == "primary")
    assert "demo seeds 1" in later(tmp_path / "prune", Stage("prune", protocol, tasks=("copa",)))


def test_scores_on_prompts_of_their_own_are_told_apart(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with begin_stage(folder, IDENTITY, Stage("contest", {}, tasks=("copa",))) as writer:
        writer.add_scores(HeadScores.from_items("concept_induction", torch.rand(40, 30, 9)))
    text = methods(open_run(folder))
    first = text.partition("The intervals of these scores")[0]
    assert "concept induction" not in first and "bootstraps over sequences." in text
    assert "scored by concept induction on 40 prompts about entities" in text


def test_the_program_and_the_papers_of_the_scores_are_cited(run: Run) -> None:
    keys = [paper.key for paper in cited(run)]
    assert keys[0] == "headscope" and len(set(keys)) == len(keys)
    assert {"olsson2022context", "elhage2021mathematical", "bansal2023rethinking", "michel2019sixteen"} <= set(keys)
    assert "todd2024function" not in keys, "the run has no function vectors"
    text = bibliography(run)
    assert text.count("@") == len(keys) and text.count("{") == text.count("}")
    assert f"version = {{{run.stages[-1].versions['headscope']}}}" in text


def test_the_bibliography_agrees_with_the_citation_file_and_the_method() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    reference, fields = citation["references"][0], dict(BANSAL.fields)
    assert (fields["title"], fields["doi"], fields["year"]) == (
        reference["title"],
        reference["doi"],
        str(reference["year"]),
    )
    names = [f"{author['family-names']}, {author['given-names']}" for author in reference["authors"]]
    assert fields["author"] == " and ".join(names) and fields["booktitle"] == reference["collection-title"]
    method = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    papers = {paper for papers in SOURCES.values() for paper in papers}
    for paper in papers:
        told = dict(paper.fields)
        assert told.get("eprint", "transformer-circuits.pub/2021/framework") in method, paper.key
    assert set(SOURCES) <= {score for score, _ in TERMS} | {"knock_out"}
