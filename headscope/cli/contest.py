"""`headscope contest`: which kind of head carries the choice?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from headscope.cli import engines, values
from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import choice as one_of
from headscope.cli.kinds import listed, shots, whole
from headscope.cli.terminal import progress, show_table

read_shares = values.whole_numbers("--shares", "1,5,20")


@opt.loading()
@engines.engine()
def contest(
    loading: opt.Loading,
    model: opt.Model = opt.DEFAULT_MODEL,
    tasks: opt.ScreenTasks = None,
    shots: Annotated[str, shots("Numbers of demonstrations; the most are taken.")] = "5",
    out: opt.Out = None,
    limit: opt.Limit = 40,
    controls: Annotated[
        int, whole("--controls", high=1000, help="Control sets of each arm; 0 for none.", panel=panels.REMOVED)
    ] = 39,
    controls_of: Annotated[
        str,
        one_of(
            "--controls-of",
            ("class", "all"),
            help="Controls of class-sized sets by mean, or of all sets in all ways (ten times the passes).",
            panel=panels.REMOVED,
        ),
    ] = "class",
    shares: Annotated[
        str,
        listed(
            "--shares", read_shares, help="Top percentages beside the class-sized sets.", of="n", panel=panels.REMOVED
        ),
    ] = "1,2,5,10,20",
    data: opt.Data = "hub",
    bos: opt.Bos = "auto",
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
) -> None:
    """Remove every kind of head alike: which one carries the choice?

    Induction, function-vector, concept, task-recognition, task-learning, important and random heads, as many of each,
    by their mean, at all positions and at the last one, against control sets matched by layer; on the tasks that
    passed the run's screen, those whose answer stands in the query told apart from the others. Needs `headscope
    induction`, a screen, and `headscope vectors` in the run. A killed run goes on when the same command is given again.

    \b
      headscope contest
      headscope contest gpt2 --controls 19 --limit 20 --shares 5
    """
    from headscope.stages.cells import TaskChoice, parse_shots
    from headscope.stages.contest import ContestChoice, measure_contest
    from headscope.store.run import check_output_folder, open_run

    folder = opt.run_folder(model, out)
    names = opt.screen_tasks(folder, tasks, data, model)
    most = max(parse_shots(shots))
    choice = TaskChoice(names, (0, most), limit=limit, data=data, demos="fixed", bos=bos, seed=seed)
    wanted = ContestChoice(controls, tuple(sorted(read_shares(shares))), controls_of)
    stage = wanted.stage(choice)
    check_output_folder(folder, stage)
    with opt.resumable():
        loaded = opt.load(model, **loading)
        with progress("contest") as tell:
            measure_contest(loaded, folder, choice, wanted, progress=tell)
        opt.tell_prompts(open_run(folder), stage)
        page = opt.render_report(folder)
    run = open_run(folder)
    found = told(run, page)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        show(found)


def told(run: Any, page: Path) -> dict[str, Any]:
    """What the table shows, for scripts."""
    from headscope.findings.contest import named_sets, sentences, table_rows
    from headscope.findings.evidence import Evidence

    stage = [stage for stage in run.stages if stage.command == "contest"][-1]
    return {
        "sets": dict(stage.record.get("sets", {})),
        "missing_arms": dict(stage.record.get("missing_arms", {})),
        "left_out": list(stage.record.get("left_out", ())),
        "reason": str(stage.record.get("reason", "")),
        "rows": table_rows(run.comparisons),
        "sentences": list(sentences(run.comparisons, named=named_sets(Evidence(run)))),
        "run": str(run.folder),
        "report": str(page),
    }


def show(found: dict[str, Any]) -> None:
    """The class-sized sets by the choice, group by group; then what it says."""
    headings = ("arm", "tasks", "removed at", "drop (nats)", "95%", "beyond controls", "95%", "rank")
    names = ("arm", "group", "positions", "drop", "drop_interval", "beyond", "beyond_interval", "rank")
    rows = [tuple(line[name] for name in names) for line in found["rows"]]
    if rows:
        show_table("what the choice loses without each kind of head, removed by its mean", headings, rows, left=3)
    else:
        print(f"nothing was removed: {found['reason']}")
    for line in found["sentences"]:
        print(line)
    for arm, reason in found["missing_arms"].items():
        print(f"no arm {arm}: {reason}")
    print(f"stored in {found['run']}; report: {found['report']}")
