"""The page that answers, against tables whose answer is known: right numbers, no more certainty than there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf, nan
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from ablation.statistics.power import planned_estimate, smallest_effect
from headscope.comparison import knock_out
from headscope.comparison.class_rank import MEASURES
from headscope.comparison.models import removable
from headscope.findings import answer, contest, paper, primary, pruning, ranks, removal, task_table, undecided, vectors
from headscope.findings.evidence import Evidence
from headscope.findings.page import page_of
from headscope.findings.reading import READING, left_out
from headscope.findings.section import Section
from headscope.findings.words import documents, listed, model_name, number
from headscope.report import published
from headscope.report.published import pages, publish
from headscope.store.comparisons import COMPARED, Kind, Row, ScoreName, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from interp.scores import HeadScores, Null
from tests.headscope.ranked import IDENTITY
from tests.headscope.synthetic import TASKS, write_run

SET, KIND = "induction heads", "group_matched"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("whole") / "run", study=True))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without a browser."""

    def written(pictures: Any, **_: Any) -> None:
        for path in pictures:
            path.write_text("<svg/>", encoding="utf-8")

    monkeypatch.setattr(published, "write_pictures", written)


def write(folder: Path, rows: list[Row], *, stage: Stage | None = None, **record: Any) -> Evidence:
    with begin_stage(folder, IDENTITY, stage or Stage("study", {"budget": "small"}, tasks=("copa", "rte"))) as run:
        if rows:
            run.add_comparisons(frame(rows))
        run.record(**record)
    return Evidence(open_run(folder))


def one_question(
    low: float, high: float, *, level: str = "choice/mean", bound: float = 0.4, n: float = nan
) -> list[Row]:
    """A drop of .8 beside controls of .2, and how sure it is that it lies beyond them."""
    key = (SET, KIND, 5, level)
    rows = [
        row("primary_drop", *key, 0.8, interval=(0.6, 1.0), n=3),
        row("primary_beyond", *key, (low + high) / 2, interval=(low, high), n=3),
        row("primary_controls", *key, 0.2, interval=(0.1, 0.3), n=39),
        row("primary_equivalence", *key, bound, p=0.05, n=3),
        row("primary_level", "full model", "few", 5, level, -0.5, n=3),
        row("primary_level", "full model", "none", 5, level, -3.0, n=3),
    ]
    return rows if n != n else [*rows, row("primary_documents", *key, n, n=3)]


def screen(gains: dict[str, float], *, passed: tuple[str, ...] = (), needed: float = inf) -> list[Row]:
    rows = []
    for task, gain in gains.items():
        rows.append(row("screen_passes", task, "", 5, "choice", float(task in passed)))
        for contrast, share in (("gain", 1.0), ("learning", 0.5)):
            rows.append(row("screen", task, contrast, 5, "choice", share * gain, interval=(gain - 0.1, nan), n=60))
        for condition, value in (("none", 0.0), ("few", 1.0)):
            for outcome, start in (("metric", 0.25), ("mass", -7.0), ("choice", -2.0)):
                level = start + value * (gain if outcome == "choice" else 0.5)
                rows.append(row("screen_level", task, condition, 5, outcome, level))
        if task not in passed:
            rows.append(row("screen_documents", task, "gain", 5, "choice", needed))
    return rows


def sentences(section: Section | None) -> str:
    assert section is not None
    return "\n".join(section.sentences)


# ---- the five sentences ---------------------------------------------------------------------------------------------


def test_what_is_learnt_is_told_with_its_gain_the_largest_first(tmp_path: Path) -> None:
    gains = {"probe_labels": 0.6, "probe_letter_case": 7.81, "copa": 0.01}
    told = sentences(answer.section(write(tmp_path, screen(gains, passed=("probe_labels", "probe_letter_case")))))
    assert told == (
        "From 5 demonstrations the model learns 2 of 3 tasks (gain of choice in nats): letter case 7.8 and labels 0.6; "
        "it is not shown to learn copa."
    )
    none = sentences(answer.section(write(tmp_path / "none", screen({"copa": 0.1, "rte": 0.2}))))
    assert none == "The model is not shown to learn any of 2 tasks from 5 demonstrations: rte and copa."


def test_heads_stand_by_their_names_in_what_they_do(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    classes = open_run(folder).classes
    (told,) = answer.looking_back(Evidence(open_run(folder)))
    for kind, does in (("copying", "for that token"), ("anti-copying", "against it"), ("matching only", "either")):
        names = [f"{one.layer}.{one.head}" for one in classes[classes["class"] == kind].itertuples()]
        part = next(part for part in re.split(r"(?:token|it|directly)[,.]|: ", told) if set(names) & set(_heads(part)))
        assert _heads(part) == names and does.split()[0] in told.partition(names[-1])[2].split(",")[0]
    assert told.startswith(f"{(classes['class'] != '').sum()} of its 270 heads look back")


def test_no_induction_head_is_none_that_reaches_the_threshold(tmp_path: Path) -> None:
    evidence = Evidence(open_run(write_run(tmp_path / "run")))
    bare = evidence.run.classes.assign(**{"class": ""})
    with mock.patch.object(Run, "classes", bare):
        (told,) = answer.looking_back(evidence)
    with mock.patch.object(Run, "classes", bare[:1]):
        (only,) = answer.looking_back(evidence)
    assert only.startswith("Its only head is not classed as an induction head")
    assert told == (
        "None of its 270 heads is classed as an induction head: no head reaches the threshold of looking back to what "
        "followed an earlier copy."
    )


def _heads(text: str) -> list[str]:
    return re.findall(r"\b\d+\.\d+\b", text)


@pytest.mark.parametrize(
    ("low", "high", "bound", "n", "says"),
    [
        (0.4, 0.8, 0.9, nan, "they carry more of it than matched heads do on average, by 0.60 nats (0.40 to 0.80)."),
        (-0.8, -0.4, 0.9, nan, "they carry less of it than matched heads do on average, by 0.60 nats (0.40 to 0.80)."),
        (-0.03, 0.03, 0.03, nan, "they matter as matched heads do, within 0.05 nats (shown within 0.03 nats)."),
        (
            -0.1,
            0.5,
            0.5,
            1234.0,
            "whether they carry more than matched heads is open, about 1,300 documents over all tasks would decide.",
        ),
        (
            -0.1,
            0.1,
            0.5,
            inf,
            "is open, no number of documents would decide, 80% of tests would have shown 0.14 nats, more than 0.50 "
            "nats either way is excluded.",
        ),
    ],
)
def test_the_primary_ends_in_one_of_four_verdicts(
    tmp_path: Path, low: float, high: float, bound: float, n: float, says: str
) -> None:
    (told,) = answer.lost(write(tmp_path, one_question(low, high, bound=bound, n=n)))
    assert told.startswith(
        "Without the induction heads the choice gain of 3 tasks falls by 0.80 nats (95% interval 0.60 to 1.00) of "
        "2.50, without matched heads by 0.20 (median of 39 sets): "
    )
    assert told.endswith(says)


def test_function_vector_heads_stand_beside_the_induction_heads(tmp_path: Path) -> None:
    ahead = {"all": (0.1, -0.05, 0.25), "last": (0.5, 0.35, 0.65)}
    place = ("contest_ahead", "function vectors", "all tasks", 5)
    rows = [
        row(*place, f"choice/mean/{where}/class/kept", value, interval=(low, high), n=3)
        for where, (value, low, high) in ahead.items()
    ]
    assert list(answer.others(write(tmp_path, rows))) == [
        "The heads with the highest function-vector score against as many induction heads, both beyond matched heads: "
        "at all positions no difference is shown (0.10 nats, \N{MINUS SIGN}0.05 to 0.25); at the last position only "
        "they carry 0.50 nats more of the choice (0.35 to 0.65)."
    ]


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (
            {"kind": "undecided", "low": -0.02, "high": 0.62, "documents_needed": 150},
            "whether they carry more than matched heads is open, about 150 documents over all tasks would decide.",
        ),
        (
            {"kind": "undecided", "low": -0.02, "high": 0.62},  # half of it, .32, and .84 of the plain interval's error
            "whether they carry more than matched heads is open, 80% of tests would have shown 0.41 nats.",
        ),
        (
            {"kind": "shown", "low": 0.05, "high": 0.55},
            "they carry more of it than matched heads do on average, by 0.30 nats (0.05 to 0.55: "
            "the interval of look 2, which allows for 3 looks).",
        ),
        ({"kind": "absent", "low": -0.1, "high": 0.7}, "they matter as matched heads do, within 0.05 nats."),
        (
            {"kind": "absent", "low": -0.01, "high": 0.03, "bound": 0.028},
            "they matter as matched heads do, within 0.05 nats (shown within 0.03 nats).",
        ),
    ],
)
def test_the_primarys_verdict_is_that_of_the_last_look(tmp_path: Path, look: dict[str, Any], says: str) -> None:
    """The plain interval, .1 to .5, would always say more; another outcome has no looks and goes by it."""
    rows = [*one_question(0.1, 0.5), *one_question(0.1, 0.5, level="mass/mean")]
    looks = [{"share": 0.5, "kind": "undecided", "value": 9.0, "low": 8.0, "high": 10.0}, {"value": 0.3, **look}]
    record = {"looks": looks, "planned_looks": [0.3, 0.7, 1.0]}
    evidence = write(tmp_path, rows, stage=Stage("primary", {"looks": [0.3, 0.7, 1.0]}), **record)
    (told,) = answer.lost(evidence)
    assert told.endswith(says)
    other = evidence.row(kind=Kind.PRIMARY_BEYOND, level="mass/mean")
    assert primary.verdict(evidence, other).size == "0.30 nats (0.10 to 0.50)"
    assert "look" not in primary.verdict(evidence, other).clause
    assert ("By choice" in sentences(undecided.section(evidence) or answer.section(evidence))) == ("open" in says)


def test_as_many_looks_are_allowed_for_as_were_planned(tmp_path: Path) -> None:
    """Forty documents in shards of twenty can be looked at twice, whatever shares the protocol asks for."""
    stage = Stage("primary", {"looks": [0.3, 0.7, 1.0]})
    looks = [{"look": 1, "kind": "shown", "value": 0.3, "low": 0.1, "high": 0.5}]
    for case, (more, says) in enumerate(
        [({"planned_looks": [0.5, 1.0]}, "allows for 2 looks)"), ({}, "the interval of look 1)")]
    ):
        evidence = write(tmp_path / str(case), one_question(0.1, 0.5), stage=stage, looks=looks, **more)
        (told,) = answer.lost(evidence)
        assert says in told, told


def contested(*beyond: tuple[str, float, float, float], lowest: float) -> list[Row]:
    """Arms beyond their controls, and the raw drop of the lowest prefix-matching heads."""
    level = "choice/mean/all/class/kept"
    rows = [
        row("contest_beyond", arm, "all tasks", 5, level, value, interval=(low, high), n=3)
        for arm, value, low, high in beyond
    ]
    ends = (lowest - 0.01, lowest + 0.01)
    return [*rows, row("contest_drop", "lowest prefix matching", "all tasks", 5, level, lowest, interval=ends, n=3)]


def test_a_kind_without_the_other_is_told_by_itself(tmp_path: Path) -> None:
    arms = [("induction", -0.1, -0.3, 0.1), ("importance", 0.5, 0.25, 0.75), ("random", 0.9, 0.7, 1.1)]
    assert list(contest.sentences(write(tmp_path, contested(*arms, lowest=-0.02)).comparisons)) == [
        "On 3 tasks, how much further the choice falls than without control heads, as many and matched by layer and "
        "key-value group (below 0: less far): without the induction heads, "
        "\N{MINUS SIGN}0.10 nats (\N{MINUS SIGN}0.30 to 0.10) at all positions."
    ]


def of_rivals(kind: str, induction: float, vectors: float, level: str, *, group: str = "all tasks") -> list[Row]:
    both = {"induction": induction, "function vectors": vectors}
    return [
        row(kind, arm, group, 5, level, value, interval=(value - 0.1, value + 0.1), n=3) for arm, value in both.items()
    ]


def test_the_rivals_are_told_without_the_heads_that_both_hold(tmp_path: Path) -> None:
    """What they share can be what each of them carries: every group of tasks, and a line of the table each."""
    level = "choice/mean/all/class/left out"
    rows = []
    for group, values in {"extractive": (0.19, 0.09), "abstractive": (-0.08, 0.75), "all tasks": (0.04, 0.39)}.items():
        rows += of_rivals("contest_beyond", *values, level, group=group)
        rows += of_rivals("contest_beyond", 0.3, 0.3, "choice/mean/all/class/kept", group=group)
        ahead = values[1] - values[0]
        key = ("contest_ahead", "function vectors", group, 5, level)
        rows.append(row(*key, ahead, interval=(ahead - 0.2, ahead + 0.2), n=3))
    rows += of_rivals("contest_drop", 0.11, 0.45, level)
    evidence = write(tmp_path, rows)
    (told,) = (line for line in contest.sentences(evidence.comparisons) if line.startswith("Both sets"))
    assert told == (
        "Both sets without the heads that they share, beyond controls at all positions: on 3 extractive tasks +0.19 "
        "nats (0.09 to 0.29) for the induction heads and +0.09 (\N{MINUS SIGN}0.01 to 0.19) for those with the highest "
        "function-vector score: no difference is shown (\N{MINUS SIGN}0.10 nats, \N{MINUS SIGN}0.30 to 0.10); on 3 "
        "abstractive tasks \N{MINUS SIGN}0.08 nats (\N{MINUS SIGN}0.18 to 0.02) for the induction heads and +0.75 "
        "(0.65 to 0.85) for those with the highest function-vector score: the latter carry 0.83 nats more of the "
        "choice (0.63 to 1.03)."
    )
    apart = {cells[0]: cells[1:3] for cells in contest.cells(evidence.comparisons)}
    assert apart["induction, unshared heads"] == ("+0.11 (0.01 to 0.21)", "+0.04 (\N{MINUS SIGN}0.06 to 0.14)")
    assert apart["function vectors, unshared heads"] == ("+0.45 (0.35 to 0.55)", "+0.39 (0.29 to 0.49)")


def test_sizes_doses_and_zero_are_told_of_both_rivals(tmp_path: Path) -> None:
    rows = of_rivals("contest_beyond", 0.3, 0.3, "choice/mean/all/class/kept")
    for size, share in enumerate((1, 2, 5, 10, 20), 1):
        rows += of_rivals("contest_drop", 0.1 * size, 0.2 * size, f"choice/mean/all/{share}%/kept")
    for dose in (0.25, 0.5, 0.75):
        rows += of_rivals("contest_drop", dose / 10, dose / 5, f"choice/mean/all/class/kept/{dose:g}")
    rows += of_rivals("contest_drop", 0.1, 0.2, "choice/mean/all/class/kept")
    rows += of_rivals("contest_drop", 0.15, 0.25, "choice/zero/all/class/kept")
    told = list(contest.sentences(write(tmp_path, rows).comparisons))
    assert told[-2:] == [
        "Raw drop of the choice at all positions, without the highest 1%, 2%, 5%, 10% and 20% of heads: by prefix "
        "matching +0.10, +0.20, +0.30, +0.40, +0.50 nats and by function-vector score +0.20, +0.40, +0.60, +0.80, "
        "+1.00; with heads removed by 25%, 50%, 75% and 100%: the induction heads +0.03, +0.05, +0.07, +0.10 nats and "
        "the highest by function-vector score +0.05, +0.10, +0.15, +0.20.",
        "Replaced by their mean and by zero, raw, at all positions: without the induction heads +0.10 and +0.15 nats; "
        "without the highest by function-vector score +0.20 and +0.25 nats.",
    ]
    for way, values in (("mean", (0.16, 0.25)), ("zero", (0.14, 0.24))):
        rows += of_rivals("contest_drop", *values, f"metric/{way}/all/class/kept")
    *_, last = contest.sentences(write(tmp_path / "points", rows).comparisons)
    assert "+0.15 nats (16 and 14 points of accuracy); without" in last
    assert last.endswith("+0.25 nats (25 and 24 points of accuracy).")


def test_label_heads_are_held_against_what_is_expected_of_them(tmp_path: Path) -> None:
    level = "{}/mean/all/class/kept"
    for case, (mass, choice, says) in enumerate(
        [
            (1.0, 0.5, ("+1.00 nats (0.90 to 1.10), as expected", "+0.50 nats (0.40 to 0.60), as expected")),
            (0.05, -0.5, ("which shows neither", "against what is expected.")),
        ]
    ):
        rows = of_rivals("contest_beyond", 0.3, 0.3, level.format("choice"))
        for arm, outcome, value in (("task recognition", "mass", mass), ("task learning", "choice", choice)):
            key = ("contest_beyond", arm, "all tasks", 5, level.format(outcome))
            rows.append(row(*key, value, interval=(value - 0.1, value + 0.1), n=3))
        lines = contest.sentences(write(tmp_path / str(case), rows).comparisons)
        (told,) = [line for line in lines if line.startswith("A check")]
        assert all(part in told for part in says)


def test_the_contest_says_which_sets_have_controls_and_what_they_are_matched_by(tmp_path: Path) -> None:
    rows = contested(("induction", 0.3, 0.1, 0.5), lowest=-0.02)
    told = (
        "Controls: beside each kind {} sets of as many other heads, matched by layer and by how many share a key-value"
    )
    for places, ranked in enumerate(([], [39], [12, 39])):
        ranks_of = [
            row("contest_rank", f"kind {n}", "all tasks", 5, "choice/mean/all/class/kept", 1.0, n=n) for n in ranked
        ]
        section = contest.section(write(tmp_path / str(places), [*rows, *ranks_of]))
        assert section is not None and (told.format(" to ".join(map(str, ranked))) in section.note) == bool(ranked)


def test_sets_have_no_controls_only_where_none_has(tmp_path: Path) -> None:
    rows = contested(("induction", 0.3, 0.1, 0.5), lowest=-0.02)
    key = ("induction", "all tasks", 5)
    rows.append(row("contest_rank", *key, "choice/mean/all/class/kept", 1.0, n=39))
    other = "Sets of another size, at a dose or replaced by zero have no controls"
    assert other in " ".join(contest.reading(write(tmp_path / "class", rows).comparisons))
    for level in ("choice/zero/all/class/kept", "choice/mean/all/5%/kept"):
        more = [*rows, row("contest_beyond", *key, level, 0.2, interval=(0.1, 0.3), n=3)]
        told = " ".join(contest.reading(write(tmp_path / level.replace("/", " "), more).comparisons))
        assert other not in told and told.endswith("Sets at a dose have no controls.")


def test_the_highest_by_a_score_are_told_as_what_they_are(tmp_path: Path) -> None:
    """Of four, one is an FV head by its class and two are induction heads."""
    folder = write_run(tmp_path / "run")
    classed = open_run(folder).classes
    first, second = (f"{one.layer}.{one.head}" for one in classed[classed["class"] != ""].head(2).itertuples())
    with begin_stage(folder, open_run(folder).identity, Stage("vectors", {})) as one:
        one.record(fv_heads=["0.0"])
    with begin_stage(folder, open_run(folder).identity, Stage("contest", {})) as one:
        one.record(sets={"function vectors, class, kept": ["0.0", "0.1", first, second]})
    evidence = Evidence(open_run(folder))
    named = contest.named_sets(evidence)
    assert named == {
        "function vectors": "the 4 heads with the highest function-vector score (1 of them classed as FV head, 2 of "
        "them induction heads)"
    }
    rows = write(tmp_path / "rows", contested(("function vectors", 0.5, 0.25, 0.75), lowest=-0.02)).comparisons
    told = list(contest.sentences(rows, named=named))
    assert f"without {named['function vectors']}, +0.50 nats" in told[0]


def test_kinds_that_zero_or_the_last_position_turns_are_told_with_both_numbers(tmp_path: Path) -> None:
    """Beyond controls where both ways have some, else raw; a kind whose sign stays is not named."""
    drops = {"induction": (0.4, -0.2, 0.3), "random": (0.1, 0.2, -0.1), "importance": (0.5, 0.004, 0.6)}
    drops["concept"] = (0.05, -0.05, -0.05)  # not shown to differ from 0 at all
    rows = []
    for arm, (mean, zero, last) in drops.items():
        for level, value in (("mean/all", mean), ("zero/all", zero), ("mean/last", last)):
            key = (arm, "all tasks", 5, f"choice/{level}/class/kept")
            rows.append(row("contest_drop", *key, value, interval=(value - 0.1, value + 0.1), n=3))
            if level != "zero/all" and arm != "concept":
                rows.append(row("contest_beyond", *key, 2 * value, interval=(value, 3 * value), n=3))
    minus = "\N{MINUS SIGN}"
    told = [line for line in contest.sentences(write(tmp_path / "few", rows).comparisons) if "sign" in line]
    assert told == [
        "These drops of the choice change their sign where heads are replaced by zero in place of their mean: "
        f"induction (raw at all positions) {minus}0.20 ({minus}0.30 to {minus}0.10) against +0.40 nats (0.30 to 0.50).",
        "These drops of the choice change their sign where heads are removed at the last position only: random (beyond "
        f"controls) {minus}0.20 ({minus}0.10 to {minus}0.30) against +0.20 nats (0.10 to 0.30).",
    ]
    rows.append(row("contest_beyond", "induction", "all tasks", 5, "choice/zero/all/class/kept", 0.3, n=3))
    told = [line for line in contest.sentences(write(tmp_path / "all", rows).comparisons) if "sign" in line]
    assert len(told) == 1 and "random" in told[0]


def test_the_claim_rests_on_the_mean_and_the_papers_row_on_zero(tmp_path: Path) -> None:
    shares = {"head/mean": 30.0, "head/zero": 10.0}
    rows = [
        one
        for outcome in ("kept", "metric")
        for level, share in shares.items()
        for one in pruned(share, outcome=outcome, level=level)
    ]
    evidence = Evidence(write(tmp_path / "run", rows))
    assert list(pruning.sentence(evidence)) == [
        "Removable with 95% of the choice gain kept, replaced by mean: 30% of the heads."
    ]
    ((what, _, here),) = paper.removable(evidence)
    assert (what, here) == ("share of heads removable by accuracy, 5 shots", "10%")


def test_a_question_that_was_not_asked_says_why(tmp_path: Path) -> None:
    evidence = write(tmp_path, [], stage=Stage("primary", {}), question="", reason="no task passed the screen")
    assert list(answer.lost(evidence)) == ["What is lost without them was not asked: no task passed the screen."]


def pruned(
    shown: float, refuted: float = nan, needed: float = nan, *, outcome: str = "kept", level: str = "head/mean"
) -> list[Row]:
    key = ("pooled tasks", "own", 5, level)
    rows = [row(f"removable_{outcome}", *key, shown, n=3)]
    rows += [row(f"not_removable_{outcome}", *key, refuted, n=3)] if refuted == refuted else []
    return rows + ([row(f"deciding_{outcome}", *key, needed, n=120)] if needed == needed else [])


@pytest.mark.parametrize(
    ("told", "clause", "cell", "still_open"),
    [
        ((30.0, 60.0, 900.0), "30% of the heads (not 60%)", "30%, not 60%", "shown to 30%, shown not to be from 60%"),
        ((90.0,), "90% of the heads", "90%", ""),
        ((0.0, 10.0), "not even 10% of the heads", "not 10%", ""),
        (
            (0.0, nan, 512.0),
            "of the heads no share that is shown yet (about 520 documents over all tasks would decide)",
            "open, about 520 documents over all tasks",
            "shown at no step; about 520 documents over all tasks would decide the next step.",
        ),
        (
            (0.0, nan, inf),
            "of the heads no share that is shown yet (no number of documents would decide)",
            "open, no number of documents",
            "shown at no step; no number of documents would decide the next step.",
        ),
    ],
)
def test_a_removable_share_is_shown_refuted_or_open(
    tmp_path: Path, told: tuple[float, ...], clause: str, cell: str, still_open: str
) -> None:
    evidence = write(tmp_path, pruned(*told))
    assert list(pruning.sentence(evidence)) == [
        f"Removable with 95% of the choice gain kept, replaced by mean: {clause}."
    ]
    found = pruning.share(evidence, "head")
    assert found is not None and found.cell == cell
    lines = "".join(pruning.open_shares(evidence))
    assert still_open in lines and bool(still_open) == bool(lines)


def test_without_a_gain_to_keep_the_share_is_by_choice(tmp_path: Path) -> None:
    evidence = write(tmp_path, [*pruned(20.0, outcome="metric"), *pruned(40.0, outcome="choice")])
    assert list(pruning.sentence(evidence)) == [
        "Removable for less than 0.05 nats of choice, replaced by mean: 40% of the heads."
    ]
    found = pruning.share(evidence, "head", outcome="metric")
    assert found is not None and found.shown == 20.0


@pytest.mark.parametrize(
    ("ways", "told"), [(("zero", "mean"), "mean"), (("resample", "zero"), "zero"), (("resample",), "resample")]
)
def test_of_two_ablations_in_one_run_mean_is_told_then_zero(tmp_path: Path, ways: tuple[str, ...], told: str) -> None:
    """Here and in the table of several models alike."""
    shown = {"mean": 30.0, "zero": 50.0, "resample": 70.0}
    evidence = write(tmp_path, [one for way in ways for one in pruned(shown[way], level=f"head/{way}")])
    assert list(pruning.sentence(evidence)) == [
        f"Removable with 95% of the choice gain kept, replaced by {told}: {shown[told]:.0f}% of the heads."
    ]
    assert removable(evidence.comparisons) == shown[told]


def test_ffns_are_needed_where_holm_says_so(tmp_path: Path) -> None:
    cases = list(enumerate([(6.3, 0.001), (0.2, 0.06), (0.4, 0.04), (0.01, 1.0), (2.0, 0.03)]))
    rows = [
        row("ffn_needed", "pooled tasks", str(ffn), 5, f"choice/{way}", cost, p=0.01, p_holm=min(holm * k, 1.0), n=3)
        for way, k in (("zero/later", 100), ("mean", 1), ("zero", 0.5), ("mean/later", 1))
        for ffn, (cost, holm) in cases
    ]
    assert list(pruning.needed(write(tmp_path, rows))) == [
        "FFNs shown to be needed, that is, to cost more than 0.05 nats of choice alone: replaced by mean, 3 of 5, FFN "
        "0 (6.3 nats), FFN 4 (2.0 nats) and FFN 2 (0.4 nats); replaced by zero, 4 of 5, most of all FFN 0 (6.3 nats), "
        "FFN 4 (2.0 nats) and FFN 2 (0.4 nats); replaced by zero but at position 0, none of 5."
    ]
    assert list(pruning.needed(write(tmp_path / "none", []))) == []


# ---- what the primary's sentence leaves out --------------------------------------------------------------------------


def told_of(folder: Path, rows: list[Row], **stage: Any) -> list[str]:
    found = removal.section(write(folder, rows, **stage))
    assert found is not None
    return list(found.sentences)


def test_the_primary_has_its_levels_its_spread_and_its_random_tasks(tmp_path: Path) -> None:
    key = (SET, KIND, 5, "choice/mean")
    rows = [
        *one_question(0.4, 0.8),
        row("primary_drop_random", *key, 0.8, interval=(0.25, 1.35), n=3),
        row("primary_level", SET, "few", 5, "choice/mean", -1.25, n=3),
        row("primary_level", SET, "none", 5, "choice/mean", -2.9, n=3),
        row("primary_effect", *key, 3.94, interval=(2.7, 5.72), p=0.0731, n=39),
        row("primary_rank", *key, 1.0, n=39),
        row("primary_beyond", SET, KIND, 5, "mass/mean", -0.65, interval=(-0.8, -0.5), n=3),
    ]
    minus = "\N{MINUS SIGN}"
    assert told_of(tmp_path / "all", rows) == [
        "Were these 3 tasks a sample of many, the 95% interval of the drop of 0.80 nats would be 0.25 to 1.35.",
        f"At 5 shots choice falls from {minus}0.50 to {minus}1.25; at 0 shots it rises from {minus}3.00 to "
        f"{minus}2.90.",
        "Beside the controls: 3.9 of their sds beyond their mean (2.7 to 5.7), rank 1 of 40. If heads were "
        "exchangeable within layers, p = 0.073.",
        f"By mass the gain falls by less than without matched heads: {minus}0.65 nats ({minus}0.80 to {minus}0.50).",
    ]
    more = [{**one, "ci_high": 0.1} if one["level"] == "mass/mean" else one for one in rows]
    assert not any("By mass" in line for line in told_of(tmp_path / "more", more))
    shared = row("primary_overlap", SET, KIND, 5, "heads", 0.498, n=39)
    (alike,) = [line for line in told_of(tmp_path / "alike", [*rows, shared]) if "of their sds" in line]
    assert "rank 1 of 40; two of them share 50% of their heads on average. If heads were" in alike
    below = [{**one, "value": -3.94, "ci_low": -5.72, "ci_high": -2.7} for one in rows if "effect" in one["kind"]]
    told = told_of(tmp_path / "below", [*one_question(0.4, 0.8), *below])
    assert told[0].startswith("Beside the controls: 3.9 of their sds below their mean (2.7 to 5.7). If heads")


def test_the_smallest_effect_is_that_of_the_power_of_a_t_test(tmp_path: Path) -> None:
    """From an interval alone, as from the estimate that it is of."""
    estimate = planned_estimate(2.0, clusters=560, documents=560)
    evidence = write(tmp_path, one_question(*estimate.interval()))
    found = primary.verdict(evidence, evidence.row(kind=Kind.PRIMARY_BEYOND))
    assert found.detectable == pytest.approx(smallest_effect(estimate), rel=0.005)


def test_ways_of_removing_that_tell_another_story_stand_beside_the_mean(tmp_path: Path) -> None:
    """By sign and by verdict; neither where both say the same, nor where a number rounds to 0."""
    zero = {"choice": (-0.5, -0.3), "metric": (-0.01, 0.03), "mass": (0.1, 0.3)}
    rows = []
    for outcome, interval in zero.items():
        rows += [*one_question(0.1, 0.3, level=f"{outcome}/mean"), *one_question(*interval, level=f"{outcome}/zero")]
    minus = "\N{MINUS SIGN}"
    assert told_of(tmp_path / "all", rows) == [
        "By choice, the drop beyond matched heads differs in sign and verdict: replaced by their mean +0.20 nats "
        f"(0.10 to 0.30), shown to be more; replaced by zero {minus}0.40 nats ({minus}0.50 to {minus}0.30), shown to "
        "be less.",
        "By accuracy, the drop beyond matched heads differs in verdict: replaced by their mean +20.0 points (10.0 to "
        f"30.0), shown to be more; replaced by zero +1.0 points ({minus}1.0 to 3.0), not decided.",
    ]
    near = [*one_question(-0.2, 0.21), *one_question(-0.209, 0.2, level="choice/zero")]
    assert not any("differs" in line for line in told_of(tmp_path / "near", near))


@pytest.mark.parametrize(
    ("whole", "without", "says"),
    [
        (-12.63, -3.32, "lower the loss by 12.63 nats in the whole model, by 3.32 without the induction heads"),
        (-1.5, 0.2, "lower the loss by 1.50 nats in the whole model, by \N{MINUS SIGN}0.20 without"),
        (0.4, 0.1, "raise the loss by 0.40 nats in the whole model, by 0.10 without"),
    ],
)
def test_what_repeats_do_to_the_loss_has_its_direction(tmp_path: Path, whole: float, without: float, says: str) -> None:
    rows = [
        row("primary_repeats", "full model", "", 0, "repeats/zero", whole),
        row("primary_repeats", SET, "", 0, "repeats/zero", without, n=11),
    ]
    (told,) = removal.repeats(write(tmp_path, rows))
    assert says in told and told.endswith("(replaced by zero; no controls).")


def test_documents_that_are_not_stored_are_not_told_as_none(tmp_path: Path) -> None:
    """A look without its documents, beside another way for which no number would do."""
    rows = [*one_question(-0.1, 0.5), *one_question(-0.1, 0.5, level="choice/zero", n=inf)]
    rows += one_question(-0.1, 0.5, level="margin/mean")  # nearly choice: told nowhere
    looks = [{"kind": "undecided", "value": 0.2, "low": -0.2, "high": 0.6}]
    (told,) = undecided.drops(write(tmp_path, rows, stage=Stage("primary", {}), looks=looks))
    by_mean, by_zero = told.split("; ")
    assert "would decide" not in by_mean and by_zero.endswith("no number of documents would decide.")


def scored(name: str, values: dict[str, tuple[float, float, float]]) -> HeadScores:
    """Heads 0.0 to 24.9: mean, null and family-wise p of the named ones, next to nothing elsewhere."""
    mean, null, p = torch.zeros(25, 10), torch.zeros(25, 10), torch.ones(25, 10)
    for head, (value, none, sure) in values.items():
        place = tuple(int(part) for part in head.split("."))
        mean[place], null[place], p[place] = value, none, sure
    ends = {"ci_low": mean - 0.002, "ci_high": mean + 0.002}
    nulls = (Null("content", null, p, p),)
    return HeadScores(name, mean, std=torch.ones(25, 10), n=280, n_kv_heads=10, nulls=nulls, provenance={}, **ends)


def test_function_vector_heads_are_named_by_choice_and_by_probability(tmp_path: Path) -> None:
    """24.4 stands third by probability, as high as its null; 3.1 stands sixth, above which no one is asked."""
    folder = tmp_path / "run"
    with begin_stage(folder, IDENTITY, Stage("vectors", {})) as one:
        one.add_scores(scored("fv", {"20.5": (2.237, 0.0, 0.01), "18.6": (0.93, 0.0, 0.01)}))
        found = {"20.5": (0.116, 0.002, 0.01), "18.6": (0.032, 0.005, 0.01), "24.4": (0.01, 0.0105, 1.0)}
        found |= {"7.7": (0.009, 0.001, 0.01), "8.8": (0.008, 0.001, 0.04), "3.1": (0.007, 0.009, 1.0)}
        one.add_scores(scored("fv_prob", found))
        one.record(fv_heads=["20.5", "18.6"])
    assert list(vectors.heads(Evidence(open_run(folder)))) == [
        "2 of its 250 heads are function-vector heads: patched into prompts with wrong labels, their mean output from "
        "prompts with right ones adds more to the choice than one from wrong-label prompts does, by 2.24 nats (2.23 to "
        "2.24) in 20.5 and 0.93 nats (0.93 to 0.93) in 18.6.",
        "By the papers' measure, points of probability of the answer's first token: 11.6 (11.4 to 11.8; null 0.2) in "
        "20.5 and 3.2 (3.0 to 3.4; null 0.5) in 18.6; among the 5 highest, but not shown to be above its null: 1.0 "
        "(0.8 to 1.2; null 1.0) in 24.4.",
    ]
    with begin_stage(folder, IDENTITY, Stage("vectors", {})) as one:
        one.record(fv_heads=["20.5", "18.6"], fv_over_tasks=[[1.1, 3.3], [-0.2, 2.0]])
    assert next(vectors.heads(Evidence(open_run(folder)))).endswith(
        "in 18.6. Were the tasks a sample of many, the 95% intervals would be 1.10 to 3.30 in 20.5 and "
        "\N{MINUS SIGN}0.20 to 2.00 in 18.6."
    )
    with begin_stage(folder, IDENTITY, Stage("vectors", {})) as one:
        one.record(fv_heads=[])
    (none,) = vectors.heads(Evidence(open_run(folder)))
    assert none.startswith("None of its 250 heads is a function-vector head")
    assert not list(vectors.heads(write(tmp_path / "without", [])))


def test_vectors_are_told_at_every_block_with_what_p_can_reach(tmp_path: Path) -> None:
    rows = []
    for block, value in ((10, 0.42), (7, 0.35)):
        key = ("function vector", "", 0, f"block={block}")
        rows.append(row("vector_raise", *key, value, interval=(value - 0.2, value + 0.2), n=140))
        rows.append(row("vector_beyond", *key, value + 0.01, interval=(value - 0.1, value + 0.1), p=1 / 9, n=140))
    record = {"vector_heads": ["20.5"], "vector_controls": 8}
    (told,) = vectors.sentences(write(tmp_path, rows, stage=Stage("vectors", {}), **record))
    assert told == (
        "Adding the function vector of 20.5 to prompts without demonstrations raises the choice by 0.35 nats (0.15 to "
        "0.55) at block 7, 0.36 (0.25 to 0.45) more than other heads; 0.42 nats (0.22 to 0.62) at block 10, 0.43 (0.32 "
        "to 0.52) more than other heads; the others are 8 sets of as many heads of the same layers, and all is on the "
        "queries by which the heads were chosen; with 8 controls p cannot be below .11."
    )
    (old,) = vectors.sentences(write(tmp_path / "old", rows, stage=Stage("vectors", {})))
    assert "the others are sets of as many" in old and "cannot be" not in old


def test_chance_is_told_for_the_choices_that_the_tasks_have(tmp_path: Path) -> None:
    minus = "\N{MINUS SIGN}"
    for choices, told in (
        ({"copa": [2], "rte": [2, 4]}, f"({minus}0.69 for 2 and {minus}1.39 for 4 choices)"),
        ({}, f"({minus}1.39 for 4 choices)"),
    ):
        folder = tmp_path / str(len(choices))
        rows = screen({"copa": 1.0}, passed=("copa",))
        section = task_table.section(write(folder, rows, stage=Stage("screen", {}), choices=choices))
        assert section is not None and told in section.note


# ---- tables ---------------------------------------------------------------------------------------------------------


def test_the_task_table_holds_both_levels_and_both_gains(tmp_path: Path) -> None:
    section = task_table.section(write(tmp_path, screen({"copa": 1.0, "rte": 3.0}, passed=("copa",))))
    assert section is not None and section.table is not None
    first, second = section.table.rows
    assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in first] == [
        "copa",
        "yes",
        "0.25 → 0.75",
        "\N{MINUS SIGN}7.0 → \N{MINUS SIGN}6.5",
        "\N{MINUS SIGN}2.0 → \N{MINUS SIGN}1.0",
        "+1.00",
        "+0.50",
    ]
    assert second[:2] == ("rte", "no") and second[5] == "+3.00"


def test_a_task_without_a_mass_has_one_dash_for_it(tmp_path: Path) -> None:
    """Partial evaluation scores what follows each choice: the choices are no events of one distribution."""
    rows = [line for line in screen({"winogrande": 1.0}, passed=("winogrande",)) if line["level"] != "mass"]
    section = task_table.section(write(tmp_path, rows))
    assert section is not None and section.table is not None
    (cells,) = section.table.rows
    assert cells[3] == "-" and "→" in cells[2] and "→" in cells[4]


def test_the_rank_table_has_two_rows_and_never_an_interval_beside_a_p(tmp_path: Path) -> None:
    place = ("prefix_matching", "importance/signed/choice", 5, "within_layer")
    key = (SET, "knock_out/choice", 5, "within_layer")
    rows = [row("class_rank", *key, 0.55, interval=(0.4, 0.7), p=0.002, p_holm=0.02, n=13)]
    rows.append(row("class_rank_detectable", *key, 0.35, n=13))
    rows += [row("induction_importance", *place, 0.41, interval=(0.2, 0.6), p=0.0004, n=270)]
    rows.append(
        row("induction_importance", "prefix_matching", "importance/token", 5, "within_layer", 0.1, p=0.2, n=270)
    )
    section = ranks.section(write(tmp_path, rows))
    assert section is not None and section.table is not None
    together, sure = section.table.rows
    assert together[1:] == ("+0.55, p = 0.0020, Holm 0.020", "+0.41, p = 0.0004", "+0.10, p = 0.200")
    assert sure[1:] == ("0.40 to 0.70", "0.20 to 0.60", "too few documents for one")
    assert "13 induction heads" in section.note and "0.35 would be found by 80% of tests" in section.note


@pytest.mark.parametrize("measure", MEASURES)
def test_what_t_ranks_by_is_said_as_it_was_stored(tmp_path: Path, measure: ScoreName) -> None:
    rows = [row("class_rank", SET, str(measure), 5, "within_layer", 0.55, p=0.002, n=13)]
    section = ranks.section(write(tmp_path, rows))
    words = {
        "knock_out/choice": "replaced by zero, costs",
        "knock_out_mean/choice": "replaced by mean, costs",
        "importance/signed/choice/mean": "an estimate of what removing a head, replaced by its mean, costs",
        "importance/signed/choice": "an estimate of what removing a head costs",
    }
    assert section is not None and words[str(measure)] in section.note


def exact_row(
    level: str, value: float, *, a: str = "aggregate", shots: int = 5, n: int = 12, b: str = ranks.TO_CHOICE
) -> Row:
    return row("knock_out_spearman", a, b, shots, level, value, n=n)


@pytest.mark.parametrize("exact", knock_out.EXACT)
def test_every_exact_knock_out_that_is_compared_is_told(tmp_path: Path, exact: ScoreName) -> None:
    way = next((way for way in ("mean", "resample") if way in exact.score), "zero")
    sample = "a sample of " if exact.score.endswith("_sample") else ""
    other = "" if way == "zero" else " (importance by zero)"
    signs = row("knock_out_signs", "aggregate", "importance/signed/choice", 5, str(exact), 0.88, n=12)
    alone = [exact_row(str(exact), 0.94), signs]
    of_tasks = [exact_row(str(exact), value, a=task) for task, value in (("a", 0.5), ("b", 0.9), ("c", 0.8))]
    for rows, median in ((alone, ""), ([*alone, *of_tasks], " (median of 3 tasks 0.80)")):
        assert list(ranks.checked(write(tmp_path / str(len(rows)), rows))) == [
            "First-order importance to choice beside exact knock-outs on the same documents: "
            f"{sample}12 heads, replaced by {way}{other}: Spearman's rho 0.94{median}, one sign for 88%."
        ]
    assert list(ranks.checked(write(tmp_path / "tasks alone", of_tasks))) == []


def test_of_several_exact_knock_outs_one_is_told_for_each_way_of_removing(tmp_path: Path) -> None:
    """At the most shots; all heads before a sample of them; zero, which is estimated, before mean."""
    levels = ("knock_out_mean_sample/choice", "knock_out_sample/choice", "knock_out_mean/choice", "knock_out/choice")
    rows = [exact_row(levels[3], 0.9, shots=0), *(exact_row(level, 0.1 * n) for n, level in enumerate(levels, 1))]
    for left, values in ((5, "0.40 0.30"), (4, "0.20 0.30"), (3, "0.20 0.10"), (2, "0.10"), (1, "0.90")):
        (told,) = ranks.checked(write(tmp_path / str(left), rows[:left]))
        assert " ".join(re.findall(r"rho (\S+)[;.]", told)) == values


def test_removal_by_the_mean_is_compared_with_its_own_importance(tmp_path: Path) -> None:
    rows = [exact_row("knock_out/choice", 0.5), exact_row("knock_out_mean/choice", 0.6)]
    rows.append(exact_row("knock_out_mean_sample/choice", 0.9, b=ranks.BY_MEAN))
    rows.append(exact_row("knock_out/choice", 0.1, b=ranks.BY_MEAN))  # of another removal
    rows.append(exact_row("knock_out/choice", 0.2, b=ranks.SIGNED, shots=10))  # of another objective, at more shots
    (told,) = ranks.checked(write(tmp_path, rows))
    assert told.endswith(
        "12 heads, replaced by zero: Spearman's rho 0.50; a sample of 12 heads, replaced by mean: Spearman's rho 0.90."
    )


def test_the_papers_pairs_stand_beside_ours_of_the_same_pairs(tmp_path: Path) -> None:
    rows = []
    values = {("copa", "record"): 0.3, ("record", "winogrande"): 0.5, ("copa", "winogrande"): 0.2}
    for (a, b), value in values.items():
        for level, share in (("global", 1.0), ("bansal_released", 0.1), ("within_layer", 9.0)):
            rows += [row("cross_task", a, b, shots, level, share * value + 0.4 * (shots > 0)) for shots in (0, 5)]
        rows.append(row("cross_task_overlap", a, b, 0, "q=30", value + 0.4))
    section = paper.section(write(tmp_path, rows))
    assert section is not None and section.table is not None
    assert section.table.rows == (
        ("rank correlation, copa and record, 0 shots", "0.13", "0.03 (script), 0.30 (ranks)"),
        ("top 30% in common, copa and record", "71%", "70%"),
        ("rank correlation, record and winogrande, 0 shots", "0.13", "0.05 (script), 0.50 (ranks)"),
        ("top 30% in common, record and winogrande", "76%", "90%"),
        ("lowest pair, 0 shots: here copa and winogrande", "0.13", "0.02 (script), 0.20 (ranks)"),
    )
    few = [one for one in rows if "winogrande" not in (one["a"], one["b"])]
    assert paper.section(write(tmp_path / "few", few)) is None


@pytest.mark.parametrize(("ways", "told"), [(("mean", "zero"), "zero"), (("mean",), "mean")])
def test_the_papers_joint_removal_stands_beside_ours_by_zero_first(
    tmp_path: Path, ways: tuple[str, ...], told: str
) -> None:
    drops = {"mean": -0.01, "zero": -0.06}
    rows = [
        row("pruned_metric", "pooled tasks", "own", 0, f"both/{way}/h=70,f=20", drops[way], interval=(-0.1, 0.0), n=3)
        for way in ways
    ]
    minus = "\N{MINUS SIGN}"
    assert list(paper.joint(write(tmp_path, rows))) == [
        (
            "without 70% of heads, 20% of FFNs, 0 shots",
            f"{minus}5 points",
            f"{minus}{-100 * drops[told]:.1f} points ({minus}10.0 to 0.0), by {told}",
        )
    ]


def test_one_tasks_heads_at_two_numbers_of_shots_are_the_mean_over_tasks(tmp_path: Path) -> None:
    rows = [row("cross_shot", f"{t}@0", f"{t}@5", -1, "global", v) for t, v in (("copa", 0.4), ("rte", 0.8))]
    rows.append(row("cross_shot", "aggregate@0", "aggregate@5", -1, "global", 0.99))
    assert list(paper.cross_shot(write(tmp_path, rows))) == [
        ("one task's heads at 0 and 5 shots", "0.37", "0.60 (ranks)")
    ]


# ---- what is not decided --------------------------------------------------------------------------------------------


def test_what_is_not_decided_comes_with_the_documents_that_would_decide(tmp_path: Path) -> None:
    rows = [*one_question(0.4, 0.8), *one_question(-0.001, 0.021, level="metric/zero", n=431.0)]
    rows += screen({"copa": 1.0, "rte": 0.1, "wic": 0.0}, passed=("copa",), needed=880.0)
    told = undecided.section(write(tmp_path, rows))
    assert told is not None and told.sentences == (
        "By accuracy, induction heads beyond matched heads: replaced by zero 1.0 points (\N{MINUS SIGN}0.1 to 2.1), "
        "80% of tests would have shown 1.6 points, more than 40.0 points either way is excluded, about 440 documents "
        "over all tasks would decide.",
        "Whether the model learns these tasks: rte (about 880 documents) and wic (about 880 documents).",
    )
    assert undecided.section(write(tmp_path / "decided", one_question(0.4, 0.8))) is None


def test_noisy_rankings_are_named_with_the_documents_that_would_do(tmp_path: Path) -> None:
    """Twice the documents of a reliability of .43 have one of .6 (Spearman and Brown)."""
    reliabilities = {"copa": 0.43, "rte": 0.9, "wic": nan}
    rows = [
        row("reliability", task, "importance/token", 5, "within_layer", value, n=100)
        for task, value in reliabilities.items()
    ]
    rows.append(row("reliability", "aggregate", "importance/token", 5, "within_layer", 0.1, n=100))
    (told,) = undecided.rankings(write(tmp_path, rows))
    assert told.endswith("too noisy to compare: copa (about 200 documents) and wic (no number of documents).")


def test_numbers_in_words() -> None:
    assert [number(value) for value in (0.746, -1.2, -0.001, nan)] == ["0.75", "\N{MINUS SIGN}1.20", "0.00", "-"]
    assert [number(value, 1, sign=True) for value in (3.0, 0.0)] == ["+3.0", "0.0"]
    assert documents(7.0) == "about 7 documents over all tasks would decide"
    assert [documents(count, pooled=False).split(" would")[0] for count in (7.0, 93.0, 1201.0, 20000.0)] == [
        "about 7 documents",
        "about 93 documents",
        "about 1,300 documents",
        "about 20,000 documents",
    ]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert listed([*"abcd"], 2) == "a, b and 2 more"


# ---- the whole page -------------------------------------------------------------------------------------------------


def test_the_title_is_the_models_real_name() -> None:
    quantised = {"source": "smollm2-135m", "quantization": "Q4_1, dequantised to float32 (79% Q4_1, 21% Q8_0)"}
    assert model_name(quantised) == "SmolLM2-135M-Instruct, Q4_1"
    assert model_name({"source": "gpt2", "quantization": None}) == "gpt2"


def lines_of(section: Section) -> Iterator[str]:
    yield from section.sentences
    yield section.note
    for cells in section.table.rows if section.table is not None else ():
        yield " | ".join(cells)


def test_the_order_is_the_readers(whole: Run) -> None:
    names = [section.name for section in page_of(whole)]
    assert names == [
        "answer",
        "tasks",
        "mosaic",
        "dots",
        "contest",
        "pruning",
        "ranks",
        "paper",
        "undecided",
        "left_out",
    ]


def test_an_interval_and_a_p_never_stand_in_one_sentence(whole: Run) -> None:
    for section in page_of(whole):
        for line in lines_of(section):
            for sentence in re.split(r"[.;] ", line):
                p, interval = re.search(r"\bp = ", sentence), re.search(r"\d to \N{MINUS SIGN}?\d|interval", sentence)
                assert not (p and interval), sentence


def test_no_cell_is_longer_than_twelve_words(whole: Run) -> None:
    tables = [section.table for section in page_of(whole) if section.table is not None]
    assert len(tables) == 5
    for table in tables:
        assert all(len(cell.split()) <= 12 for cells in (table.headings, *table.rows) for cell in cells)


def test_whatever_is_too_few_says_how_many_would_do(whole: Run) -> None:
    told = "\n".join(line for section in page_of(whole) for line in lines_of(section))
    assert re.search(r"open|undecided|Whether", told)
    for sentence in re.split(r"(?<=\.)\s", told):
        if re.search(r"is open|undecided|Whether", sentence):
            assert "document" in sentence
    assert "nan" not in told.split()


def test_every_kind_of_row_alone_is_no_reason_to_crash(tmp_path: Path, whole: Run) -> None:
    """A study may be stopped after any stage, and any table may lack what another stage would have made."""
    rows = whole.comparisons
    for place, (_, part) in enumerate(rows.groupby("kind")):
        folder = tmp_path / str(place)
        with begin_stage(folder, IDENTITY, Stage("study", "x", tasks=TASKS)) as run:
            run.add_comparisons(part)
        page_of(open_run(folder))
    missing = set(COMPARED) - set(rows["kind"])
    write(tmp_path / "more", [row(kind, *names_for(kind), 0.1) for kind in missing])
    page_of(open_run(tmp_path / "more"))


def names_for(kind: Kind) -> tuple[str, str, int, str]:
    """a, b, shots and level as such a row has them."""
    if kind.startswith("cross_shot"):
        return "copa@0", "copa@5", -1, "within_layer"
    if kind is Kind.INDUCTION_IMPORTANCE_GAIN:
        return "prefix_matching", "importance/token@5 - importance/token@0", 5, "within_layer"
    cut = {"set_overlap": "k=3", "overlap": "q=10", "cross_task_overlap": "q=30", "retention": "p=70"}
    return "copa", "rte", 5, next((level for name, level in cut.items() if kind.startswith(name)), "within_layer")


def test_an_empty_run_says_what_it_is_of_and_no_more(tmp_path: Path) -> None:
    (only,) = page_of(write(tmp_path, []).run)
    assert only.sentences == ("2 tasks, seed 0.",)


def test_stages_that_take_a_part_of_the_documents_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path, [], budget={"primary_documents": 40}).run.folder
    with begin_stage(folder, IDENTITY, Stage("vectors", {"queries": 20})):
        pass
    with begin_stage(folder, IDENTITY, Stage("contest", {"limit": 25})):
        pass
    each = "documents a task, at most: 40 for the primary question, 20 queries for function vectors, 25 for the contest"
    assert any(each in line for line in left_out(open_run(folder).manifest))


def test_a_task_that_could_not_be_screened_is_told_with_its_reason(tmp_path: Path) -> None:
    """It is none of those that the model is not shown to learn."""
    rows = [*screen({"copa": 1.0}, passed=()), row("screen_passes", "mine", "", 5, "choice", 0.0)]
    reasons = {"mine": "no document has a choice to make", "copa": "the bound is not above 0"}
    evidence = write(tmp_path, rows, stage=Stage("screen", {}), reasons=reasons)
    assert list(answer.learnt(evidence)) == [
        "The model is not shown to learn any of 1 task from 5 demonstrations: copa.",
        "mine could not be screened: no document has a choice to make.",
    ]


def test_what_was_left_out_cut_or_not_ended_is_told(tmp_path: Path) -> None:
    write(tmp_path, [], cut={"rte, 5 shots": 3}, left_out=["no controls", "nothing at 1 shot"], fewer="Few.")
    begin_stage(tmp_path, IDENTITY, Stage("prune", "x"))
    told = list(left_out(open_run(tmp_path).manifest))
    assert "Left out: no controls; nothing at 1 shot." in told and "Few." in told
    assert any("cut by whole demonstrations" in line and line.endswith("3 in study.") for line in told)
    assert told[-1] == "Not finished, so that its numbers are missing or of an earlier moment: prune."


def test_the_published_page_is_short_and_made_of_what_lies_beside_it(tmp_path: Path, whole: Run, undrawn: None) -> None:
    page = publish(whole, tmp_path / "results")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "results" / "README.md" and text == "\n".join(pages(tmp_path / "results")[page])
    assert text.startswith("# SmolLM2-135M-Instruct, Q4_1")
    beside = page_of(open_run(tmp_path / "results" / "run"))
    assert beside == page_of(whole)
    for section in beside:
        assert all(line in text for line in section.sentences)
    assert all(f"- {line}" in text for line in READING)
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    pruned = ("pruning_heads", "pruning_kv_groups", "pruning_ffns")
    assert pictures == [f"run/{name}.svg" for name in ("mosaic", "dots", "contest", *pruned)]
    assert all((tmp_path / "results" / picture).is_file() for picture in pictures)


def test_two_studies_of_a_model_are_pages_under_150_lines(tmp_path: Path, undrawn: None) -> None:
    """The one in which more is learnt comes first; the other has a page of its own."""
    for name, count in (("probes", 10), ("icl14", 14)):
        tasks = [f"task {place}" for place in range(count)]
        folder = write_run(tmp_path / name, study=True, tasks=tasks)
        with begin_stage(folder, open_run(folder).identity, Stage("screen", {})) as run:
            run.record(learnt=tasks if name == "probes" else [])
        page = publish(open_run(folder), tmp_path / "results")
    text, other = (path.read_text(encoding="utf-8") for path in (page, page.parent / "icl14" / "README.md"))
    assert len(text.splitlines()) < 150 and len(other.splitlines()) < 150
    assert re.findall("^## (.*)", text, re.M) == ["probes", "icl14", "How to read it"]
    assert "](probes/dots.svg)" in text and "](dots.svg)" in other and "](icl14/README.md)" in text
    assert not (page.parent / "probes" / "README.md").exists()


def test_a_number_on_the_page_is_the_tables(tmp_path: Path, whole: Run, undrawn: None) -> None:
    """Another number in the table beside the page is another number on the page."""
    home = tmp_path / "results"
    publish(whole, home)
    published_run = open_run(home / "run")
    rows = published_run.comparisons
    rows.loc[(rows["kind"] == "primary_drop") & (rows["level"] == "choice/mean"), "value"] = 0.4321
    with begin_stage(home / "run", published_run.identity, Stage("again", {})) as run:
        run.add_comparisons(rows)
    assert "falls by 0.43 nats" in "\n".join(pages(home)[home / "README.md"])


def test_where_figures_can_not_be_drawn_the_page_stands_without_them(
    tmp_path: Path, whole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no browser")

    monkeypatch.setattr(published, "write_pictures", fail)
    with pytest.raises(RuntimeError, match="no browser"):
        publish(whole, tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "![" not in text and "What the model can do" in text


def test_verdicts_know_their_outcome(tmp_path: Path) -> None:
    evidence = write(tmp_path, one_question(0.04, 0.06, level="metric/mean"))
    beyond = evidence.row(kind=Kind.PRIMARY_BEYOND)
    found = primary.verdict(evidence, beyond)
    assert (found.kind, found.size) == ("more", "5.0 points (4.0 to 6.0)")
