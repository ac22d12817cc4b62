"""The small models: their corpus, tokenizer, tasks and training, and the page of what was measured of them."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import ablation
import induction
import interp
from headscope.store.run import open_run
from interp.errors import UsageError
from tests.docs.scripts import DOCS, script
from tests.headscope.commands import done

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESULTS = DOCS / "results" / "small-models"
SHOTS = {"small_recall": 7, "small_kinds": 8, "small_facts": 5}


@pytest.fixture(scope="module")
def small() -> Any:
    """The modules of examples/small_models and the scripts of docs/, which import each other by bare names."""
    folders = [str(EXAMPLES), str(DOCS)]
    sys.path[:0] = folders
    try:
        from small_models import corpus, shapes, task_files, training, words

        page, measuring = script("small_models_page.py"), script("small_models.py")
    finally:
        for folder in folders:
            sys.path.remove(folder)
    names = {"corpus": corpus, "shapes": shapes, "task_files": task_files, "training": training, "words": words}
    return type("Small", (), {**names, "page": page, "measuring": measuring})


@pytest.fixture(scope="module")
def tiny(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model of width 32 after 0, 2 and 3 steps, and the tasks."""
    folder = tmp_path_factory.mktemp("small-models")
    small.task_files.write_tasks(folder / "tasks")
    recipe = small.training.Recipe(small.shapes.Shape("llama", 2, 32), steps=3, every=2)
    small.training.train(recipe, folder, tell=lambda line: None)
    return folder


def drawn(small: Any, part: str, number: int = 0, length: int = 256) -> tuple[list[str], list[bool]]:
    """A sequence as words without BOS, and which of them can be known."""
    corpus = small.corpus.Corpus(0)
    ids, known = corpus.sequence(part, np.random.default_rng(number), length=length)
    assert len(ids) == len(known) == length and corpus.words[ids[0]] == "<bos>" and not known[0]
    return [corpus.words[token] for token in ids[1:]], known[1:]


def lines_of(words: list[str], known: list[bool]) -> list[tuple[list[str], bool]]:
    """Whole lines of a prompt: their words, and whether the answer, the last of them, can be known."""
    ends = [-1, *(place for place, word in enumerate(words) if word == "\n")]
    return [(words[start + 1 : end], any(known[start + 1 : end + 1])) for start, end in pairwise(ends)]


# ---- the corpus -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [64, 256])
def test_a_block_repeats_and_is_known_from_its_second_copy_on(small: Any, length: int) -> None:
    for number in range(5):
        words, known = drawn(small, "repeats", number, length)
        period = known.index(True)
        assert 8 <= period < length // 2 and len(set(words[:period])) == period
        assert all(known[period:]) and words[period:] == words[:-period]


def test_recall_is_known_where_the_thing_was_shown_before(small: Any) -> None:
    meanings = []
    for number in range(5):
        labels: dict[str, str] = {}
        for (thing, label), known in lines_of(*drawn(small, "recall", number)):
            assert known == (thing in labels)
            assert labels.setdefault(thing, label) == label
        assert 2 <= len(labels) <= 8 and len(set(labels.values())) == len(labels)
        meanings.append(frozenset(labels.items()))
    assert len(set(meanings)) == 5


def test_a_kind_decides_the_label_and_only_things_not_shown_are_asked_for(small: Any) -> None:
    kind_of = {thing: kind for kind, things in small.words.THINGS.items() for thing in things}
    asked = 0
    for number in range(5):
        labels: dict[str, str] = {}
        shown: list[str] = []
        for (thing, label), known in lines_of(*drawn(small, "kinds", number)):
            assert known == (len(shown) >= 8 and thing not in shown)
            assert labels.setdefault(kind_of[thing], label) == label
            shown.append(thing)
            asked += known
        assert 2 <= len(labels) <= 3 and len(set(labels.values())) == len(labels)
    assert asked > 50


def test_facts_hold_over_the_whole_corpus(small: Any) -> None:
    corpus, told = small.corpus.Corpus(0), set()
    for number in range(12):
        lines = lines_of(*drawn(small, "facts", number))
        (place,) = (n for n in range(3) if all(corpus.facts[words[0]][n] == words[2] for words, _ in lines))
        told.add(place)
        assert all(words[1] == "->" for words, _ in lines)
        assert [known for _, known in lines] == [n >= 4 for n in range(len(lines))]
    assert told == {0, 1, 2}
    assert {len(set(column)) for column in list(zip(*corpus.facts.values(), strict=True))[1:]} == {
        len(small.words.LOOKS),
        len(small.words.PLACES),
    }


def test_a_story_tells_of_what_the_corpus_says(small: Any) -> None:
    corpus = small.corpus.Corpus(0)
    acts = {act: kind for kind, held in small.words.ACTS.items() for act in held}
    words, known = drawn(small, "stories")
    assert all(known)
    sentences = " ".join(words).split(" . ")[:-1]
    assert len(sentences) > 20
    for sentence in sentences:
        verb = next(place for place, word in enumerate(sentence.split()) if word in acts)
        said = sentence.split()[verb + 2 :]  # behind the verb and `the`
        thing = said[0] if said[0] in corpus.facts else said[1]
        kind, look, place = corpus.facts[thing]
        assert acts[sentence.split()[verb]] == kind
        assert said in ([thing], [look, thing], [thing, "in", "the", place], [look, thing, "in", "the", place])


# ---- the tokenizer --------------------------------------------------------------------------------------------------


def test_every_word_is_one_token_and_the_vocabulary_suffices_for_the_quick_protocol(small: Any, tiny: Path) -> None:
    words = small.words.vocabulary()
    tokenizer = AutoTokenizer.from_pretrained(tiny / "llama-l2-d32" / "step-000003")
    encoded = tokenizer(list(words[2:]), add_special_tokens=False)["input_ids"]
    assert encoded == [[place] for place in range(2, len(words))]
    text = "dog zib\ncat mup\n\nfox ->"
    ids = tokenizer(text)["input_ids"]
    assert [words[token] for token in ids] == ["<bos>", "dog", "zib", "\n", "cat", "mup", "\n", "\n", "fox", "->"]
    found = induction.candidate_tokens(tokenizer, len(words))
    assert found.rule == "scores" and len(found) > 200  # 4 x 50 different tokens
    text = list(small.training.some_text(small.corpus.Corpus(0)))
    counts = np.bincount(text, minlength=len(words))
    assert bool(np.all(np.diff(counts[found.ids.numpy()]) <= 0))


# ---- the tasks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOTS)
def test_a_task_is_read_from_its_folder_by_name(tiny: Path, name: str) -> None:
    assert ablation.expand_task_names(f"{name},probe_labels", data=tiny / "tasks") == [name, "probe_labels"]
    task = ablation.load_task(name, shots=SHOTS[name], data=tiny / "tasks")
    assert (task.data, len(task.documents)) == ("folder", 96 if name == "small_recall" else 192)
    chance = {"small_recall": 1 / 4, "small_kinds": 1 / 2, "small_facts": 1 / 3}[name]
    assert task.chance == pytest.approx(chance) and task.majority < 0.2
    train = ablation.load_task(name, shots=SHOTS[name], split="train", limit=30, data=tiny / "tasks")
    assert not {document.id for document in train.documents} & {document.id for document in task.documents}
    screen = ablation.load_task(name, shots=3, split="train", part="screen", limit=30, data=tiny / "tasks")
    assert len(screen.documents) == 30


def examples_of(document: Any) -> dict[str, str]:
    """Query -> answer of the examples in a prompt."""
    return dict(shown.text.rsplit(maxsplit=1) for shown in document.demonstrations)


@pytest.mark.parametrize("split", ["validation", "train"])
def test_recall_can_be_copied_from_the_prompt(tiny: Path, split: str) -> None:
    for document in ablation.load_task("small_recall", shots=7, split=split, limit=90, data=tiny / "tasks").documents:
        assert f" {examples_of(document)[document.queries[0]]}" == document.target
        assert all(shown.text.endswith("\n") and shown.text.count("\n") == 1 for shown in document.demonstrations)


def test_kinds_asks_for_a_thing_that_no_example_shows(small: Any, tiny: Path) -> None:
    kind_of = {thing: kind for kind, things in small.words.THINGS.items() for thing in things}
    both = 0
    for document in ablation.load_task("small_kinds", shots=8, data=tiny / "tasks").documents:
        shown = examples_of(document)
        assert document.queries[0] not in shown
        labels = {kind_of[thing]: f" {label}" for thing, label in shown.items()}
        both += len(labels) == 2
        assert labels.get(kind_of[document.queries[0]], document.target) == document.target
    assert both > 180


def test_facts_are_those_of_the_corpus_under_one_question(small: Any, tiny: Path) -> None:
    facts = small.corpus.Corpus(0).facts
    for document in ablation.load_task("small_facts", shots=5, data=tiny / "tasks").documents:
        asked = facts[document.queries[0].split()[0]].index(document.target.strip())
        for query, answer in examples_of(document).items():
            assert facts[query.split()[0]][asked] == answer and query != document.queries[0]


def test_a_definition_that_does_not_fit_is_refused(tiny: Path, tmp_path: Path) -> None:
    home = tmp_path / "mine"
    home.mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        (home / name).write_bytes((tiny / "tasks" / "small_facts" / name).read_bytes())
    mine = (tiny / "tasks" / "small_facts" / "task.yaml").read_text(encoding="utf-8").replace("small_facts", "mine")
    (home / "task.yaml").write_text(mine, encoding="utf-8")
    assert len(ablation.load_task("mine", shots=2, limit=9, data=tmp_path).documents) == 9
    for unfit in (("task: mine\n", "task: yours\n"), ("multiple_choice", "generate_until")):
        (home / "task.yaml").write_text(mine.replace(*unfit), encoding="utf-8")
        with pytest.raises(UsageError, match="does not define a task 'mine' of multiple choice"):
            ablation.load_task("mine", data=tmp_path)


def test_the_command_line_takes_a_task_of_a_folder(tiny: Path, tmp_path: Path) -> None:
    model, where = tiny / "llama-l2-d32" / "step-000003", ("--data", tiny / "tasks", "--tasks", "small_facts")
    planned = json.loads(done("plan", model, *where, "--shots", "0,5", "--json").out)
    assert {cell["task"] for cell in planned["cells"]} == {"small_facts"}
    done("study", model, *where, "--only", "induction", "-o", tmp_path / "run")
    (study,) = (stage for stage in open_run(tmp_path / "run").stages if stage.command == "study")
    assert study.tasks == ("small_facts",)


# ---- training -------------------------------------------------------------------------------------------------------


def test_a_seed_makes_the_same_weights_again_and_another_seed_others(small: Any, tiny: Path, tmp_path: Path) -> None:
    shape = small.shapes.Shape("llama", 2, 32)

    def weights(folder: Path, seed: int = 0) -> Any:
        torch.rand(1), np.random.rand(1)  # the global generators decide nothing
        small.training.train(small.training.Recipe(shape, 3, 2, seed), folder, tell=lambda line: None)
        return AutoModelForCausalLM.from_pretrained(folder / shape.name / "step-000003").state_dict()

    first = AutoModelForCausalLM.from_pretrained(tiny / shape.name / "step-000003").state_dict()
    again, other = weights(tmp_path / "again"), weights(tmp_path / "other", seed=1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_checkpoints_stand_where_they_should_and_are_not_made_twice(small: Any, tiny: Path) -> None:
    home = tiny / "llama-l2-d32"
    assert [path.name for path in sorted(home.glob("step-*"))] == ["step-000000", "step-000002", "step-000003"]
    rows = (home / "losses.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "step,part,loss" and len(rows) == 1 + 3 * 5
    assert {row.split(",")[1] for row in rows[1:]} == set(small.corpus.PARTS)
    at_first = [float(row.split(",")[2]) for row in rows[1:6]]
    assert at_first == pytest.approx([np.log(len(small.words.vocabulary()))] * 5, abs=0.6)
    before, said = (home / "recipe.json").stat().st_mtime_ns, []
    small.training.train(small.training.Recipe(small.shapes.Shape("llama", 2, 32), 3, 2), tiny, tell=said.append)
    assert said == [f"{home} is there already"] and (home / "recipe.json").stat().st_mtime_ns == before


def test_another_recipe_leaves_nothing_of_the_one_before(small: Any, tmp_path: Path) -> None:
    """Nor does a training that was interrupted: its last line is that a model is whole."""
    shape, home = small.shapes.Shape("llama", 2, 32), tmp_path / "llama-l2-d32"

    def train(steps: int, tell: Any = lambda line: None) -> list[str]:
        small.training.train(small.training.Recipe(shape, steps, 1), tmp_path, tell=tell)
        return sorted(path.name for path in home.iterdir())

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    assert "step-000002" in train(2)
    with pytest.raises(KeyboardInterrupt):
        train(3, interrupt)
    assert sorted(path.name for path in home.iterdir()) == ["losses.csv", "step-000000"]
    (home / "notes.txt").write_text("mine")
    assert train(1) == ["losses.csv", "notes.txt", "recipe.json", "step-000000", "step-000001"]


def test_a_batch_is_decided_by_its_step(small: Any) -> None:
    corpus = small.corpus.Corpus(0)
    for step, shape in ((0, (12, 256)), (1, (48, 64)), (5, (48, 64)), (8, (12, 256))):
        ids, known = small.training.training_batch(corpus, 0, step)
        assert ids.shape == known.shape == shape
        assert torch.equal(ids, small.training.training_batch(corpus, 0, step)[0])
    first, second = (small.training.training_batch(corpus, 0, step)[0] for step in (1, 2))
    assert not torch.equal(first, second)


def test_the_loss_is_the_weighted_mean_over_tokens(small: Any, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny / "llama-l2-d32" / "step-000003")
    ids, known = small.training.training_batch(small.corpus.Corpus(0), 0, 1)
    ids, known = ids[:3], known[:3]
    total = weight = 0.0
    for row, mask in zip(ids, known, strict=True):
        chances = model(row[None]).logits[0].log_softmax(-1).detach()
        for place in range(1, len(row)):
            share = 1.0 if mask[place] else 0.1
            total, weight = total - share * float(chances[place - 1, row[place]]), weight + share
    assert small.training.weighted_loss(model, (ids, known)).item() == pytest.approx(total / weight, rel=1e-5)


@pytest.mark.parametrize("number", range(7))
def test_every_shape_is_one_that_the_door_serves(small: Any, number: int) -> None:
    shape = [*small.shapes.SHAPES, small.shapes.QUICK][number]
    model = interp.load_model(shape.model(334, 0), check=False)
    assert (model.n_layers, model.n_heads) == (shape.layers, shape.heads)
    assert sum(weight.numel() for weight in model.hf.parameters()) < 500_000


# ---- what is measured of them ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(small: Any, tiny: Path) -> dict[str, list[dict[str, Any]]]:
    """What is measured of the last checkpoint, on few documents."""
    tasks = {name: small.measuring.conditions(name, tiny / "tasks", limit=8) for name in SHOTS}
    found: dict[str, list[dict[str, Any]]] = small.measuring.measured(
        tiny / "llama-l2-d32" / "step-000003", tasks, sequences=3
    )
    return found


def test_the_choice_gain_is_the_one_of_plain_transformers(tiny: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    folder = tiny / "llama-l2-d32" / "step-000003"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    def choice(document: Any) -> float:
        ids = tokenizer(document.context, return_tensors="pt")["input_ids"]
        chances = model(ids).logits[0, -1].log_softmax(-1)
        answers = [tokenizer(text.strip(), add_special_tokens=False)["input_ids"][0] for text in document.continuations]
        return (chances[answers[document.gold]] - chances[answers].logsumexp(-1)).item()

    for row in rows["tasks"]:
        few, none = (
            ablation.load_task(row["task"], shots=shots, limit=8, data=tiny / "tasks").documents
            for shots in (row["shots"], 0)
        )
        gains = [choice(one) - choice(other) for one, other in zip(few, none, strict=True)]
        assert row["gain"] == pytest.approx(np.mean(gains), abs=2e-4)
        assert row["choice_none"] == pytest.approx(np.mean([choice(one) for one in none]), abs=2e-4)
        assert (row["documents"], row["shots"]) == (8, SHOTS[row["task"]])


def test_the_heads_are_those_of_the_scores(tiny: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    model = interp.load_model(tiny / "llama-l2-d32" / "step-000003")
    sequences = induction.repeated_sequences(model, sequences=3)
    prefix = induction.prefix_matching_score(model, sequences, draws=0).mean
    assert len(rows["heads"]) == 4
    for row in rows["heads"]:
        assert row["prefix_matching"] == pytest.approx(float(prefix[row["layer"], row["head"]]), abs=1e-4)
    (checkpoint,) = rows["checkpoints"]
    repeat = induction.in_context_learning_score(model, sequences).repeat
    assert checkpoint["repeat_score"] == pytest.approx(repeat, abs=1e-4)
    assert checkpoint["strongest"] == pytest.approx(float(prefix.max()), abs=1e-4)


def test_a_head_of_the_last_checkpoint_is_replaced_by_its_mean(
    small: Any, tiny: Path, rows: dict[str, list[dict[str, Any]]]
) -> None:
    removed = [row["removed"] for row in rows["removals"]]
    assert removed == ["0.0", "0.1", "1.0", "1.1"] * 3
    model = interp.load_model(tiny / "llama-l2-d32" / "step-000003")
    shown = ablation.load_task("small_recall", shots=7, split="train", limit=96, data=tiny / "tasks")
    mean = ablation.make_replacement(model, "mean", shown.token_documents(model))
    mask = interp.HeadMask.keep_all(2, 2).without([(1, 1)])
    levels = {}
    for shots in (7, 0):
        task = ablation.load_task("small_recall", shots=shots, limit=8, data=tiny / "tasks")
        whole, without = (ablation.evaluate(model, task, **o) for o in ({}, {"heads": mask, "replacement": mean}))
        levels[shots] = (whole.choice - without.choice).mean()
    assert rows["removals"][3]["drop"] == pytest.approx(levels[7] - levels[0], abs=2e-4)


def test_what_a_checkpoint_gave_is_kept(small: Any, tiny: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    folder = tiny / "llama-l2-d32" / "step-000003"
    assert json.loads((folder / "measured.json").read_text(encoding="utf-8")) == rows
    assert small.measuring.measured(folder, {}) == rows


# ---- the page -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(small: Any) -> Any:
    return small.page.Tables.read(RESULTS)


def test_the_page_is_what_its_tables_say(small: Any, tables: Any) -> None:
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == small.page.page(tables)


def test_the_published_models_show_what_the_page_is_about(small: Any, tables: Any) -> None:
    """One layer has no induction head; two layers grow one, and, if they are wide enough, recall with it."""
    assert len(tables.shallow()) >= 2 and len(tables.deep()) >= 4
    for name in tables.shallow():
        assert (tables.over_steps(name)["induction_heads"] == 0).all()
        assert float(tables.last(name, "small_recall")["gain"]) < 0.3
    for name in tables.deep():
        steps = tables.over_steps(name)
        assert steps.index[0] == 0 and steps["induction_heads"].iloc[0] == 0
        assert steps["induction_heads"].iloc[-1] > 0 and float(steps["strongest"].iloc[-1]) > 0.5
        if tables.models.set_index("model").loc[name, "width"] >= 64:
            assert float(tables.last(name, "small_recall")["gain"]) > 0.9


def test_pictures_show_every_model(small: Any, tables: Any) -> None:
    figures = small.page.pictures(tables)
    assert set(figures) == {path.stem for path in RESULTS.glob("*.svg")}
    training = figures["training"]
    assert {trace.name for trace in training.data} == set(tables.names)
    gains = tables.over_steps("llama-l2-d64", "small_recall")["gain"].astype(float)
    assert any(list(trace.y) == list(gains) for trace in training.data if trace.name == "llama-l2-d64")
