"""Task files as they come from real desks: encodings, labels as text, rows without a label, YAML of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablation.tasks import Task, expand_task_names, load_task
from ablation.tasks.data import definition_in_folder
from ablation.tasks.labels import place
from interp.errors import UsageError
from tests.ablation.tasks.conftest import ROWS
from tests.ablation.tasks.own_yaml import own_yaml

Write = Callable[[Path, str, list[dict[str, Any]], list[dict[str, Any]]], None]
YAML = own_yaml("parity", "{{number}} is", "[odd, even]")


def texts(task: Task) -> list[Any]:
    return [(document.contexts, document.continuations, document.gold) for document in task.documents]


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_unicode_in_any_form_is_the_same_task(folder: Path, tmp_path: Path, write: Write, encoding: str) -> None:
    write(tmp_path, "copa", ROWS["copa"][:2], ROWS["copa"][2:])
    for split in ("train", "validation"):
        path = tmp_path / "copa" / f"{split}.jsonl"
        path.write_bytes(path.read_text("utf-8").replace("\n", "\r\n").encode(encoding))
    assert texts(load_task("copa", shots=1, data=tmp_path)) == texts(load_task("copa", shots=1, data=folder))


def test_another_encoding_is_told_with_its_line_and_what_converts_it(tmp_path: Path, write: Write) -> None:
    good = ROWS["copa"][0]
    write(tmp_path, "copa", [good], [good])
    lines = [json.dumps(good), json.dumps({**good, "premise": "Le café."}, ensure_ascii=False)]
    (tmp_path / "copa" / "train.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not UTF-8: byte 0xe9 in line 2\. .*iconv -f WINDOWS-1252 -t UTF-8"):
        load_task("copa", data=tmp_path)


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["copa", "boolq", "hellaswag", "piqa", "cb"])
@pytest.mark.parametrize("write_label", [str, float, lambda label: f" {label} "], ids=["text", "float", "spaced"])
def test_labels_as_text_or_float_are_numbers(
    folder: Path, tmp_path: Path, write: Write, task: str, write_label: Callable[[int], Any]
) -> None:
    rows = [{**row, "label": write_label(int(row["label"]))} for row in ROWS[task]]
    write(tmp_path, task, rows[:2], rows[2:])
    assert texts(load_task(task, shots=1, data=tmp_path)) == texts(load_task(task, shots=1, data=folder))


def test_true_and_false_are_labels(folder: Path, tmp_path: Path, write: Write) -> None:
    rows = [{**row, "label": bool(row["label"])} for row in ROWS["boolq"]]
    write(tmp_path, "boolq", rows[:2], rows[2:])
    assert texts(load_task("boolq", shots=1, data=tmp_path)) == texts(load_task("boolq", shots=1, data=folder))


@pytest.mark.parametrize(
    ("label", "choices", "wanted"),
    [
        ("1", ("no", "yes"), 1),
        ("1", ("1", "0"), 0),
        ("yes", ("no", "yes"), 1),
        (1.0, ("no", "yes"), 1),
        (True, ("no", "yes"), 1),
        (0.5, ("no", "yes"), -1),
        ("maybe", ("no", "yes"), -1),
        ("²", ("no", "yes"), -1),
        (None, ("no", "yes"), -1),
        (float("nan"), ("no", "yes"), -1),
        ("-1", ("no", "yes"), -1),
        (float("inf"), ("no", "yes"), -1),
        (-float("inf"), ("no", "yes"), -1),
        ([1], ("no", "yes"), -1),
        ({"a": 1}, ("no", "yes"), -1),
        (10**9, ("no", "yes"), -1),
    ],
)
def test_what_a_label_means(label: Any, choices: tuple[str, ...], wanted: int) -> None:
    assert place(label, choices) == wanted


@pytest.mark.parametrize("missing", [-1, None, "", "-1", float("nan")], ids=repr)
@pytest.mark.parametrize("task", ["copa", "wic", "boolq"])
def test_rows_without_a_label_are_no_demonstrations(tmp_path: Path, write: Write, task: str, missing: Any) -> None:
    """Of each labelled row there is a copy without a label: as many demonstrations of either kind, by chance."""
    rows = [{**row, "number": n, "label": str(row["label"])} for n, row in enumerate(ROWS[task][:2] * 3)]
    text = str if isinstance(missing, str) else (lambda label: label if label is None else float(label))
    rows = [{**row, "label": text(row["label"])} for row in rows]
    without = [{**row, "label": missing, "number": 9} for row in rows]
    write(tmp_path, task, rows + without, ROWS[task][2:])
    made = load_task(task, shots=4, data=tmp_path)
    shown = {demonstration.id for document in made.documents for demonstration in document.demonstrations}
    assert shown <= {f"{task}/train/{n}" for n in range(6)} and len(shown) >= 4
    assert made.unlabelled == 6
    ranked = load_task(task, split="train", data=tmp_path)
    assert len(ranked.documents) == 6 and ranked.unlabelled == 6
    with pytest.raises(UsageError, match=rf"7 shots .* {task} has 6 documents .* \(6 more have no label\)"):
        load_task(task, shots=7, data=tmp_path)
    write(tmp_path, task, without, ROWS[task][2:])
    with pytest.raises(UsageError, match=rf"None of the 6 train documents of {task} has a label"):
        load_task(task, split="train", data=tmp_path)


def test_an_empty_answer_key_is_no_label_and_a_wrong_one_is_refused(tmp_path: Path, write: Write) -> None:
    rows = ROWS["arc_easy"]
    write(tmp_path, "arc_easy", [*rows[:2], {**rows[0], "answerKey": ""}], rows[2:])
    assert load_task("arc_easy", shots=1, data=tmp_path).unlabelled == 1
    write(tmp_path, "arc_easy", [*rows[:2], {**rows[0], "answerKey": "Q"}], rows[2:])
    with pytest.raises(UsageError, match="No prompt can be made from arc_easy"):
        load_task("arc_easy", shots=1, data=tmp_path)


@pytest.mark.parametrize("label", [float("inf"), 0.5, [[1]], {"a": 1}], ids=repr)
def test_a_label_that_is_no_number_is_refused_with_its_row(tmp_path: Path, write: Write, label: Any) -> None:
    write(tmp_path, "copa", ROWS["copa"][:2], [{**ROWS["copa"][2], "label": label}])
    with pytest.raises(UsageError, match=r"copa/validation/0 .* has the label .* which means none of its 2 choices"):
        load_task("copa", data=tmp_path)


def test_another_field_that_is_empty_excuses_no_row(mine: Path, tmp_path: Path, write: Write) -> None:
    """Its choices can't be made, and its label is there: that is an error of the file, not a missing label."""
    mine.write_text(YAML.replace("[odd, even]", "'{{options.split()}}'"))
    good = {"number": 1, "label": 0, "answer": "", "options": "odd even"}
    bad = {**good, "options": None}
    write(tmp_path, "parity", [good, bad], [{**good, "number": 3}])
    (name,) = expand_task_names(str(mine))
    with pytest.raises(UsageError, match="No prompt can be made from parity"):
        load_task(name, shots=1)
    write(tmp_path, "parity", [good, {**bad, "label": None}], [{**good, "number": 3}])
    assert load_task(name, shots=1).unlabelled == 1


def test_without_a_folder_nothing_is_read_from_where_one_stands(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parity" / "task.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    assert definition_in_folder("parity", "hub") is None
    monkeypatch.setenv("HEADSCOPE_DATA", "")
    assert definition_in_folder("parity", "hub") is None
    monkeypatch.setenv("HEADSCOPE_DATA", str(tmp_path))
    assert definition_in_folder("parity", "hub") == tmp_path / "parity" / "task.yaml"


def test_a_document_to_evaluate_without_a_label_is_refused(tmp_path: Path, write: Write) -> None:
    write(tmp_path, "copa", ROWS["copa"][:2], [{**ROWS["copa"][2], "label": None}])
    with pytest.raises(UsageError, match=r"copa/validation/0 .* has no gold label among its 2 choices \(got -1\)"):
        load_task("copa", data=tmp_path)


# --- YAML of one's own -----------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that defines a task whose documents stand beside it, labels as text."""
    monkeypatch.setattr("ablation.tasks.own_files._FILES", {})
    rows = [{"number": number, "label": str((number + 1) % 2)} for number in range(12)]
    write(tmp_path, "parity", rows[:8], rows[8:])
    (tmp_path / "mine.yaml").write_text(YAML)
    return tmp_path / "mine.yaml"


def test_a_file_of_ones_own_is_a_task(mine: Path) -> None:
    assert expand_task_names(f"copa,{mine}") == ["copa", "parity"]
    task = load_task("parity", shots=2)
    assert task.data == "file" and len(task.documents) == 4
    for document in task.documents:
        number = int(document.queries[0].split()[0])
        assert document.target == (" even" if number % 2 == 0 else " odd")
        for shown in document.demonstrations:
            digits, _, word = shown.text.strip().split()
            assert word == ("even" if int(digits) % 2 == 0 else "odd")


def test_its_documents_may_be_elsewhere(mine: Path, tmp_path: Path, write: Write) -> None:
    (name,) = expand_task_names(str(mine))
    write(tmp_path / "data", "parity", [{"number": 1, "label": 0}], [{"number": 20, "label": 1}])
    assert load_task(name, data=tmp_path / "data").documents[0].queries[0] == "20 is"


def test_a_file_is_a_task_in_python_too(mine: Path) -> None:
    assert [d.queries for d in load_task(str(mine)).documents] == [d.queries for d in load_task("parity").documents]
    assert load_task("Probe_Capitals", limit=2).name == "probe_capitals"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_documents_that_a_file_names_and_nobody_can_read(mine: Path, tmp_path: Path, encoding: str) -> None:
    held = tmp_path / "held.jsonl"
    held.write_bytes(json.dumps({"number": 3, "label": 0, "more": "\xf6"}, ensure_ascii=False).encode(encoding))
    files = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{train: {held}, validation: {held}}}\n"
    loader = "custom_dataset: !function ablation.tasks.data.load\ndataset_kwargs: {task: parity}\n"
    mine.write_text(YAML.replace(loader, files))
    with pytest.raises(UsageError, match=r"The documents that '.*mine\.yaml' names can't be read .* in UTF-8; another"):
        load_task(str(mine))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_ones_own_in_another_encoding(mine: Path, encoding: str) -> None:
    mine.write_bytes(YAML.replace("parity", "parity").encode(encoding))
    assert expand_task_names(str(mine)) == ["parity"]
    assert load_task("parity").documents[0].queries[0] == "8 is"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (YAML.replace("task: parity", "task: copa", 1), "calls its task 'copa', as one of the project's own"),
        (YAML.replace("task: parity", "task: a/b", 1), "names no task"),
        (YAML.replace("task: parity\n", "", 1), "names no task: expected `task: NAME`"),
        ("a: [", "can't be read as a task: ParserError"),
        ("- a\n", "can't be read as a task: ValueError"),
        ("task: x\ninclude: nowhere.yaml\n", "can't be read as a task: FileNotFoundError"),
        (b"task: caf\xe9\n", "can't be read as a task: .*Expected YAML in UTF-8"),
    ],
)
def test_files_that_define_no_task(mine: Path, text: str | bytes, told: str) -> None:
    mine.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UsageError, match=told):
        expand_task_names(str(mine))


def test_files_that_are_not_there_or_share_a_name(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no file 'nowhere\.yaml': expected a task of lm-evaluation-harness"):
        expand_task_names("nowhere.yaml")
    (tmp_path / "other.yml").write_text(YAML)
    with pytest.raises(UsageError, match="both call their task 'parity': rename one of them"):
        expand_task_names(f"{mine},{tmp_path / 'other.yml'}")


def test_a_file_whose_task_is_of_another_kind(mine: Path) -> None:
    mine.write_text(YAML.replace("multiple_choice", "generate_until"))
    (name,) = expand_task_names(str(mine))
    with pytest.raises(UsageError, match="does not define a task 'parity' of multiple choice"):
        load_task(name)


def test_a_file_whose_documents_are_not_there(mine: Path, tmp_path: Path) -> None:
    (name,) = expand_task_names(str(mine))
    (tmp_path / "parity" / "train.jsonl").unlink()
    with pytest.raises(UsageError, match=r"no file '.*parity/train\.jsonl'"):
        load_task(name)
