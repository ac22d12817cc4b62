"""The list of definitions names every score there is, with its range and nulls; docs/scores.md has a row for each."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pytest

import induction
from induction import DEFINITIONS, Definition
from induction.definitions import definition, versions
from interp.errors import UsageError
from interp.scores import HeadScores
from tests.induction import worded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"
EVERY = pytest.mark.parametrize("entry", DEFINITIONS, ids=lambda entry: f"{entry.name}-{entry.variant}".rstrip("-"))


@lru_cache
def scored() -> dict[tuple[str, str], HeadScores]:
    """Every head score of the package on one model that has them all."""
    model = worded.model("gpt2")
    repeated = induction.repeated_sequences(model, length=7, repeats=3, sequences=4)
    other = induction.repeated_sequences(model, length=21, repeats=1, sequences=4)
    natural = induction.natural_prompts(model, length=20, prompts=2)
    prompts = induction.needle_prompts(model, lengths=(300,), each=4)
    found = [
        *induction.induction_scores(model, repeated, natural=natural, draws=30).scores,
        induction.prefix_matching_score(model, repeated, variant="bansal_released"),
        induction.copying_score(model, other, "bansal_released"),
        *induction.retrieval_scores(model, prompts, draws=30),
        *induction.concept_scores(model, induction.entity_prompts(model, prompts=3, length=12), draws=30),
    ]
    return {(scores.name, scores.variant): scores for scores in found}


def test_the_list_is_complete_and_nothing_stands_in_it_twice() -> None:
    listed = [(entry.name, entry.variant) for entry in DEFINITIONS]
    assert len(set(listed)) == len(listed) and set(listed) == set(scored())


@EVERY
def test_a_score_is_as_its_entry_says(entry: Definition) -> None:
    scores = scored()[entry.name, entry.variant]
    assert tuple(null.name for null in scores.nulls) == entry.nulls
    assert entry.low is None or scores.mean.min() >= entry.low
    assert entry.high is None or scores.mean.max() <= entry.high + 1e-5
    assert entry.direction == "signed" or entry.low is None or entry.low == 0
    assert callable(getattr(induction, entry.call)) and entry.call in induction.__all__


def test_versions_stand_in_the_provenance() -> None:
    """Those that were defined anew: without the number, rows of two definitions could not be told apart."""
    assert versions() == {"ov_copying": 2, "previous_token": 2}
    for entry in DEFINITIONS:
        told = scored()[entry.name, entry.variant].provenance.get("version")
        assert told == (entry.version if entry.version > 1 else None)
        assert definition(entry.name, entry.variant) is entry
    with pytest.raises(UsageError, match="no score 'prefix_matching' 'other'"):
        definition("prefix_matching", "other")


def row(entry: Definition) -> str:
    """The page's row: score, variant, section, range, null, function."""
    ends = "nats" if "induction" in entry.name else "sd"
    span = ends if entry.low is None else f"{entry.low} to {entry.high}"
    nulls = " and ".join(entry.nulls) or "none"
    variant = f"`{entry.variant}`" if entry.variant else ""
    cells = (f"`{entry.name}`", variant, entry.method, entry.reads, span, nulls, f"`{entry.call}`")
    return " ".join(("|", " | ".join(cells), "|"))


def test_the_page_has_a_row_for_each() -> None:
    text = re.sub(" +", " ", PAGE.read_text(encoding="utf-8"))
    missing = [row(entry) for entry in DEFINITIONS if re.sub(" +", " ", row(entry)) not in text]
    assert not missing, "\n".join(missing)
