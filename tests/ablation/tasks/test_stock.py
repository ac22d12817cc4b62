"""Texts equal the harness's own where Method 6 says so; its other tasks are found, served or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval import tasks as lm_eval_tasks
from lm_eval.tasks import TaskManager

from ablation.tasks import Document, Task, expand_task_names, load_task, stock
from interp.errors import UsageError

LIBRARY = Path(lm_eval_tasks.__file__).parent
YAML = {
    "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "wic": "super_glue/wic/default.yaml",
    "rte": "glue/rte/rte.yaml" if (LIBRARY / "glue/rte/rte.yaml").is_file() else "glue/rte/default.yaml",
}
SAME_TEXT = tuple(YAML)
GLUE_FIELDS = {"premise": "sentence1", "hypothesis": "sentence2"}


def stock_task(name: str, data: Path, scratch: Path) -> Any:
    """The harness's own task on the folder's rows; RTE's rows under the names that its GLUE edition has."""
    for split in ("train", "validation"):
        lines = (data / name / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        if name == "rte":
            rows = [{GLUE_FIELDS.get(key, key): value for key, value in row.items()} for row in rows]
        (scratch / name).mkdir(exist_ok=True)
        (scratch / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    local = scratch / "local.yaml"
    local.write_text(stock.local_yaml(name, LIBRARY / YAML[name]), encoding="utf-8")
    manager = TaskManager(include_defaults=False, metadata={"data_root": str(scratch)})
    return manager.load(str(local))["tasks"][name]


def pairs_of(theirs: Any, row: Any) -> tuple[set[tuple[str, str]], tuple[str, str]]:
    """Every (context, continuation) the harness would score, and the one that it takes for right."""
    context = theirs.fewshot_context(row, 0)
    pairs = [request.args for request in theirs.construct_requests(row, context)]
    right = [
        place
        for place in range(len(pairs))
        if theirs.process_results(row, [(float(place == other), False) for other in range(len(pairs))])["acc"]
    ]
    assert len(right) == 1
    return set(pairs), pairs[right[0]]


def same_text(task: Task, theirs: Any) -> None:
    rows = list(theirs.eval_docs)[: len(task.documents)]
    for document, row in zip(task.documents, rows, strict=True):
        pairs, gold = pairs_of(theirs, row)
        assert set(zip(document.contexts, document.continuations, strict=True)) == pairs
        assert (document.context, document.target) == gold


@pytest.mark.parametrize("name", SAME_TEXT)
def test_texts_equal_the_stock_tasks(name: str, folder: Path, tmp_path: Path) -> None:
    same_text(load_task(name, data=folder), stock_task(name, folder, tmp_path))


@pytest.mark.data
@pytest.mark.parametrize("name", SAME_TEXT)
def test_texts_equal_the_stock_tasks_on_real_documents(name: str, icl14: Path, tmp_path: Path) -> None:
    same_text(load_task(name, data=icl14).select(range(56)), stock_task(name, icl14, tmp_path))


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness's index of a few of its folders: the whole one takes ten seconds."""
    folders = [LIBRARY / name for name in ("hellaswag", "sciq", "gsm8k", "mmlu/default", "squadv2", "super_glue")]
    index = TaskManager(include_path=folders, include_defaults=False).task_index
    monkeypatch.setattr(stock, "index", lambda: dict(index))


SCIQ = {
    "question": "What do plants breathe?",
    "correct_answer": "air",
    "distractor1": "sand",
    "distractor2": "ink",
    "distractor3": "tin",
    "support": "Plants need air.",
}


@pytest.mark.usefixtures("small_index")
def test_another_task_of_the_harness_by_name(tmp_path: Path) -> None:
    (tmp_path / "sciq").mkdir()
    rows = [{**SCIQ, "support": f"Plants need air {number}."} for number in range(4)]
    (tmp_path / "sciq" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sciq" / "validation.jsonl").write_text(json.dumps(rows[1]) + "\n")
    assert expand_task_names("sciq, copa,SciQ") == ["sciq", "copa"]
    assert expand_task_names("MMLU_stem") == expand_task_names("mmlu_stem")
    assert expand_task_names("lm_eval:SCIQ") == ["lm_eval:sciq"]
    (document,) = load_task("sciq", data=tmp_path, shots=3).documents
    assert document.queries[0] == "Plants need air 1.\nQuestion: What do plants breathe?\nAnswer:"
    assert document.continuations == (" sand", " ink", " tin", " air")
    assert (document.gold, document.right) == (3, (3,))
    # The copy of the document in train is never shown.
    assert sorted(shown.id for shown in document.demonstrations) == [f"sciq/train/{n}" for n in (0, 2, 3)]
    with pytest.raises(UsageError, match="at most 3 shots"):
        load_task("sciq", data=tmp_path, shots=4)


@pytest.mark.usefixtures("small_index")
def test_a_prefix_asks_for_the_stock_task(folder: Path) -> None:
    ours, theirs = load_task("hellaswag", data=folder, shots=2), load_task("lm_eval:hellaswag", data=folder, shots=2)

    def texts(document: Document) -> Any:
        return document.queries, document.continuations, document.gold, {d.text for d in document.demonstrations}

    assert [texts(document) for document in ours.documents] == [texts(document) for document in theirs.documents]
    assert theirs.name == "lm_eval:hellaswag"


@pytest.mark.usefixtures("small_index")
@pytest.mark.parametrize("ask", [lambda name: load_task(name), expand_task_names], ids=["load", "expand"])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gsm8k", "generate_until.*multiple_choice"),
        ("squadv2", "Python task"),
        ("hellaswga", r"no task 'hellaswga'.*Nearest names: hellaswag"),
        ("arc_eesy", r"Nearest names: arc_easy"),
        ("probe_capitols", r"Nearest names: probe_capitals"),
        ("scqi", r"Nearest names: .*sciq"),
        ("zzzzzz", r"The project's own: icl14, probes, hellaswag"),
    ],
)
def test_what_the_harness_can_not_serve_is_refused(ask: Callable[[str], Any], name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ask(name)


@pytest.mark.usefixtures("small_index")
def test_a_group_of_the_harness_is_its_tasks() -> None:
    """The 57 subjects, by the files that lie there."""
    files = {path.stem for path in (LIBRARY / "mmlu" / "default").glob("mmlu_*.yaml")}
    found = expand_task_names("mmlu")
    assert len(found) == len(set(found)) == 57 and set(found) <= files
    assert set(expand_task_names("mmlu_stem")) < set(found)
    assert expand_task_names("copa,mmlu_stem,mmlu")[:2] == ["copa", expand_task_names("mmlu_stem")[0]]
    assert set(expand_task_names("lm_eval:mmlu_stem")) == {f"lm_eval:{name}" for name in expand_task_names("mmlu_stem")}


@pytest.mark.usefixtures("small_index")
def test_a_group_is_no_task_and_a_task_in_it_may_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sentence in (("mmlu_stem", "is a group"), ("super-glue-lm-eval-v1", "is a group .* instance boolq, ")):
        with pytest.raises(UsageError, match=sentence):
            load_task(name)
    entries = stock.index()
    group = SimpleNamespace(kind=SimpleNamespace(name="GROUP"), cfg={"task": ["sciq", {"task": "gsm8k"}]})
    monkeypatch.setattr(stock, "index", lambda: {**entries, "mixed": group})
    with pytest.raises(UsageError, match=r"The task 'gsm8k' of lm-evaluation-harness is a generate_until task and can"):
        expand_task_names("mixed")


@pytest.mark.usefixtures("small_index")
def test_code_of_the_harness_that_can_not_be_imported_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"own code of record can't be imported .*the project's own are hellaswag"):
        load_task("lm_eval:record", data=folder)


@pytest.mark.slow
def test_the_whole_index_of_the_harness() -> None:
    stock.index.cache_clear()
    assert len(stock.index()) > 1000
    assert expand_task_names("sciq,icl14")[0] == "sciq"
    with pytest.raises(UsageError, match="arc_challenge_chat' of lm-evaluation-harness is a generate_until task"):
        load_task("arc_challenge_chat")
