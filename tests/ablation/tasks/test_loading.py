"""What `load_task` refuses, each with a sentence; names and groups; the real documents where they are at hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jaxtyping import config

from ablation.tasks import ICL14, PROBES, expand_task_names, load_task
from interp.errors import UsageError


def test_groups_and_lists_of_names() -> None:
    assert expand_task_names("icl14") == list(ICL14) and len(ICL14) == 14
    assert expand_task_names("probes") == list(PROBES) and len(PROBES) == 14
    assert expand_task_names(" copa, probe_french ,copa,") == ["copa", "probe_french"]
    assert expand_task_names("rte,icl14,probes")[:2] == ["rte", "hellaswag"]
    assert expand_task_names("COPA,Probe_French,copa") == ["copa", "probe_french"]
    assert expand_task_names("ICL14") == list(ICL14)
    assert len(expand_task_names("rte,icl14,probes")) == 28
    for nothing in ("", " , "):
        with pytest.raises(UsageError, match=r"No task was named.*probes"):
            expand_task_names(nothing)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        (None, {}, r"A task is given by its name or its file, got 'None' \(NoneType\)"),
        (["copa"], {}, r"by its name or its file, got .* \(list\)"),
        ("probe_labels", {"limit": 2.5}, r"limit is a whole number, got '2\.5'"),
        ("probe_labels", {"limit": True}, "limit is a whole number, got 'True'"),
        ("probe_labels", {"shots": 1.0}, r"shots is a whole number, got '1\.0'"),
    ],
)
def test_what_is_no_name_or_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: Any, options: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    with pytest.raises(UsageError, match=sentence):
        load_task(name, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shots": -1}, "number of shots is -1. Expected 0"),
        ({"limit": 0}, "limit is 0. Expected at least 1 document"),
        ({"limit": -3}, "limit is -3"),
        ({"split": "test"}, "split is 'test'. Expected one of: validation, train"),
        ({"demos": "some"}, "demos is 'some'. Expected one of: document, fixed"),
        ({"bos": "yes"}, "bos is 'yes'. Expected one of: auto, always, never"),
        ({"labels": "wrong"}, "labels is 'wrong'. Expected one of: true, shuffled"),
        ({"shots": 201}, "201 shots were asked for, but probe_labels has 200 documents"),
        ({"shots": 101}, "only 100 of the 200 documents .* Ask for at most 100 shots"),
    ],
)
def test_values_out_of_range(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        load_task("probe_labels", **options)


def test_a_folder_that_lacks_something(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data folder '.*nowhere' is no folder. Expected copa/train.jsonl"):
        load_task("copa", data=tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"has no task 'copa'.*Tasks found there: none"):
        load_task("copa", data=str(tmp_path))
    (tmp_path / "copa").mkdir()
    with pytest.raises(UsageError, match=r"no file '.*copa/train.jsonl'"):
        load_task("copa", data=tmp_path)
    (tmp_path / "copa" / "train.jsonl").write_text("\n")
    with pytest.raises(UsageError, match=r"train.jsonl' holds no documents"):
        load_task("copa", data=tmp_path)
    (tmp_path / "copa" / "train.jsonl").write_text('{"premise": "x"}\n{"premise": \n')
    with pytest.raises(UsageError, match=r"Line 2 of '.*train.jsonl' is no JSON"):
        load_task("copa", data=tmp_path)
    (tmp_path / "copa" / "train.jsonl").write_text("[1]\n")
    with pytest.raises(UsageError, match=r"Line 1 of .* is a list, expected a JSON object"):
        load_task("copa", data=tmp_path)


def test_documents_that_do_not_fit(tmp_path: Path, write: Any) -> None:
    good = {"premise": "A.", "choice1": "B.", "choice2": "C.", "question": "cause", "label": 0}
    lacking = {name: value for name, value in good.items() if name != "choice2"}
    write(tmp_path, "copa", [good], [lacking])
    with pytest.raises(
        UsageError,
        match=r"validation documents of copa have no field 'choice2': they have premise, choice1, question, label\.",
    ):
        load_task("copa", data=tmp_path)
    write(tmp_path, "copa", [good], [good, {**good, "question": "why"}])
    with pytest.raises(
        UsageError, match=r"No prompt can be made from copa/validation/1 \(line 2 of .*\): KeyError: 'why'"
    ):
        load_task("copa", data=tmp_path)
    assert len(load_task("copa", data=tmp_path, limit=1).documents) == 1
    write(tmp_path, "copa", [good], [good, {**good, "label": -1}])
    with pytest.raises(UsageError, match=r"copa/validation/1 .* has no gold label among its 2 choices \(got -1\)"):
        load_task("copa", data=tmp_path)
    write(tmp_path, "boolq", [good], [good])
    with pytest.raises(UsageError, match=r"train documents of boolq have no field 'passage': they have premise, "):
        load_task("boolq", data=tmp_path)


def test_the_hub_out_of_reach_is_one_sentence() -> None:
    with pytest.raises(UsageError) as caught:
        load_task("copa")
    message = str(caught.value)
    assert re.match(
        r"The documents of copa come from the Hugging Face hub \(aps/super_glue\) and could not be", message
    )
    assert "`--data DIR`" in message and "HEADSCOPE_DATA" in message and "--tasks probes" in message
    assert "\n" not in message


def test_what_is_asked_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def hub(path: str, name: str | None, *, split: str) -> Any:
        asked.append((path, name, split))
        rows = (folder / task / f"{'train' if split == 'train' else 'validation'}.jsonl").read_text(encoding="utf-8")
        return datasets.Dataset.from_list([json.loads(line) for line in rows.split("\n") if line])

    monkeypatch.setattr(datasets, "load_dataset", hub)
    for task in ICL14:
        from_hub, from_folder = load_task(task, shots=1), load_task(task, shots=1, data=folder)
        assert (from_hub.documents, from_hub.data) == (from_folder.documents, "hub")
    assert {(path, name) for path, name, _ in asked if "super_glue" in path} == {
        ("aps/super_glue", name) for name in ("boolq", "cb", "copa", "wic", "wsc.fixed", "multirc", "rte", "record")
    }
    tested = {(path, name) for path, name, split in asked if split == "test"}
    assert tested == {
        ("allenai/ai2_arc", "ARC-Easy"),
        ("allenai/ai2_arc", "ARC-Challenge"),
        ("allenai/openbookqa", "main"),
    }
    assert ("allenai/winogrande", "winogrande_xl", "validation") in asked
    assert ("Rowan/hellaswag", None, "train") in asked and ("baber/piqa", None, "validation") in asked


def test_the_variable_names_a_folder_for_the_tasks_that_it_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSCOPE_DATA", str(folder))
    assert load_task("copa").data == "folder"
    assert load_task("probe_french").data == "built in"
    monkeypatch.setenv("HEADSCOPE_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="come from the Hugging Face hub"):
        load_task("copa")
    monkeypatch.setenv("HEADSCOPE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="nowhere' is no folder"):
        load_task("copa")


def test_the_folder_is_no_part_of_the_task(folder: Path) -> None:
    assert str(folder) not in repr(load_task("copa", data=folder, shots=1))


def test_the_train_split_is_for_ranking(folder: Path) -> None:
    train = load_task("copa", data=folder, split="train", shots=1)
    assert [document.id for document in train.documents] == ["copa/train/0", "copa/train/1"]
    assert [d.demonstrations[0].id for d in train.documents] == ["copa/train/1", "copa/train/0"]
    assert train.split == "train" and train.shots == 1


def test_the_caller_keeps_log_level_and_random_numbers(folder: Path) -> None:
    import logging
    import random

    from ablation.tasks.definitions import quiet_harness

    level, state = logging.getLogger("lm_eval").level, random.getstate()
    with quiet_harness():
        random.random()
    assert (logging.getLogger("lm_eval").level, random.getstate()) == (level, state)


@pytest.mark.data
@pytest.mark.parametrize("name", ICL14)
def test_all_real_documents_load(name: str, icl14: Path) -> None:
    task = load_task(name, data=icl14, shots=5)
    lines = (icl14 / name / "validation.jsonl").read_text(encoding="utf-8").split("\n")
    assert len(task.documents) == sum(bool(line) for line in lines)
    assert all(len(document.demonstrations) == 5 for document in task.documents)
    assert all(document.id not in {d.id for d in document.demonstrations} for document in task.documents)
    assert all(set(document.right) <= set(range(len(document.continuations))) for document in task.documents)
    assert all(document.gold in document.right for document in task.documents)
    assert load_task(name, data=icl14, shots=5, split="train").documents


@pytest.mark.data
def test_real_clusters(icl14: Path) -> None:
    def sizes(name: str) -> list[int]:
        clusters = [document.cluster for document in load_task(name, data=icl14).documents]
        return sorted((clusters.count(cluster) for cluster in set(clusters)), reverse=True)

    assert set(sizes("winogrande")) == {1, 2}  # twins, never more
    passages = {json.loads(line)["passage"] for line in (icl14 / "boolq" / "validation.jsonl").open(encoding="utf-8")}
    assert len(sizes("boolq")) == len(passages)
    assert max(sizes("multirc")) > 5
    assert set(sizes("copa")) == {1}


@pytest.mark.data
def test_every_real_pronoun_is_starred_where_the_row_says(icl14: Path) -> None:
    for split in ("train", "validation"):
        lines = (icl14 / "wsc" / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        documents = load_task("wsc", data=icl14, split=split).documents
        for row, document in zip(rows, documents, strict=True):
            passage = document.context.partition("\n")[0].removeprefix("Passage: ")
            before, starred, after = passage.split("*")
            assert (starred, before + starred + after) == (row["span2_text"], row["text"].partition("\n")[0])
            assert abs(len(before.split()) - row["span2_index"]) <= 1
