"""The grammar of `comparisons.parquet`: what is written is read back as it was, in what is published too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscope.store.comparisons import (
    COMPARED,
    DECIDING,
    NOT_REMOVABLE,
    REMOVABLE,
    AtShots,
    CausalLevel,
    Coefficient,
    ContestLevel,
    ControlSet,
    Difference,
    Kind,
    KnockOutVariant,
    PruningLevel,
    RankCut,
    ScoreName,
    level_of,
    row,
)
from headscope.store.names import DRAWN, ORDERS
from headscope.store.run import open_run

RESULTS = Path(__file__).parents[3] / "docs" / "results"
word = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
percent = st.integers(0, 100)
at_shots = st.builds(AtShots, st.builds(ScoreName, word, word | st.just("")).map(str), st.integers(0, 99))
steps = st.one_of(
    st.just({}), st.fixed_dictionaries({"percent": percent}), st.fixed_dictionaries({"heads": percent, "ffns": percent})
)
values = st.one_of(
    st.builds(ScoreName, word, word | st.just("")),
    st.builds(KnockOutVariant, word, word | st.just("")),
    at_shots,
    st.builds(Difference, at_shots, at_shots),
    st.builds(RankCut, st.sampled_from("qpk"), st.integers(0, 10_000)),
    st.builds(CausalLevel, word, word),
    st.builds(ControlSet, word, st.integers(0, 99)),
    st.builds(lambda component, ablation, step: PruningLevel(component, ablation, **step), word, word, steps),
    st.builds(ContestLevel, word),
    st.builds(
        ContestLevel,
        word,
        word,
        st.sampled_from(["all", "last"]),
        st.sampled_from(["class", "5%"]),
        st.sampled_from(["kept", "left out"]),
        st.sampled_from(["", "0.25"]),
    ),
)


@given(values)
def test_every_value_is_read_back_as_it_was_written(value: Any) -> None:
    assert type(value).parse(str(value)) == value


@pytest.mark.parametrize("manifest", sorted(RESULTS.glob("*/*/manifest.json")), ids=lambda path: path.parent.name)
def test_the_published_rows_are_of_this_grammar(manifest: Path) -> None:
    rows = open_run(manifest.parent).comparisons
    assert len(rows) > 100
    for kind, level in set(zip(rows["kind"], rows["level"], strict=True)):
        if kind not in {*Kind}:  # of the first edition
            continue
        assert str(level_of(kind, level)) == level, f"{kind}: {level}"
    gains = rows[rows["kind"] == Kind.INDUCTION_IMPORTANCE_GAIN]["b"]
    assert [str(Difference.parse(b)) for b in gains] == list(gains)


def test_steps_of_pruning_tell_what_they_remove() -> None:
    level = PruningLevel.parse("both/mean/h=70,f=20")
    assert (level.heads, level.ffns, level.percent) == (70, 20, None)
    assert str(level.whole) == "both/mean"
    assert level.whole.at(70, 20) == level
    assert str(PruningLevel("ffn", "zero").at(0, 30)) == "ffn/zero/p=30"


def test_what_belongs_to_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="crosstask"):
        row("crosstask", "a", "b", 0, "global", 1.0)
    with pytest.raises(ValueError, match="globally"):
        level_of("cross_task", "globally")


def test_kinds_derive_only_kinds() -> None:
    assert Kind.OVERLAP.expected_free is Kind.OVERLAP_EXPECTED_FREE
    assert Kind.OVERLAP_JACCARD.expected_layer is Kind.OVERLAP_JACCARD_EXPECTED_LAYER
    assert Coefficient("within_layer").corrected is Coefficient.WITHIN_LAYER_CORRECTED
    assert set(DRAWN) < set(ORDERS)
    assert Kind.RETENTION_EXCESS in COMPARED
    assert not {kind for kind in COMPARED if "prun" in kind or kind.startswith(("primary", "screen", "ffn"))}
    assert {Kind.CLASS_RANK, Kind.KNOCK_OUT_SPEARMAN, Kind.CROSS_TASK_CHOICE} <= set(COMPARED)
    for outcomes in (REMOVABLE, NOT_REMOVABLE, DECIDING):
        assert list(outcomes) == ["metric", "choice", "kept"]


def test_levels_of_ffns_and_of_checks_by_knock_out() -> None:
    level = level_of(Kind.FFN_NEEDED, "choice/mean/later")
    assert (level.outcome, level.ablation, str(level)) == ("choice", "mean/later", "choice/mean/later")
    checked = level_of(Kind.KNOCK_OUT_SIGNS, "knock_out_mean_sample/choice")
    assert checked == ScoreName("knock_out_mean_sample", "choice")
    assert ScoreName.parse("importance/signed/choice") == ScoreName("importance", "signed/choice")
