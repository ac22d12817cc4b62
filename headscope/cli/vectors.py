"""`headscope vectors`: which heads carry a function, and which write the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from headscope.cli import engines
from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import whole
from headscope.cli.terminal import progress, show_table

if TYPE_CHECKING:
    from headscope.stages.vectors import Found
    from interp.scores import HeadScores

QUERIES = 40


@opt.loading()
@engines.engine()
def vectors(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.ScreenTasks = None,
    queries: Annotated[
        int, whole("--queries", low=1, help="Prompts of each task that are asked.", panel=panels.PROMPTS)
    ] = QUERIES,
    out: opt.Out = None,
    data: opt.Data = "hub",
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    top: opt.Top = 10,
    as_json: opt.Json = False,
) -> None:
    """Find function-vector heads, and heads that write the labels.

    Put in from prompts with right answers, what a function-vector head says helps a prompt whose examples have wrong
    ones. Tasks are those that passed the run's screen (`headscope study --only screen`). The vectors themselves are
    stored, and tested. A killed run goes on from where it was when the same command is given again.

    \b
      headscope vectors
      headscope vectors gpt2 --tasks probe_capitals,probe_antonyms --queries 20
    """
    from headscope.stages.cells import TaskChoice
    from headscope.stages.vectors import measure_vectors, vector_choice, vectors_stage
    from headscope.store.run import check_output_folder, open_run

    folder = opt.run_folder(model, out)
    names = opt.screen_tasks(folder, tasks, data, model)
    choice = vector_choice(TaskChoice(names, data=data, bos=bos, seed=seed))
    stage = vectors_stage(choice, queries=queries)
    check_output_folder(folder, stage)
    with opt.resumable():
        loaded = opt.load(model, **loading)
        with progress("function vectors") as tell:
            found = measure_vectors(loaded, folder, choice, queries=queries, progress=tell)
        opt.tell_prompts(open_run(folder), stage)
        page = opt.render_report(folder)
    if as_json:
        print(json.dumps(told(found, folder, page, top), indent=2, allow_nan=False))
    else:
        show(found, folder, page, top)


def told(found: Found, folder: Path, page: Path, top: int) -> dict[str, Any]:
    """What the tables show, for scripts."""
    return {
        "fv_heads": [f"{head.layer}.{head.head}" for head in found.vectors.heads] if found.vectors else [],
        "scores": {scores.name: list(_lines(scores, top)) for scores in scored(found)},
        "vector_test": [
            {"block": one.layer, "raised": one.raised.value, "beyond_controls": one.more_than_controls.value}
            for one in found.test
        ],
        "left_out": dict(found.left_out),
        "run": str(folder),
        "report": str(page),
    }


def scored(found: Found) -> list[HeadScores]:
    """The scores that there are."""
    vectors = [] if found.vectors is None else [found.vectors.scores, found.vectors.prob]
    return vectors + ([] if found.labels is None else [found.labels.tr, found.labels.tl])


def _lines(scores: HeadScores, top: int) -> Any:
    for head in scores.top(top):
        at = (head.layer, head.head)
        values = {"score": scores.mean[at], "low": scores.ci_low[at], "high": scores.ci_high[at]}
        if scores.nulls:
            values |= {"p": scores.p[at], "p_family": scores.p_family[at]}
        numbers = {name: float(value) for name, value in values.items()}
        yield {"head": f"{head.layer}.{head.head}"} | {k: v if v == v else None for k, v in numbers.items()}


TITLES = {
    "fv": "function-vector heads: what the mean of right prompts adds to the choice, in nats",
    "fv_prob": "the same on the probability of the answer's first token",
    "tr": "task-recognition heads: how far they write into the labels' space",
    "tl": "task-learning heads: how far they write towards the right label there",
}


def show(found: Found, folder: Path, page: Path, top: int) -> None:
    """The highest heads by every score, what the vectors do, and what was left out."""
    for scores in scored(found):
        rows = [
            (line["head"], f"{line['score']:+.3f}", _interval(line), *(_p(line, name) for name in ("p", "p_family")))
            for line in _lines(scores, top)
        ]
        show_table(TITLES[scores.name], ("head", "score", "95%", "p", "p, all heads"), rows)
    if found.vectors is not None:
        heads = ", ".join(f"{head.layer}.{head.head}" for head in found.vectors.heads)
        print(f"function-vector heads: {heads or 'none is above its null in two thirds of the tasks'}")
    for one in found.test:
        low, high = one.more_than_controls.interval()
        print(
            f"added in front of block {one.layer}, without examples: the choice rises by {one.raised.value:+.2f} nats, "
            f"{one.more_than_controls.value:+.2f} [{low:+.2f}, {high:+.2f}] more than by layer-matched heads' vectors"
        )
    for name, reason in found.left_out.items():
        print(f"left out: {name}: {reason}")
    if found.vectors is None and not found.left_out:
        print("no task passed the screen, so there is nothing to score heads on")
    print(f"stored in {folder}; report: {page}")


def _interval(line: dict[str, Any]) -> str:
    return "-" if line["low"] is None else f"[{line['low']:+.3f}, {line['high']:+.3f}]"


def _p(line: dict[str, Any], name: str) -> str:
    value = line.get(name)
    return "-" if value is None else f"{value:.3f}"
