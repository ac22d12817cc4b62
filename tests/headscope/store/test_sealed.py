"""What is read is what was written, whatever happened to the file in between."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from headscope.store.manifest import FILE, read_manifest
from headscope.store.run import EXAMPLE, TABLE_FILES, open_run, vector_file
from headscope.store.sealed import copy_sealed, put_sealed, settled
from headscope.store.units import UnitStore
from headscope.store.writer import begin_stage
from interp.errors import StoreError
from tests.headscope.store.stored import IDENTITY, STAGE, UNIT, files, metric_row, readers, write_run

VECTOR = vector_file("copa/a")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return write_run(tmp_path_factory.mktemp("written") / "run")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def test_the_run_has_a_file_of_every_kind(written: Path) -> None:
    unit = UnitStore(written / "units", {"identity": IDENTITY, "versions": {"torch": "1"}}).path(UNIT)
    items = ["items/ffn-knock_out-copa-0shot.parquet", "items/head-prefix_matching.parquet"]
    assert files(written) == sorted([FILE, *TABLE_FILES, EXAMPLE, *items, VECTOR, f"units/{unit.name}"])
    assert {*readers(written)} == {name for name in files(written) if not name.startswith("units/")}
    manifest = read_manifest(written)
    assert manifest is not None and manifest.files is not None
    assert sorted(manifest.files) == sorted([*TABLE_FILES, EXAMPLE, *items, VECTOR])
    assert all(len(states) == 1 for states in manifest.files.values()), "at rest a file has one content"


def damaged(name: str, data: bytes, chance: random.Random) -> bytes:
    """One bit another."""
    changed = bytearray(data)
    changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("flips", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_no_bit_flip_is_read_as_another_value(folder: Path, flips: int) -> None:
    """So many in every file: an error, or the same value (a space more in the manifest)."""
    noticed = {}
    for name, read in readers(folder).items():
        path, chance = folder / name, random.Random(name)
        whole, expected = path.read_bytes(), read()
        for _ in range(flips):
            path.write_bytes(damaged(name, whole, chance))
            try:
                assert read() == expected, f"another value from {name} without a word"
            except StoreError as error:
                assert path.name in str(error) or "store format" in str(error)
                noticed[name] = noticed.get(name, 0) + 1
        path.write_bytes(whole)
        assert read() == expected
    assert all(count == flips for name, count in noticed.items() if name != FILE)
    assert noticed[FILE] > flips / 2


@pytest.mark.parametrize("cut", [0, 1, -1, 0.5])
def test_a_file_cut_short_is_refused(folder: Path, cut: float) -> None:
    for name, read in readers(folder).items():
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[: int(cut * len(whole)) if 0 < abs(cut) < 1 else int(cut)])
        if name == FILE and json_or_none(path) == json.loads(whole):
            continue  # only the line break at the end is gone
        with pytest.raises(StoreError, match=path.name):
            read()
        path.write_bytes(whole)


def json_or_none(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def test_a_file_put_in_anothers_place_is_refused(folder: Path, tmp_path: Path) -> None:
    """A table of another run of the same model, too."""
    other = write_run(tmp_path / "other", heads=2)
    for name, read in readers(folder).items():
        if name == FILE:
            continue
        whole = (folder / name).read_bytes()
        for donor in [folder / "metrics.parquet", folder / "head_scores.parquet", other / name]:
            if donor.read_bytes() == whole:
                continue
            shutil.copyfile(donor, folder / name)
            with pytest.raises(StoreError, match=r"is not what was written"):
                read()
            (folder / name).write_bytes(whole)


def test_a_file_that_is_gone_is_missed(folder: Path) -> None:
    for name, read in readers(folder).items():
        if name == FILE:
            continue
        whole = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(StoreError, match=r"was written and is gone"):
            read()
        assert all(Path(name).stem in open_run(folder).item_names for name in [name] if name.startswith("items/head"))
        (folder / name).write_bytes(whole)


def test_a_file_that_the_run_did_not_write_is_refused(folder: Path) -> None:
    (folder / "items" / "more.parquet").write_bytes((folder / "metrics.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"was put there by something else"):
        open_run(folder).items("more")


def test_a_deleted_table_is_begun_anew_by_its_command(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "metrics.parquet").unlink()
    begin_stage(folder, IDENTITY, STAGE).add_metrics(metric_row())
    assert len(open_run(folder).metrics) == 1 and "was deleted" in caplog.text


def test_a_damaged_table_is_not_written_over(folder: Path) -> None:
    """The rows that it held would be gone without a word."""
    path = folder / "metrics.parquet"
    path.write_bytes(damaged("", path.read_bytes(), random.Random(1)))
    with pytest.raises(StoreError, match=r"is not what was written"):
        begin_stage(folder, IDENTITY, STAGE).add_metrics(metric_row())


@pytest.mark.parametrize("put", [False, True])
def test_a_kill_between_note_and_file_leaves_one_of_two_contents(
    folder: Path, monkeypatch: pytest.MonkeyPatch, put: bool
) -> None:
    """The manifest names both until the next note; the damaged one is never among them."""
    old = (folder / "metrics.parquet").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("headscope.store.sealed.write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin_stage(folder, IDENTITY, STAGE).add_metrics(metric_row().assign(value=0.9))
    assert open_run(folder).metrics["value"].tolist() == [0.5]
    begin_stage(folder, IDENTITY, STAGE).add_metrics(metric_row().assign(value=0.9))
    assert open_run(folder).metrics["value"].tolist() == [0.9]
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.files is not None and len(manifest.files["metrics.parquet"]) == 2
    settled(manifest, folder).write(folder)
    (folder / "metrics.parquet").write_bytes(old)
    with pytest.raises(StoreError, match=r"is not what was written"):
        open_run(folder).metrics  # noqa: B018


def test_a_first_file_that_was_named_and_never_put_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = begin_stage(tmp_path / "run", IDENTITY, STAGE)
    with monkeypatch.context() as patched:
        patched.setattr("headscope.store.sealed.write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.add_metrics(metric_row())
        with pytest.raises(KeyboardInterrupt):
            writer.store_items("causal", metric_row())
    assert open_run(writer.folder).metrics.empty and open_run(writer.folder).item_names == []
    writer.finish()
    manifest = read_manifest(writer.folder)
    assert manifest is not None and manifest.files == {}


def unsealed(folder: Path) -> None:
    """As headscope wrote it before."""
    content = json.loads((folder / FILE).read_bytes())
    (folder / FILE).write_text(json.dumps({name: content[name] for name in ("format", "identity", "stages")}))


def test_a_run_of_before_is_read_and_sealed_by_the_next_stage(folder: Path) -> None:
    expected = {name: read() for name, read in readers(folder).items() if name != FILE}
    unsealed(folder)
    assert {name: read() for name, read in readers(folder).items() if name != FILE} == expected
    begin_stage(folder, IDENTITY, STAGE)
    assert {name: read() for name, read in readers(folder).items() if name != FILE} == expected
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.files is not None and {*manifest.files} == {*expected}


def test_pages_have_checksums_of_their_own(folder: Path) -> None:
    """For whoever reads a table by itself, or a run of before: what lies between header and footer is checked."""
    unsealed(folder)
    path = folder / "items" / "head-prefix_matching.parquet"
    whole, noticed = path.read_bytes(), 0
    values = readers(folder)["items/head-prefix_matching.parquet"]
    start = whole.index(b"\x28\xb5\x2f\xfd")  # a compressed page
    for place in range(start, start + 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            values()
        except StoreError:
            noticed += 1
    assert noticed >= 30


def test_a_copy_names_what_was_copied(folder: Path, tmp_path: Path) -> None:
    """A published run has no items, and none is missed there."""
    (tmp_path / "published").mkdir()
    copy_sealed(folder, tmp_path / "published", TABLE_FILES)
    run = open_run(tmp_path / "published")
    assert run.item_names == [] and run.attention_example is None
    for name in TABLE_FILES:
        assert readers(tmp_path / "published")[name]() == readers(folder)[name]()
    (folder / "metrics.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match=r"metrics"):
        copy_sealed(folder, tmp_path / "published", TABLE_FILES)


def test_the_same_content_is_no_note(folder: Path) -> None:
    before = (folder / FILE).stat().st_mtime_ns
    put_sealed(folder, {"metrics.parquet": (folder / "metrics.parquet").read_bytes()})
    assert (folder / FILE).stat().st_mtime_ns == before
