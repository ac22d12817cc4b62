"""A newcomer's mistakes, each with the sentence that answers it, before a model is loaded or anything is written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headscope.cli import less_memory, status_of
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from tests.headscope.commands import command

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "transformers", "pandas", "plotly", "lm_eval", "datasets")

OFFLINE = "(it is not in the hub's cache, and HF_HUB_OFFLINE forbids the network)"
WAYS = "MODEL is smollm2-135m, a hub id such as facebook/opt-125m, a folder or a .gguf file"
ORDERS = "own, aggregate, transfer, signed, signed_choice, inverse, even, random, layer_matched"
SHOTS = "is no list of numbers of shots: write, for example, --shots 0,1,5"
BUDGET = "is no budget: give small or paper, or a number of hours such as 2 (--budget)"
STEPS = "percentages must begin with 0 (the full model), ascend and stay below 100; got"
NO_RUN = "holds no manifest.json, so it is no run directory"
MANY = "9" * 5000

MISTAKES: list[tuple[tuple[str, ...], str]] = [
    # the command line itself
    (("nope",), "no such command 'nope' (see `headscope --help`)"),
    (("indcution",), "no such command 'indcution'. Did you mean 'induction'? (see `headscope --help`)"),
    (("--verison",), "no such option: --verison; did you mean --version? (see `headscope --help`)"),
    (
        ("induction", "--lenght", "5"),
        "no such option: --lenght; did you mean --engine or --length? (see `headscope induction --help`)",
    ),
    (("induction", "gpt2", "large"), "got unexpected extra argument(s) (large) (see `headscope induction --help`)"),
    (("induction", "--length"), "option '--length' requires an argument (see `headscope --help`)"),
    (("attention", "--layer", "1"), "missing option '--text' (see `headscope attention --help`)"),
    (("report",), "missing argument 'folder' (see `headscope report --help`)"),
    (("export", "runs/gpt2"), "missing argument 'out' (see `headscope export --help`)"),
    # a word that is none of the choices
    (("induction", "--protocol", "slow"), "'slow' is not a value of --protocol: give quick or paper"),
    (
        ("induction", "--protocol", "papr"),
        "'papr' is not a value of --protocol: give quick or paper; did you mean paper?",
    ),
    (("induction", "--dtype", "int8"), "'int8' is not a value of --dtype: give float32, bfloat16, float16 or float64"),
    (
        ("induction", "--device", "gpu"),
        "'gpu' is not a value of --device: give auto, cpu, cuda, mps or xpu, with a number where there are several "
        "(cuda:1)",
    ),
    (("induction", "--check", "loose"), "'loose' is not a value of --check: give strict, default or off"),
    (("importance", "--labels", "wrong"), "'wrong' is not a value of --labels: give true or shuffled"),
    (("importance", "--demos", "some"), "'some' is not a value of --demos: give document or fixed"),
    (("importance", "--bos", "often"), "'often' is not a value of --bos: give auto, always or never"),
    (
        ("importance", "--normalise", "softly"),
        "'softly' is not a value of --normalise: give uniform, paper or layer_l2",
    ),
    (("knockout", "--component", "layer"), "'layer' is not a value of --component: give ffn or head"),
    (
        ("knockout", "--ablation", "mena"),
        "'mena' is not a value of --ablation: give zero, mean or resample; did you mean mean?",
    ),
    (
        ("prune", "--component", "heads"),
        "'heads' is not a value of --component: give head, ffn or both; did you mean head?",
    ),
    (
        ("prune", "--ranking", "size"),
        "'size' is not a value of --ranking: give token, document, signed, token/choice, "
        "document/choice, signed/choice, token/choice/mean, document/choice/mean or signed/choice/mean",
    ),
    (("prune", "--ffn-ranking", "random"), "'random' is not a value of --ffn-ranking: give importance or knock_out"),
    (("study", "--budget", "huge"), f"'huge' {BUDGET}"),
    (("study", "--budget", "-2"), f"'-2' {BUDGET}"),
    (("study", "--budget", "nan"), f"'nan' {BUDGET}"),
    (
        ("study", "--only", "knock_out"),
        "'knock_out' is not a value of --only: give induction, screen, primary, vectors, contest, importance, "
        "knockout, prune, compare or report; did you mean knockout?",
    ),
    (
        ("plan", "--budget", "2"),
        "what 2 hours hold depends on the speed: give --speed TOKENS (a second, of a forward pass) or --calibrate, "
        "which times this machine; or name a budget, small or paper (--budget)",
    ),
    # orders
    (
        ("prune", "--order", "own,best"),
        f"'best' is no order of removal (--order): there are {ORDERS}, iterative, and the tasks of --tasks by name",
    ),
    (
        ("prune", "--order", "layer-matched"),
        f"'layer-matched' is no order of removal (--order): there are {ORDERS}, iterative, and the tasks of --tasks by "
        "name; did you mean layer_matched?",
    ),
    (("prune", "--order", " , "), f"' , ' is not a value of --order: give {ORDERS} or iterative, or a task of --tasks"),
    (
        ("prune", "--order", "transfer", "--tasks", "copa"),
        "aggregate and transfer rank a task by other tasks' scores: name at least two tasks (--tasks)",
    ),
    (
        ("prune", "--component", "ffn", "--order", "layer_matched"),
        "a layer has one FFN, so a layer-matched order of FFNs is the order itself: use random",
    ),
    (
        ("prune", "--component", "both", "--order", "random"),
        "the joint grid of heads and FFNs is pruned in their own orders: leave out --order",
    ),
    # numbers
    (
        ("induction", "--seed", "-1"),
        "'-1' is not a value of --seed: give a whole number from 0 to 4,294,967,295 (32 bits)",
    ),
    (
        ("induction", "--seed", str(2**64)),
        f"'{2**64}' is not a value of --seed: give a whole number from 0 to 4,294,967,295 (32 bits)",
    ),
    (
        ("compare", "runs/gpt2", "--seed", "1.5"),
        "'1.5' is not a value of --seed: give a whole number from 0 to 4,294,967,295 (32 bits)",
    ),
    (("induction", "--length", "2"), "'2' is not a value of --length: give a whole number, 4 or more"),
    (("study", "--length", "²"), "'²' is not a value of --length: give a whole number, 4 or more"),
    (("induction", "--sequences", "0"), "'0' is not a value of --sequences: give a whole number, 1 or more"),
    (("induction", "--top", "①"), "'①' is not a value of --top: give a whole number, 1 or more"),
    (("importance", "--top", "0"), "'0' is not a value of --top: give a whole number, 1 or more"),
    (
        ("importance", "--limit", MANY),
        f"'{'9' * 59}...{'9' * 59}' (5,000 characters) is not a value of --limit: give a whole number, 1 or more",
    ),
    (("importance", "--demo-seeds", "0"), "'0' is not a value of --demo-seeds: give a whole number from 1 to 1,000"),
    (("prune", "--draws", "many"), "'many' is not a value of --draws: give a whole number from 1 to 10,000"),
    (
        ("export", "runs/gpt2", "out", "--percent", "101"),
        "'101' is not a value of --percent: give a whole number from 0 to 100",
    ),
    (("inspect", "--port", "80000"), "'80000' is not a value of --port: give a whole number from 0 to 65,535"),
    (
        ("attention", "--text", "a", "--layer", "18.6"),
        "'18.6' is not a value of --layer: give a whole number, 0 or more",
    ),
    (("plan", "--speed", "0"), "'0' is not a value of --speed: give tokens a second, for example 400"),
    (("plan", "--speed", "fast"), "'fast' is not a value of --speed: give tokens a second, for example 400"),
    # lists of numbers
    (("importance", "--shots", "a"), f"'a' {SHOTS}"),
    (("importance", "--shots", "-1"), f"'-1' {SHOTS}"),
    (("importance", "--shots", "0,²"), f"'0,²' {SHOTS}"),
    (("importance", "--shots", "0;5"), f"'0;5' {SHOTS}"),
    (("importance", "--shots", ""), f"'' {SHOTS}"),
    (("prune", "--percents", "10,20"), f"{STEPS} [10, 20]"),
    (("prune", "--percents", "0,20,10"), f"{STEPS} [0, 20, 10]"),
    (("prune", "--percents", "0,100"), f"{STEPS} [0, 100]"),
    (
        ("prune", "--percents", "0,²"),
        "'0,²' is not a value of --percents: give whole numbers with commas between them, for example --percents "
        "0,20,40",
    ),
    # text and paths
    (("attention", "--text", "", "--layer", "1"), "'' is not a value of --text: give some text"),
    (
        ("attention", "--text", "caf\udce9", "--layer", "1"),
        r"--text is not UTF-8 (b'caf\xe9'): write it in UTF-8, or set the terminal's encoding to it",
    ),
    (
        ("importance", "--tasks", "\udcff"),
        r"--tasks is not UTF-8 (b'\xff'): write it in UTF-8, or set the terminal's encoding to it",
    ),
    (
        ("importance", "--tasks", " , "),
        "' , ' is not a value of --tasks: give names of tasks with commas between them, for example --tasks probes",
    ),
    (("importance", "--data", "my/tasks"), "'my/tasks' is not a value of --data: give hub, or a folder that is there"),
    (("induction", "-o", ""), "'' is not a value of -o: give a path (`.` is the current folder)"),
    (("study", "--publish", " "), "' ' is not a value of --publish: give a path (`.` is the current folder)"),
    (("compare", "runs/caf\udce9"), r"RUN is not UTF-8 (b'runs/caf\xe9'): rename the file or folder"),
    (("report", ""), "'' is not a value of RUN: give a path (`.` is the current folder)"),
    # models
    (("induction", ""), "'' is not a value of MODEL: give smollm2-135m, a hub id, a folder or a .gguf file"),
    (("induction", "smolm2-135m"), "no model 'smolm2-135m' found; did you mean smollm2-135m?"),
    (("study", "SmolLM2-135M"), "no model 'SmolLM2-135M' found; did you mean smollm2-135m?"),
    (("doctor", "facebook/opt-125"), f"no model 'facebook/opt-125' found {OFFLINE}. {WAYS}."),
    (("doctor", "two words"), f"no model 'two words' found (it is no hub id either). {WAYS}."),
    (
        ("doctor", "https://huggingface.co/gpt2"),
        "'https://huggingface.co/gpt2' is an address: of a model of the hub give 'gpt2'",
    ),
    (("plan", "models/tiny-lama"), "there is no folder 'models/tiny-lama': did you mean 'models/tiny-llama'?"),
    (("doctor", "./nothing"), f"there is no folder './nothing'. {WAYS}"),
    (("doctor", "weights.gguf"), f"there is no file 'weights.gguf'. {WAYS}"),
    (
        ("doctor", "notes.txt"),
        "'notes.txt' is a file, and no .gguf file: give the folder of a saved Hugging Face model",
    ),
    (("doctor", "models"), "the folder 'models' holds no config.json: it is not a saved Hugging Face model"),
    (
        ("importance", "runs/gpt2"),
        f"'runs/gpt2' is a run directory, and a model is wanted: give the run with -o. {WAYS}",
    ),
    # run directories
    (("report", "runs"), f"the folder 'runs' {NO_RUN}; below it there is runs/gpt2: `headscope report runs/gpt2`"),
    (
        ("compare", "gtp2"),
        "the folder 'gtp2' is not there; of a like name there is runs/gpt2: `headscope compare runs/gpt2`",
    ),
    (("report", "nowhere"), "the folder 'nowhere' is not there; here there is runs/gpt2: `headscope report runs/gpt2`"),
    (
        ("export", "a model", "out"),
        f"the folder 'a model' {NO_RUN}. Make a run directory first: `headscope induction -o 'a model'`",
    ),
    (("inspect", "runs"), f"the folder 'runs' {NO_RUN}; below it there is runs/gpt2: `headscope inspect runs/gpt2`"),
    (
        ("inspect", "nowhere"),
        f"no model or run directory 'nowhere' found {OFFLINE}. {WAYS}. Run directories here: runs/gpt2.",
    ),
    (("inspect", "runs/gpt3"), "there is no folder 'runs/gpt3': did you mean 'runs/gpt2'?"),
    (
        ("prune", "--rankings", "runs", "--tasks", "copa"),
        f"the folder 'runs' {NO_RUN}; below it there is runs/gpt2: `--rankings runs/gpt2`",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, a model whose weights nobody reads, and some other things."""
    return lay_out(tmp_path_factory.mktemp("desk"))


def lay_out(folder: Path) -> Path:
    for name in ("runs/gpt2", "models/tiny-llama", "a model"):
        (folder / name).mkdir(parents=True)
    (folder / "runs" / "gpt2" / "manifest.json").write_text("{}")
    (folder / "models" / "tiny-llama" / "config.json").write_text("{}")
    (folder / "notes.txt").write_text("notes")
    return folder


def named(arguments: tuple[str, ...]) -> str:
    return re.sub(r"[^\w.,/-]+", "_", " ".join(arguments))[:60]


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES, ids=[named(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_is_answered_with_a_sentence(place: Path, arguments: tuple[str, ...], sentence: str) -> None:
    answered(place, arguments, sentence)


def answered(place: Path, arguments: tuple[str, ...], sentence: str) -> None:
    before = sorted(place.rglob("*"))
    with contextlib.chdir(place):
        found = command(*arguments)
    assert found.error == f"headscope: {sentence}\n"
    assert found.status in (1, 2) and not found.out
    assert sorted(place.rglob("*")) == before, "nothing is written"


def test_there_are_as_many_as_a_newcomer_made() -> None:
    assert len({arguments for arguments, _ in MISTAKES}) == len(MISTAKES) >= 47


def test_none_of_them_waits_for_a_heavy_library(place: Path) -> None:
    """Measured in modules, not in seconds: one interpreter makes all mistakes, and has loaded none of them."""
    code = (
        "import json, sys\n"
        "from headscope.cli import main\n"
        "found = {}\n"
        "for number, arguments in enumerate(json.load(sys.stdin)):\n"
        "    sys.argv = ['headscope', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert end.code in (1, 2), (arguments, end.code)\n"
        f"    found[number] = [name for name in {HEAVY} if name in sys.modules]\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([arguments for arguments, _ in MISTAKES]),
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert len(loaded) == len(MISTAKES)
    assert {MISTAKES[int(number)][0]: names for number, names in loaded.items() if names} == {}


@pytest.mark.parametrize("kind", [UsageError, RefusedModelError])
def test_a_refusal_that_stands_for_missing_memory_tells_the_memory(
    kind: type[HeadscopeError], capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise kind("there is no task 'copa'") from MemoryError("Unable to allocate 7.28 TiB for an array")

    assert status_of(run) == 1
    assert capsys.readouterr().err.startswith(
        "headscope: there is not enough memory: the next 7.28 TiB could not be allocated. "
    )


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("report", "run"), "End other programs, or give the command to a machine with more memory"),
        (("compare-models", "a", "b"), "End other programs, or give the command to a machine with more memory"),
        (("inspect",), "Take --dtype bfloat16, or fewer or shorter prompts (--length)"),
        (("attention", "gpt2", "--text", "prune"), "Take --dtype bfloat16"),
        (("export", "gpt2"), "Take --dtype bfloat16"),
        (
            ("prune", "gpt2"),
            "Take --dtype bfloat16, or fewer or shorter prompts (--limit, --shots), or --device auto with "
            "--offload-folder for weights that do not fit; finished units are kept",
        ),
    ],
)
def test_less_memory_is_taken_by_options_that_the_command_has(arguments: tuple[str, ...], advice: str) -> None:
    assert less_memory(arguments) == advice
