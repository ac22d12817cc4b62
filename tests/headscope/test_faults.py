"""The fault harness: whatever is done to the files or to a command that writes them, nothing is lost and nothing wrong.

docs/reliability.py makes the same faults more often and writes what it counted into docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import interp
from headscope.stages.induction import refuse_overflow
from headscope.store import atomic
from headscope.store.atomic import remove_stale
from headscope.store.manifest import FILE, read_manifest
from headscope.store.run import open_run
from headscope.store.writer import RunWriter, begin_stage
from induction.prefix_matching import IN_REACH
from interp.errors import HeadscopeError, StoreError
from interp.leftovers import machine
from interp.scores import FFNScores, HeadScores
from tests.headscope import damaged, faults, killed_commands, processes, tiny
from tests.headscope.faults import Killed, Told
from tests.headscope.forking import DONE, KILLED, Forks, forks
from tests.headscope.killed_writer import work as write_six
from tests.headscope.store.stored import IDENTITY, STAGE, UNIT, metric_row, write_run
from tests.headscope.tiny_model import tiny_model


def sound(told: Told) -> None:
    print(f"{told.fault}: {told.made} made, {told.refused} refused, {told.mended} mended, {told.harmless} harmless")
    assert (told.lost, told.wrong) == (0, 0), told
    assert told.made and told.refused + told.mended + told.harmless >= told.made, told


@pytest.mark.parametrize("times", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_damaged_files(tmp_path: Path, times: int) -> None:
    for told in damaged.damages(write_run(tmp_path / "run"), times):
        sound(told)


@pytest.mark.parametrize("most", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_writer_killed_at_every_step(tmp_path: Path, most: int) -> None:
    told = faults.stopped_at_every_step("killed at a step", write_six, tmp_path, Killed, most=most)
    sound(told)
    assert told.mended == told.made


@pytest.mark.parametrize(
    ("error", "most"),
    [
        (faults.full_disk, 2),
        pytest.param(faults.full_disk, 8, marks=pytest.mark.slow),
        pytest.param(faults.no_io, 6, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_fails_at_every_step(tmp_path: Path, error: object, most: int) -> None:
    told = faults.stopped_at_every_step("disk", write_six, tmp_path, error, most=most, lasting=True)  # type: ignore[arg-type]
    sound(told)
    assert told.refused == told.mended == told.made


@pytest.mark.parametrize("most", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_often_killed(tmp_path: Path, most: int) -> None:
    sound(faults.killed_after_steps("killed often", write_six, tmp_path, steps=7, most=most))


@pytest.mark.longest
@pytest.mark.slow
def test_commands_killed_in_the_middle(tmp_path: Path) -> None:
    """Some of them once; docs/reliability.py kills every one more often. What they are there for is in the folder."""
    model = interp.load_model(str(tiny.write_model(tmp_path / "model")), check=False)
    for name, work, before, place in killed_commands.in_order(model, tmp_path):
        if name not in ("vectors", "contest", "knockout of heads", "compare", "export"):
            work(faults.begun(place / "whole", before))
            continue
        told = faults.stopped_at_every_step(name, work, place, Killed, most=1, before=before)
        sound(told)
        assert told.mended == told.made == 1
    run = open_run(place / "whole")
    kinds = {"primary_drop", "vector_raise", "contest_drop", "cross_task"}
    assert kinds <= set(run.comparisons["kind"]), kinds - set(run.comparisons["kind"])
    assert {"prefix_matching", "fv", "importance", "knock_out"} <= set(run.head_scores["score"])
    assert len(run.metrics) and (run.folder / killed_commands.EXPORTED / "model.safetensors").is_file()


@pytest.mark.slow
def test_induction_with_further_scores_killed_in_the_middle(tmp_path: Path) -> None:
    told = faults.stopped_at_every_step("also", killed_commands.also, tmp_path, Killed, most=1)
    sound(told)
    assert "concept_induction" in set(open_run(tmp_path / "whole").head_scores["score"])


@pytest.mark.longest
@pytest.mark.slow
def test_too_little_memory_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    told = processes.limited_memory(tiny.write_model(tmp_path / "model"), tmp_path, [4, 64])
    sound(told)
    assert told.refused


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    sound(processes.two_processes(tmp_path, 2))


@pytest.mark.parametrize("sizes", [[500], pytest.param([0, 2000, 5000], marks=pytest.mark.slow)])
def test_files_that_may_not_grow(tmp_path: Path, sizes: list[int]) -> None:
    sound(faults.limited_size(write_six, tmp_path, sizes))


def test_two_writers(tmp_path: Path) -> None:
    sound(faults.together(write_six, tmp_path, 1))


@pytest.mark.slow
def test_clocks(tmp_path: Path) -> None:
    sound(faults.clocks(write_six, tmp_path))


def test_the_harness_notices_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hashes are not looked at, flips are read as other values, and it says so."""
    folder = write_run(tmp_path / "run")
    content = json.loads((folder / FILE).read_bytes())
    (folder / FILE).write_text(json.dumps({name: content[name] for name in ("format", "identity", "stages")}))
    monkeypatch.setattr("headscope.store.sealed.read_manifest", lambda folder: None)
    assert damaged.damage(folder, "one bit flipped", 8, damaged.flipped).wrong > 0


def test_the_harness_notices_manifests_that_are_read_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the fields of a manifest not looked at, and what is wrong left out, the row of foreign ones would say so."""
    folder = write_run(tmp_path / "run")
    assert damaged.foreign(folder).wrong == 0
    kept = read_manifest(folder)
    monkeypatch.setattr("headscope.store.run.read_manifest", lambda folder: kept)
    assert damaged.foreign(folder).wrong > 50


def test_the_harness_notices_units_that_are_read_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headscope.store.units._decode", lambda content, key: damaged.unit({"number": 7}))
    assert all(told.wrong for told in damaged.unit_damages(tmp_path / "units-of", 1) if "deleted" not in told.fault)


# ---- what kills and refusals leave ----------------------------------------------------------------------------------


def test_a_killed_processs_temporary_files_are_swept_by_the_next_stage(tmp_path: Path) -> None:
    """Those of a live process are not, nor young ones of another machine."""
    folder = begin_stage(tmp_path / "run", IDENTITY, STAGE).folder
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    names = {
        "dead": f".{machine()}-{int(gone.stdout)}-{'0' * 16}.tmp",
        "alive": atomic._temporary_name(),
        "elsewhere": f".{'f' * 8}-{int(gone.stdout)}-{'0' * 16}.tmp",
    }
    for part in (folder, folder / "items", folder / "units"):
        part.mkdir(exist_ok=True)
        for name in names.values():
            (part / name).write_bytes(b"")
    begin_stage(folder, IDENTITY, STAGE)
    assert {path.name for path in folder.rglob("*.tmp")} == {names["alive"], names["elsewhere"]}
    for part in (folder, folder / "items", folder / "units"):
        remove_stale(part, older_than=-1.0)
    assert not [*folder.rglob("*.tmp")]


def test_a_refused_command_leaves_no_manifest_that_binds(tmp_path: Path) -> None:
    """Another seed, given right, is then not refused for the first one's."""
    folder = tmp_path / "run"
    with pytest.raises(StoreError, match=r"wrong input"), begin_stage(folder, IDENTITY, STAGE):
        raise StoreError("wrong input")
    assert not folder.exists()
    write_run(folder)
    before = (folder / "manifest.json").read_bytes()
    other = replace(STAGE, command="importance", protocol="a")
    with pytest.raises(StoreError, match=r"wrong input"), begin_stage(folder, IDENTITY, other):
        raise StoreError("wrong input")
    assert (folder / "manifest.json").read_bytes() == before
    with begin_stage(folder, IDENTITY, replace(other, protocol="b")):
        pass
    assert [stage.command for stage in open_run(folder).stages] == ["induction", "importance"]


def test_a_command_that_stored_something_before_it_was_refused_goes_on(tmp_path: Path) -> None:
    for number, store in enumerate([lambda writer: writer.units.put({"a": 1}, {"x": torch.ones(1)}), store_metrics]):
        folder = tmp_path / str(number)
        with pytest.raises(StoreError, match=r"late"), begin_stage(folder, IDENTITY, STAGE) as writer:
            store(writer)
            raise StoreError("late")
        assert [stage.finished for stage in open_run(folder).stages] == [""]


def store_metrics(writer: RunWriter) -> None:
    writer.add_metrics(metric_row())


def test_a_folder_that_is_deleted_while_a_command_works_in_it_is_told(tmp_path: Path) -> None:
    writer = begin_stage(tmp_path / "run", IDENTITY, STAGE)
    shutil.rmtree(writer.folder)
    for store in (
        lambda: writer.record(a=1),
        lambda: store_metrics(writer),
        lambda: writer.units.put({"a": 1}, {"x": torch.ones(1)}),
        writer.finish,
    ):
        with pytest.raises(StoreError, match=r"is gone: it was deleted"):
            store()
    assert not writer.folder.exists()


def test_a_file_and_then_its_name_are_forced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the write must find the new name: content, rename, then the folder, in this order."""
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        real_sync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replaced)
    atomic.write_atomically(tmp_path / "table", b"x")
    assert done == ["content", "rename", "folder"]


def test_units_of_other_versions_are_not_taken_for_these(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert begin_stage(folder, IDENTITY, STAGE).units.get(UNIT) is not None
    assert begin_stage(folder, IDENTITY, replace(STAGE, versions={"torch": "2"})).units.get(UNIT) is None


def test_a_second_writer_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at all, here, and then it says who is in the way."""
    run_writer = begin_stage(tmp_path / "run", IDENTITY, STAGE)
    monkeypatch.setattr("headscope.store.writer.LOCK_SECONDS", 0.05)
    with FileLock(run_writer.folder / ".lock"):
        for store in (lambda: store_metrics(run_writer), lambda: begin_stage(run_writer.folder, IDENTITY, STAGE)):
            with pytest.raises(StoreError, match=r"another headscope has been writing into"):
                store()
    store_metrics(run_writer)


def test_a_score_that_broke_down_is_not_stored(tmp_path: Path) -> None:
    """NaN in a table says that there is no such head; where the model has it, it is refused, by name."""
    writer = replace(begin_stage(tmp_path / "run", IDENTITY, STAGE), layers={"head": (0, 2), "ffn": (0, 1, 2)})
    items = torch.rand(5, 3, 4)
    items[:, 1] = torch.nan  # a layer without attention heads
    writer.add_scores(HeadScores.from_items("copying", items, n_kv_heads=2))
    items[:, 2, 3] = torch.nan
    broken = HeadScores.from_items("prefix_matching", items, n_kv_heads=2)
    with pytest.raises(HeadscopeError, match=r"score head-prefix_matching of head 2\.3 is no finite number .*float32"):
        writer.add_scores(broken)
    assert set(open_run(writer.folder).head_scores["score"]) == {"copying"}
    writer.add_scores(replace(broken, name="knock_out"), some=True)
    items[:, 2] = torch.nan
    whole = HeadScores.from_items("prefix_matching", items, n_kv_heads=2, partial=True)
    for told in ({}, {IN_REACH: torch.tensor([5, 0, 5])}):  # a whole layer that has heads; it had targets to score
        with pytest.raises(HeadscopeError, match=r"of head 2\.0 is no finite number \(4 are not\)"):
            writer.add_scores(replace(whole, provenance=told))
    writer.add_scores(replace(whole, provenance={IN_REACH: torch.tensor([5, 0, 0])}))
    ffns = FFNScores.from_items("knock_out", torch.tensor([[0.5, torch.inf, 0.5]] * 3))
    with pytest.raises(HeadscopeError, match=r"of the FFN of layer 1 is no finite number"):
        writer.add_scores(ffns)


def test_a_loss_that_is_no_number_stops_the_scoring() -> None:
    refuse_overflow(tiny_model(), torch.tensor([1.0, 2.0]))
    with pytest.raises(HeadscopeError, match=r"random sequence 1 is no finite number \(1 of 2 are not\).*float32"):
        refuse_overflow(tiny_model(), torch.tensor([1.0, torch.inf]))


@pytest.fixture(scope="module")
def pages() -> Iterator[Forks]:
    with forks("killed_pages.py") as script:
        yield script


@pytest.mark.parametrize("name", ["export", "report", "kit", "publish"])
def test_what_a_kill_left_is_swept_by_the_same_command(tmp_path: Path, pages: Forks, name: str) -> None:
    """By SIGKILL: no part of the process cleans up behind it. What others keep there stays."""
    folder, others = write_run(tmp_path / "run"), {".other.tmp", ".out.kept"}
    for other in others:
        (folder / other).write_text("")
    for _ in range(2):
        pages.begin(folder, name, "kill")
        assert pages.ended() == KILLED
        assert len(temporary(folder) - others) == 1, "the second swept what the first left"
    pages.begin(folder, name, "live")
    assert pages.ended() == DONE
    assert temporary(folder) == others
    assert (folder / "report.html").is_file() == (name == "report")
    assert (folder / "out" / "model.safetensors").is_file() == (name == "export")


def temporary(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob(".*") if path.name != ".lock"}
