"""Rows that lack what others have, columns of identity given in part, labels and choices of two readings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablation.tasks import Task, load_task
from ablation.tasks.prompts import wsc_text
from ablation.tasks.sampler import may_show
from interp.errors import UsageError
from tests.ablation.tasks.conftest import ROWS
from tests.ablation.tasks.own_yaml import own_yaml

Row = dict[str, Any]
YAML = own_yaml("own", "{{q}}", "c")
LOADER = "custom_dataset: !function ablation.tasks.data.load\ndataset_kwargs: {task: own}\n"
FIELDS = {
    "hellaswag": ("activity_label", "ctx_a", "ctx_b", "endings"),
    "piqa": ("goal", "sol1", "sol2"),
    "arc_easy": ("question", "choices"),
    "arc_challenge": ("question", "choices"),
    "openbookqa": ("question_stem", "choices"),
    "winogrande": ("sentence", "option1", "option2"),
    "boolq": ("passage", "question"),
    "cb": ("premise", "hypothesis"),
    "copa": ("premise", "choice1", "choice2", "question"),
    "wic": ("sentence1", "sentence2", "start1", "end1"),
    "wsc": ("text", "span1_text", "span2_text", "span2_index"),
    "multirc": ("paragraph", "question", "answer"),
    "rte": ("premise", "hypothesis"),
    "record": ("passage", "query", "entities"),
}
Own = Callable[..., Task]


def row(number: int, **more: Any) -> Row:
    return {"q": f"q{number}", "c": ["a", "b"], "label": number % 2, **more}


def without(whole: Row, name: str) -> Row:
    return {key: value for key, value in whole.items() if key != name}


TRAIN = [row(number) for number in range(100, 106)]


@pytest.fixture
def own(tmp_path: Path, write: Any) -> Own:
    """Writes a task of one's own and loads it."""

    def load(validation: list[Row], train: list[Row] = TRAIN, *, shots: int = 0, yaml: str = YAML, **more: Any) -> Task:
        write(tmp_path, "own", train, validation)
        (tmp_path / "own" / "task.yaml").write_text(yaml)
        return load_task("own", shots=shots, data=tmp_path, **more)

    return load


# --- which document a row is, and whom it belongs with ---------------------------------------------------------------


@pytest.mark.parametrize("absent", [{}, {"cluster_id": None}, {"cluster_id": ""}], ids=repr)
@pytest.mark.parametrize("given", [(0, 1), (1, 2), (2, 3)])
def test_clusters_that_some_rows_give_hold_those_rows(own: Own, given: tuple[int, ...], absent: Row) -> None:
    rows = [row(number, **({"cluster_id": "x"} if number in given else absent)) for number in range(4)]
    assert [document.cluster for document in own(rows).documents] == [
        "x" if number in given else f"own/validation/{number}" for number in range(4)
    ]


def test_training_rows_without_a_cluster_are_not_one_cluster(own: Own) -> None:
    """Given in the first row of both splits alone, all others would share the cluster None."""
    train = [row(100, cluster_id="x"), *TRAIN[1:]]
    task = own([row(0, cluster_id="x"), row(1)], train, shots=5)
    assert "own/train/0" not in {shown.id for shown in task.documents[0].demonstrations}
    assert len(task.documents[1].demonstrations) == 5


def test_pools_units_and_ids_that_some_rows_give(own: Own) -> None:
    rows = [row(0), row(1, pool_id="p", unit_id="u", document_id="z"), row(2, unit_id="u")]
    train = [row(100), row(101, pool_id="p")]
    made = own(rows, train, shots=1).documents
    assert [d.id for d in made] == ["own/validation/0", "z", "own/validation/2"]
    assert [d.unit for d in made] == ["own/validation/0", "u", "u"]
    assert [d.pool for d in made] == ["", "p", ""]
    assert [d.demonstrations[0].id for d in made] == ["own/train/0", "own/train/1", "own/train/0"]


@pytest.mark.parametrize("ids", [("z", "z"), (1, 1), (1, "1"), (1, 1.0), ("own/validation/1", None)], ids=repr)
def test_two_documents_of_one_id_are_refused(own: Own, ids: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match=r"Two documents have the document_id '.*' \(line 1 of .* and line 2 of "):
        own([row(number, document_id=one) for number, one in enumerate(ids)])
    with pytest.raises(UsageError, match=r"Two documents have the document_id 'z' \(line 7 of .*train.jsonl' and line"):
        own([row(0)], [*TRAIN, row(1, document_id="z"), row(2, document_id="z")])


def test_a_column_of_identity_that_is_no_text(own: Own) -> None:
    with pytest.raises(UsageError, match=r"field 'cluster_id' of line 2 of '.*validation.jsonl' is a list\. Expected"):
        own([row(0, cluster_id="x"), row(1, cluster_id=["x"])])


@pytest.mark.parametrize(("first", "second"), [("1", 1), (1, "1"), (1, 1.0), ("0", 0)])
def test_numbers_and_texts_are_one_cluster_and_one_pool(own: Own, first: Any, second: Any) -> None:
    train = [row(100, cluster_id=first), row(101, cluster_id="other")]
    (document,) = own([row(0, cluster_id=second)], train, shots=1).documents
    assert [shown.id for shown in document.demonstrations] == ["own/train/1"]
    train = [row(100, pool_id="other"), row(101, pool_id=first)]
    (document,) = own([row(0, pool_id=second)], train, shots=1).documents
    assert [shown.id for shown in document.demonstrations] == ["own/train/1"] and document.pool == str(first)
    row_, asked = {"cluster_id": first, "text": "a"}, {"cluster_id": second, "text": "b"}
    assert not may_show(row_, asked) and may_show({**row_, "cluster_id": 7}, asked)


def test_a_copy_is_known_whatever_other_rows_have(own: Own) -> None:
    """The second training row has more fields, which are null in the first, and in an object inside it."""
    held, more = {"m": {"a": 1}}, {"m": {"a": 1, "b": 2}, "source": "x"}
    (document,) = own([row(0, **held)], [row(0, **held), row(1, **more)], shots=1).documents
    assert [shown.id for shown in document.demonstrations] == ["own/train/1"]
    with pytest.raises(UsageError, match="at most 1 shots"):
        own([row(0, **held)], [row(0, **held), row(1, **more)], shots=2)


def test_clusters_in_files_that_datasets_reads(tmp_path: Path, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows = [row(0, cluster_id="x"), row(1, cluster_id="x"), row(2)]
    held = tmp_path / "held.jsonl"
    held.write_text("".join(json.dumps(one) + "\n" for one in rows))
    files = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{train: {held}, validation: {held}}}\n"
    made = own([row(0)], yaml=YAML.replace(LOADER, files)).documents
    assert [document.cluster for document in made] == ["x", "x", "own/validation/2"]


# --- fields that are null or absent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("null", [True, False])
@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in FIELDS.items() for name in names])
def test_a_later_row_that_lacks_what_the_prompt_reads(
    tmp_path: Path, write: Any, task: str, name: str, null: bool
) -> None:
    good, bad = ROWS[task][0], {**ROWS[task][1], name: None} if null else without(ROWS[task][1], name)
    for split, rows in (("train", ([good, bad], [good])), ("validation", ([good], [good, bad]))):
        write(tmp_path, task, *rows)
        with pytest.raises(UsageError, match=rf"The field '{name}' of {task}/{split}/1 \(line 2 of '.*{split}\.jsonl'"):
            load_task(task, data=tmp_path)


@pytest.mark.parametrize("task", FIELDS)
def test_the_first_row_may_lack_nothing_either(tmp_path: Path, write: Any, task: str) -> None:
    name = FIELDS[task][0]
    write(tmp_path, task, ROWS[task][:2], [without(ROWS[task][2], name), ROWS[task][3]])
    with pytest.raises(UsageError, match=rf"The field '{name}' of {task}/validation/0 \(line 1 of"):
        load_task(task, data=tmp_path)
    write(tmp_path, task, ROWS[task][:2], [without(one, name) for one in ROWS[task][2:4]])
    with pytest.raises(UsageError, match=rf"The validation documents of {task} have no field '{name}'"):
        load_task(task, data=tmp_path)


def test_a_field_that_no_prompt_reads_may_be_null(folder: Path, tmp_path: Path, write: Any) -> None:
    """Such as the place of the noun in WSC, or the number of a row."""
    rows = [{**one, "span1_index": None, "idx": None} for one in ROWS["wsc"]]
    write(tmp_path, "wsc", [ROWS["wsc"][0], rows[1]], rows[2:])
    assert load_task("wsc", shots=1, data=tmp_path).documents == load_task("wsc", shots=1, data=folder).documents
    assert "None" not in wsc_text(rows[1])


@pytest.mark.parametrize(
    "template", ["q", '"{{q}}"', '"{{q|upper}}!"', "\"{{ 'Q: ' ~ q }}\"", '"{{m.q}}"', '"{{l[0]}}"']
)
@pytest.mark.parametrize("place", [0, 1])
def test_null_is_never_the_word_none(own: Own, template: str, place: int) -> None:
    rows = [row(number, m={"q": "a", "z": 1}, l=["a"]) for number in range(2)]
    rows[place] |= {"q": None, "m": {"z": 1}, "l": [None]}
    yaml = YAML.replace('doc_to_text: "{{q}}"', f"doc_to_text: {template}")
    told = r"(The field '(q|m\.q|l\.0)' of|No prompt can be made from) own/{}/{} \(line {} of '.*{}\.jsonl'\)"
    with pytest.raises(UsageError, match=told.format("validation", place, place + 1, "validation")):
        own(rows, yaml=yaml)
    whole = row(5, m={"q": "a", "z": 1}, l=["a"])
    with pytest.raises(UsageError, match=told.format("train", place, place + 1, "train")):
        own([whole], rows, yaml=yaml, shots=2)


@pytest.mark.parametrize(
    "template",
    [
        "{{hint or ''}} {{q}}",
        "{% if hint %}{{hint}} {% endif %}{{q}}",
        "{{'' if hint is none else hint}} {{q}}",
        "{{q}}",
    ],
)
def test_a_null_that_the_template_asks_about_is_read(own: Own, template: str) -> None:
    """Also where the word None stands in the text for another reason."""
    rows = [row(0, q="None of these", hint="h"), row(1, q="None of those", hint=None), row(2, q="and none")]
    made = own(rows, yaml=YAML.replace('"{{q}}"', f'"{template}"')).documents
    assert [document.queries[0].strip() for document in made][1:] == ["None of those", "and none"]


def test_a_word_for_nulls_in_the_template_is_shown(own: Own) -> None:
    yaml = YAML.replace('"{{q}}"', "\"{{hint or 'None'}}: {{q}}\"")
    assert own([row(0, hint="h"), row(1)], yaml=yaml).documents[1].queries[0] == "None: q1"


def test_what_declares_clusters_may_not_be_null(own: Own) -> None:
    yaml = YAML.replace("{task: own}", "{task: own, cluster: q}")
    with pytest.raises(
        UsageError, match=r"The field 'q' of own/train/6 \(line 7 of '.*train\.jsonl'\) is null or absent"
    ):
        own([row(0)], [*TRAIN, row(1, q=None)], yaml=yaml)


@pytest.mark.parametrize("missing", [None, "", -1, -100, "-1"], ids=repr)
@pytest.mark.parametrize("place", [0, 1])
def test_a_label_that_is_null_or_absent_is_no_label(own: Own, missing: Any, place: int) -> None:
    label = str if isinstance(missing, str) else int
    train = [row(number, label=label(number % 2)) for number in range(6)]
    train[place]["label"] = missing
    assert own([row(9)], train, shots=5).unlabelled == 1
    if missing is None:
        del train[place]["label"]
        assert own([row(9)], train, shots=5).unlabelled == 1
    rows = [row(number) for number in range(2)]
    del rows[place]["label"]
    with pytest.raises(UsageError, match=rf"own/validation/{place} \(line {place + 1} .* has no gold label among"):
        own(rows)


def test_a_field_of_unlike_kinds_is_named_with_its_lines(own: Own) -> None:
    with pytest.raises(UsageError, match=r"'q' holds values of unlike kinds: str \(line 1 of .*\) and int \(line 3 of"):
        own([row(0), row(1, q=None), row(2, q=5)])


# --- labels ----------------------------------------------------------------------------------------------------------

THREE = ["1", "2", "3"]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (("0", "1", "2"), ["1", "2", "3"]),  # "0" is no choice
        (("1", "2", "3"), ["1", "2", "3"]),  # "3" is no place
        (("1", "2", "0"), ["2", "3", "1"]),
        ((1, 2, 0), ["2", "3", "1"]),
    ],
)
def test_digits_are_read_in_one_way_in_a_task(own: Own, labels: tuple[Any, ...], wanted: list[str]) -> None:
    rows = [row(number, c=THREE, label=label) for number, label in enumerate(labels)]
    train = [row(number + 9, c=THREE, label=label) for number, label in enumerate(labels)]
    task = own(rows, train, shots=3)
    assert [document.target.strip() for document in task.documents] == wanted
    answers = dict(zip((f"q{number + 9}" for number in range(3)), wanted, strict=True))
    for document in task.documents:
        assert dict(shown.text.split() for shown in document.demonstrations) == answers
    ranked = own(rows, train, split="train").documents
    assert [document.target.strip() for document in ranked] == wanted


def test_the_other_split_may_tell_how_digits_are_read(own: Own) -> None:
    (document,) = own([row(0, c=THREE, label="1")], [row(9, c=THREE, label="0")], shots=1).documents
    assert document.target == " 2" and document.demonstrations[0].text == "q9 1\n"


@pytest.mark.parametrize("labels", [("1", "2"), ("1", "0", "3"), ("1",)])
def test_digits_that_nothing_decides_are_refused(own: Own, labels: tuple[str, ...]) -> None:
    rows = [row(number, c=THREE, label=label) for number, label in enumerate(labels)]
    with pytest.raises(UsageError, match=r"label '1' of own/validation/0 \(line 1 of .* do not tell which is meant"):
        own(rows, [row(9, c=THREE, label=2)])


def test_digits_whose_readings_agree_are_read(own: Own) -> None:
    rows = [row(number, c=["0", "1"], label=str(number)) for number in range(2)]
    assert [document.target for document in own(rows, rows).documents] == [" 0", " 1"]


@pytest.mark.parametrize("label", [[1], ["b"], [1, 0], ["1"]], ids=repr)
def test_a_demonstration_ends_with_the_first_of_its_labels(own: Own, label: list[Any]) -> None:
    (document,) = own([row(0)], [row(9, label=label)], shots=1).documents
    assert document.demonstrations[0].text == "q9 b\n"
    assert own([row(9, label=label)]).documents[0].gold == 1


@pytest.mark.parametrize("label", [2, "2", 7, 0.5, "B", "maybe", [0, 2]], ids=repr)
def test_a_label_that_means_no_choice_is_refused(own: Own, label: Any) -> None:
    told = r"own/{0}/0 \(line 1 of '.*{0}\.jsonl'\) has the label .* in 'label', which means none of its 2 choices"
    with pytest.raises(UsageError, match=told.format("validation")):
        own([row(0, label=label)])
    with pytest.raises(UsageError, match=told.format("train")):
        own([row(0)], [row(9, label=label)])


@pytest.mark.parametrize("task", ["copa", "boolq", "wic", "cb"])
def test_a_label_of_a_known_task_that_means_no_choice(tmp_path: Path, write: Any, task: str) -> None:
    write(tmp_path, task, [ROWS[task][0], {**ROWS[task][1], "label": 5}], ROWS[task][2:])
    with pytest.raises(UsageError, match=rf"{task}/train/1 .* has the label '5' in 'label'"):
        load_task(task, data=tmp_path)


# --- choices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ("ab", r"are the text 'ab', no list"),
        ([], "are an empty list"),
        ([10, 20], "is 10, no text"),
        (["a", None], r"is null, no text\. Null or absent in it: 'c'"),
        (["", "b"], "is empty"),
        (None, "are null, no list"),
        ([["a"], ["b"]], "is a list, no text"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_choices_that_are_no_texts(own: Own, choices: Any, told: str, place: int) -> None:
    alone = row(0, c=choices)
    with pytest.raises(UsageError, match=rf"own/validation/0 \(line 1 of '.*'\), field 'c', {told}"):
        own([alone])
    if choices in ([], ["a", None], ["", "b"], None):  # the others make no column with the first row's
        with pytest.raises(UsageError, match=rf"own/train/1 \(line 2 of '.*'\), field 'c', {told}"):
            own([row(1)], [row(100), alone])


@pytest.mark.parametrize("choices", ["[yes, no]", "[0, 1]"])
def test_choices_in_yaml_without_quotes(own: Own, choices: str) -> None:
    with pytest.raises(
        UsageError, match=r"Choice 1 of own/validation/0 .* is (true|0), no text.*in YAML with the quotes"
    ):
        own([row(0)], yaml=YAML.replace("doc_to_choice: c", f"doc_to_choice: {choices}"))


def test_choices_of_a_template_with_a_null_name_the_field(own: Own) -> None:
    yaml = YAML.replace("doc_to_choice: c", 'doc_to_choice: "{{[x, y]}}"')
    with pytest.raises(
        UsageError, match=r"Choice 2 of own/validation/1 .* is null, no text\. Null or absent in it: 'y'"
    ):
        own([row(0, x="a", y="b"), row(1, x="a")], [row(9, x="a", y="b")], yaml=yaml)
