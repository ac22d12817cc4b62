"""What the commands refuse: one clear sentence, a non-zero status, and nothing that was stored is lost."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import ablation
import interp
from headscope.cli import options
from headscope.store.manifest import FILE
from headscope.store.run import open_run
from interp.errors import UsageError
from tests.headscope import tiny
from tests.headscope.commands import command, done, refused, tables, units
from tests.headscope.tiny import HEADS, LAYERS

TASK = "probe_antonyms"
ASKED = ("--tasks", TASK, "--shots", "0", "--limit", 4)
COMMANDS = ("importance", "knockout", "prune", "study")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def stored(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with importance; read-only, tests take copies."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done("importance", model_folder, *ASKED, "-o", folder)
    return folder


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "run"))


def unharmed(folder: Path, stored: Path) -> None:
    """Every table and unit is as it was, and so is the list of stages."""
    assert tables(folder) == tables(stored) and units(folder) == units(stored)
    assert open_run(folder).stages == open_run(stored).stages


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_task_is_answered_with_the_nearest_names(
    model_folder: Path, folder: Path, stored: Path, name: str
) -> None:
    found = command(name, model_folder, "--tasks", "probe_antonym,coppa", "--limit", 4, "-o", folder)
    refused(found, "no task 'probe_antonym'", "probe_antonyms")
    refused(command(name, model_folder, "--tasks", "coppa", "-o", folder), "no task 'coppa'", "copa")
    refused(command(name, model_folder, "--tasks", " , ", "-o", folder), "' , ' is not a value of --tasks")
    unharmed(folder, stored)


@pytest.mark.parametrize("name", COMMANDS)
def test_more_shots_than_documents(model_folder: Path, folder: Path, stored: Path, name: str) -> None:
    found = command(name, model_folder, "--tasks", TASK, "--shots", "0,500", "--limit", 4, "-o", folder)
    refused(found, "500 shots", "Ask for at most 200 shots")
    unharmed(folder, stored)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_of_no_documents(model_folder: Path, folder: Path, stored: Path, name: str, limit: int) -> None:
    found = command(name, model_folder, "--tasks", TASK, "--limit", limit, "-o", folder)
    refused(found, f"'{limit}' is not a value of --limit", "1 or more")
    unharmed(folder, stored)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_task_that_is_not_multiple_choice(model_folder: Path, folder: Path, stored: Path, name: str) -> None:
    refused(command(name, model_folder, "--tasks", "gsm8k", "-o", folder), "gsm8k", "multiple")
    unharmed(folder, stored)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("importance", "--normalise", "softly"), ("'softly' is not a value of --normalise", "layer_l2")),
        (("importance", "--labels", "wrong"), ("'wrong' is not a value of --labels", "shuffled")),
        (("importance", "--demos", "some"), ("'some' is not a value of --demos", "fixed")),
        (("importance", "--demo-seeds", 0), ("'0' is not a value of --demo-seeds", "from 1 to")),
        (("importance", "--bos", "often"), ("'often' is not a value of --bos", "never")),
        (("importance", "--data", "/no/such/folder"), ("/no/such/folder",)),
        (("knockout", "--component", "layer"), ("'layer' is not a value of --component", "ffn or head")),
        (("knockout", "--ablation", "half"), ("'half' is not a value of --ablation", "resample")),
        (("prune", "--component", "layer"), ("'layer' is not a value of --component", "both")),
        (("prune", "--order", "own,best"), ("'best' is no order of removal", "layer_matched")),
        (("prune", "--order", "aggregate"), ("at least two tasks",)),
        (("prune", "--component", "ffn", "--order", "layer_matched"), ("use random",)),
        (("prune", "--component", "both", "--order", "random"), ("own orders", "--order")),
        (("prune", "--percents", "10,20"), ("must begin with 0",)),
        (("prune", "--percents", "0,20,10"), ("ascend",)),
        (("prune", "--percents", "0,x"), ("'0,x' is not a value of --percents", "0,20,40")),
        (("prune", "--draws", 0, "--order", "random"), ("'0' is not a value of --draws", "from 1 to")),
        (("prune", "--ffn-ranking", "size", "--component", "ffn"), ("'size' is not a value of --ffn-ranking",)),
        (
            ("prune", "--ranking", "size"),
            ("'size' is not a value of --ranking", "token, document, signed, token/choice"),
        ),
        (("study", "--budget", "huge"), ("'huge' is no budget", "small or paper")),
        (("study", "--only", "lunch"), ("'lunch' is not a value of --only", "importance")),
    ],
)
def test_options_out_of_range(
    model_folder: Path, folder: Path, stored: Path, asked: tuple[object, ...], words: tuple[str, ...]
) -> None:
    name, *options = asked
    if "--data" in options:
        options += ["--tasks", "copa"]
    found = command(name, model_folder, "--tasks", TASK, "--shots", "0", "--limit", 4, "-o", folder, *options)
    refused(found, *words)
    unharmed(folder, stored)


def test_too_few_documents_to_stand_in(model_folder: Path, folder: Path, stored: Path, tmp_path: Path) -> None:
    """Said before anything is run, and without binding the folder to what was refused."""
    data = tmp_path / "data" / "copa"
    data.mkdir(parents=True)
    row = {"premise": "It rained.", "choice1": "He ran.", "choice2": "He slept.", "question": "effect", "label": 0}
    for split, count in (("train", 5), ("validation", 5)):
        rows = [json.dumps({**row, "idx": place, "premise": f"It rained {place}."}) for place in range(count)]
        (data / f"{split}.jsonl").write_text("\n".join(rows))
    for name, split in (("knockout", "validation"), ("prune", "train")):
        asked = (name, model_folder, "--tasks", "copa", "--data", data.parent, "--shots", 0, "--limit", 4, "-o", folder)
        if name == "prune":
            done("importance", *asked[1:-2], "-o", tmp_path / "copa")
            asked = (*asked[:-1], tmp_path / "copa")
        found = command(*asked, "--ablation", "mean")
        refused(found, "needs 64 reference documents", f"the {split} split of copa has 5", "--ablation zero")
    unharmed(folder, stored)
    assert [stage.command for stage in open_run(tmp_path / "copa").stages] == ["importance"]


# ---- what a run must hold first -------------------------------------------------------------------------------------


def test_pruning_without_importance_names_the_command_and_binds_nothing(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    asked = ("prune", model_folder, *ASKED, "-o", folder, "--demo-seeds", 1, "--percents", "0,50")
    refused(command(*asked), "holds no importance (token) of heads to rank by: probe_antonyms at 0 shots")
    assert not (folder / FILE).exists()
    done(*asked, "--order", "iterative")  # needs none
    for advised in advice(command(*asked).error):
        done(*advised)
    done(*asked)


def advice(error: str) -> list[list[str]]:
    """The commands that a refusal says to run first, without the program's name."""
    written = re.findall("`([^`]*)`", error)[-1]
    return [shlex.split(part)[1:] for part in written.split(" && ")]


def test_one_line_of_advice_makes_all_that_is_missing(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks at two numbers of shots, two kinds of scores, in a folder whose name the shell would take apart."""
    monkeypatch.setattr(options, "render_report", lambda folder: folder / "report.html")
    folder = tmp_path / "a run; of $HOME"
    where = ("--tasks", "probe_antonyms,probe_capitals", "--shots", "0,2", "--limit", 4, "-o", folder)
    done("importance", model_folder, "--tasks", TASK, "--shots", "0", "--limit", 4, "--seed", 3, "-o", folder)
    asked = ("prune", model_folder, *where, "--component", "ffn", "--order", "own,signed", "--demo-seeds", 1)
    asked = (*asked, "--ffn-ranking", "knock_out", "--percents", "0,50")
    found = command(*asked)
    refused(found, "holds no knock_out (choice) of ffns and importance (signed) of ffns to rank by: ", "&&")
    assert "probe_antonyms at 0 shots, probe_antonyms at 2 shots, probe_capitals at 0 shots and 1 more" in found.error
    assert "--limit 4" in found.error and "--seed 3" in found.error, "the protocol that the folder has"
    for advised in advice(found.error):
        done(*advised, "--limit", 4)
    done(*asked)


def test_a_missing_number_of_shots_or_task_is_named(model_folder: Path, folder: Path, stored: Path) -> None:
    found = command("prune", model_folder, "--tasks", TASK, "--shots", "2", "--limit", 4, "-o", folder)
    refused(found, "at 2 shots", "--shots 2")
    found = command("prune", model_folder, *ASKED, "-o", folder, "--component", "ffn", "--ffn-ranking", "knock_out")
    refused(found, "knock_out", "headscope knockout --component ffn")
    unharmed(folder, stored)


def test_the_primary_question_needs_a_screen(model_folder: Path, folder: Path, tmp_path: Path) -> None:
    asked = ("study", model_folder, "--tasks", TASK, "--shots", "0,2", "--limit", 12, "--only", "primary")
    typed = f"`headscope study MODEL --only screen --tasks {TASK} --limit 12 --shots 0,2 -o"
    refused(command(*asked, "-o", tmp_path / "new"), "holds no screen", typed)


def test_an_order_by_choice_says_which_importance_is_missing(
    model_folder: Path, folder: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = command("prune", model_folder, *ASKED, "-o", folder, "--order", "signed_choice")
    refused(found, "holds no importance (signed/choice) of heads to rank by", "--objective choice")
    found = command("prune", model_folder, *ASKED, "-o", folder, "--ranking", "token/choice")
    refused(found, "importance (token/choice) of heads", "headscope importance --objective choice")
    found = command("prune", model_folder, *ASKED, "-o", folder, "--ranking", "signed/choice/mean")
    refused(found, "importance (signed/choice/mean) of heads", "importance --objective choice --ablation mean")
    unharmed(folder, stored)


# ---- documents without a choice to make -----------------------------------------------------------------------------


def write_task(folder: Path, name: str, *, choices: int, equal: bool = False) -> None:
    """A COPA of `choices` choices, of one text where they are to be equal."""
    (folder / name).mkdir(parents=True)
    for split, count in (("train", 40), ("validation", 8)):
        rows = [
            {
                "premise": f"It was day {number} of {split}.",
                "question": "cause",
                "choice1": "The sun rose.",
                "choice2": "The sun rose." if equal else f"The moon fell {number} times.",
                "label": number % 2,
                "idx": number,
            }
            for number in range(count)
        ]
        (folder / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_choices_that_are_equal_as_text_are_a_sentence_or_are_left_out(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "render_report", lambda folder: folder / "report.html")
    write_task(tmp_path / "data", "copa", choices=2, equal=True)
    where = ("--tasks", "copa", "--shots", 0, "--limit", 4, "--data", tmp_path / "data", "-o", tmp_path / "run")
    found = command("importance", model_folder, *where, "--objective", "choice")
    refused(found, "no document of copa has a choice to make (two of the 2 choices", "--objective sum")
    done("importance", model_folder, *where)
    refused(command("knockout", model_folder, *where), "copa: no document has a choice to make: two of the 2 choices")
    done("prune", model_folder, *where, "--percents", "0,50", "--order", "random")
    run = open_run(tmp_path / "run")
    assert "knock_out" not in set(run.ffn_scores["score"]) and set(run.metrics["metric"]) == {"acc"}
    assert not any(kind.endswith(("_choice", "_kept", "_mass")) for kind in run.comparisons["kind"])


def test_export_needs_a_ranking_zero_ablation_and_its_own_model(
    model_folder: Path, folder: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("export", folder, out, "--model", model_folder)
    refused(command(*asked, "--ablation", "mean"), "zero")
    refused(command(*asked, "--order", "copa"), "no ranking 'copa' at 0 shots", TASK)
    refused(command(*asked, "--shots", 3), "at 3 shots", "scores at (0,) shots")
    refused(command(*asked, "--percent", 101), "101")
    refused(command(*asked, "--percent", -1), "-1")
    refused(command(*asked, "--percent-ffns", 3), "--component both")
    refused(command(*asked, "--component", "layer"), "'layer' is not a value of --component")
    refused(command("export", folder, out), repr(model_folder.name), "--model")
    other = tiny.write_model(tmp_path / "other", seed=1)
    refused(command("export", folder, out, "--model", other), "another model", "weight_hash")
    refused(command("export", tmp_path / "none", out), "is not there", "headscope induction -o")
    assert not out.exists()
    unharmed(folder, stored)
    done(*asked)
    refused(command(*asked), str(out))


# ---- another model, another version ---------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [HEADS, 2 * HEADS])
def test_importance_of_another_model_ranks_nothing(folder: Path, stored: Path, tmp_path: Path, heads: int) -> None:
    """Whether or not it has as many heads."""
    other = tiny.write_model(tmp_path / "other", seed=1, heads=heads)
    fresh = tmp_path / "fresh"
    found = command("prune", other, *ASKED, "-o", fresh, "--rankings", folder)
    refused(found, "belongs to another model", "weight_hash")
    assert not (fresh / FILE).exists()
    for name in ("importance", "knockout", "prune"):
        refused(command(name, other, *ASKED, "-o", folder), "belongs to another model", "-o")
    unharmed(folder, stored)


def test_rankings_may_come_from_another_run_of_the_same_model(model_folder: Path, folder: Path, tmp_path: Path) -> None:
    asked = ("prune", model_folder, *ASKED, "--demo-seeds", 1, "--percents", "0,50")
    done(*asked, "-o", folder)
    done(*asked, "-o", tmp_path / "fresh", "--rankings", folder)
    assert open_run(tmp_path / "fresh").metrics.equals(open_run(folder).metrics)


@pytest.mark.parametrize("name", ["importance", "knockout", "prune", "compare", "export", "report"])
def test_a_store_of_another_version(model_folder: Path, folder: Path, tmp_path: Path, name: str) -> None:
    told = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**told, "format": 99}))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    place = {"compare": (folder,), "report": (folder,), "export": (folder, tmp_path / "out")}
    found = command(name, *place.get(name, (model_folder, *ASKED, "-o", folder)))
    refused(found, "store format 99", "reads format 1")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_units_of_another_version_are_not_used(model_folder: Path, folder: Path) -> None:
    """Other versions of the packages are other units: the stage is computed again, the old files stay."""
    import headscope.store.manifest as manifest

    before = units(folder)
    versions = {**manifest.versions(), "torch": "0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "versions", lambda: versions)
        done("importance", model_folder, *ASKED, "-o", folder)
    assert before < units(folder) and len(units(folder)) == 2 * len(before)


@pytest.mark.parametrize("shape", [(LAYERS, HEADS + 1), (LAYERS + 1, HEADS), (LAYERS * HEADS,)])
def test_a_mask_of_the_wrong_shape(model_folder: Path, shape: tuple[int, ...]) -> None:
    model = interp.load_model(str(model_folder), check=False)
    task = ablation.load_task(TASK, limit=2)
    with pytest.raises(Exception, match=r"shape|heads") as found:  # jaxtyping says it first in tests
        ablation.evaluate(model, task, heads=torch.ones(shape))
    assert isinstance(found.value, UsageError) or "heads" in str(found.value)


def test_one_document_has_no_interval_and_prune_says_so(
    model_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "render_report", lambda folder: folder / "report.html")
    asked = ("prune", model_folder, "--tasks", TASK, "--shots", 0, "--limit", 1, "--demo-seeds", 1, "-o", folder)
    found = done(*asked, "--percents", "0,50")
    assert f"no area and no removable share of {TASK} at 0 shots (" in found.out
    assert "its documents are one cluster, which has no interval. Take more of them (--limit)" in found.out


# ---- prompts longer than the context --------------------------------------------------------------------------------


def test_prompts_longer_than_the_context_are_cut_counted_and_reported(tmp_path: Path, model_folder: Path) -> None:
    short = Path(shutil.copytree(model_folder, tmp_path / "short"))
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 60}))
    folder = tmp_path / "run"
    asked = (short, "--tasks", TASK, "--shots", "0,5", "--limit", 4, "-o", folder)
    model = interp.load_model(str(short), check=False)
    for name, split in (("importance", "train"), ("knockout", "train"), ("prune", "validation")):
        extra = ("--demo-seeds", 1, "--percents", "0,50") if name == "prune" else ()
        told = done(name, *asked, *extra)
        documents = ablation.load_task(TASK, shots=5, limit=4, split=split).token_documents(model)
        assert all(document.dropped for document in documents)
        assert all(len(d.context) + max(map(len, d.choices)) <= 60 for d in documents)
        assert "4 prompts were longer than the model's context" in told.out + told.error
        stage = next(stage for stage in open_run(folder).stages if stage.command.startswith(name))
        assert stage.record["cut"] == {f"{TASK}, 5 shots": 4}
