"""What a study found about each of the paper's claims, in plain words: every number is computed from the tables.

`findings(run)` gives the lines of a page for one run; `publish(run, folder)` copies the run's tables into a folder of
their own below `folder` and writes `folder/README.md` from all the runs that were published there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from headscope.findings import causal, induction_heads, knock_out, paper, primary, pruning, sharing
from headscope.findings.evidence import Evidence
from headscope.store.atomic import make_writable, write_atomically
from headscope.store.manifest import FILE, Manifest, Stage, describe
from headscope.store.run import TABLE_FILES, Run, open_run
from headscope.store.sealed import copy_sealed

Part = Callable[[Evidence], Iterator[str]]
PARTS: tuple[tuple[str, Part], ...] = (
    ("In short", primary.in_short),
    ("What the model learns from its context", primary.screened),
    ("What the choice loses without the induction heads", primary.details),
    ("In short, beside the paper's OPT-66B", paper.beside_the_paper),
    ("How many heads can be removed?", pruning.heads),
    ("How many FFNs can be removed?", pruning.ffns),
    ("Heads and FFNs together", pruning.joint),
    ("Which FFNs matter?", knock_out.ffn_knockouts),
    ("Do tasks and numbers of examples need the same heads?", sharing.rankings),
    ("Pruning a task by other tasks' rankings", sharing.transfer),
    ("Are the induction heads the important heads?", induction_heads.induction_heads),
    ("What pruning leaves of the induction scores", induction_heads.retained),
    ("Does learning in context suffer without the induction heads?", causal.removal),
)
PAGE = "README.md"
READING = (
    "Every number is about these tasks only. An interval shows how far it could have moved with other documents of the "
    "same tasks; it says nothing about other tasks. Documents that are drawn together, such as the questions on "
    "one passage, count once, as one cluster. A mean over tasks weighs all tasks alike, and its interval adds the "
    "variances within the tasks. Only the section on single FFNs has intervals over tasks.",
    "Square brackets hold 95% intervals. For random and layer-matched orders of pruning they hold the 5th to 95th "
    "percentile over draws, behind the median over draws. Round brackets say what they hold.",
    "A rank p is (1 + the number of controls that do at least as well) / (1 + the number of controls); Holm's p is "
    "corrected for all tests of one family: those of one matrix of tasks, of one sort of overlap, of one outcome.",
    "The interval of a correlation shows what other documents and other random sequences would have given; its p shows "
    "how often heads without any relation, drawn by permutation, would give as much. The two can disagree: an interval "
    "may exclude 0 where p shows no relation.",
    "Accuracy is each task's own metric: exact match in ReCoRD, whole questions in MultiRC; points are hundredths of "
    "it. Log-likelihood is the right answer's, in nats, mean over documents.",
    "A fall counts as shown to be smaller than a limit when the one-sided 95% bound of the mean change, paired by "
    "document, does not reach that limit.",
    "A task counts as above chance when the one-sided lower 95% bound of the full model's accuracy lies above both "
    "chance and the share of the most frequent answer.",
    "Importance (token) measures how much a head's output matters to the loss, for better or worse; signed importance "
    "says whether the task needs it. Both are of training documents.",
    "The tests of different sections are not corrected for one another; only the primary test was fixed beforehand.",
)


def findings(run: Run) -> list[str]:
    """Lines of Markdown: what was run, then a section a claim; claims without data are left out."""
    evidence = Evidence(run)
    lines = list(setting(run.manifest))
    for title, part in PARTS:
        sentences = list(part(evidence))
        if sentences:
            lines += ["", f"### {title}", "", *sentences]
    return lines


def setting(manifest: Manifest) -> Iterator[str]:
    """Model, tasks, documents, what the budget left out; one a line of a list."""
    yield f"- Model: {describe(manifest.identity)}."
    for stage in manifest.stages:
        if stage.command == "study":
            yield from (f"- {line}" for line in _study(stage))
    cut: Counter[str] = Counter()
    for stage in manifest.stages:
        cut[stage.command] += sum(stage.record.get("cut", {}).values())
    if counts := [f"{count} in {command}" for command, count in cut.items() if count]:
        yield (
            f"- Prompts longer than the model's context, cut by whole demonstrations, then on the left: "
            f"{', '.join(counts)}."
        )
    if note := manifest.recorded("post_norm"):
        yield f"- Importance: {note}."
    if open_stages := [stage.command for stage in manifest.stages if not stage.finished]:
        yield f"- Not finished, so that its numbers are of an earlier moment or missing: {', '.join(open_stages)}."


def _study(stage: Stage) -> Iterator[str]:
    budget = stage.record.get("budget", {})
    shots = ", ".join(str(count) for count in stage.options.get("shots", ()))
    yield f"Tasks: {', '.join(stage.tasks)}; numbers of examples in the context: {shots}; seed {stage.seed}."
    if budget:
        yield (
            f"Documents a task, at most: {budget['rank_documents']} training documents for importance, "
            f"{budget['knockout_documents']} for FFN knock-outs, {budget['prune_documents']} validation documents for "
            f"pruning and {budget['causal_documents']} for the causal check."
        )
        if sizes := stage.record.get("fewer"):
            yield sizes
        yield _demonstrations(budget["demos"], budget["demo_seeds"])
    if less := stage.record.get("left_out", ()):
        yield f"Less than the full measure: {'; '.join(less)}."


def _demonstrations(demos: str, draws: int) -> str:
    """What the intervals of evaluations hold fixed."""
    if demos == "fixed":
        sets = "one fixed set" if draws == 1 else f"{draws} fixed sets"
        return (
            f"Evaluations use {sets} of demonstrations a task, the same for all its documents: every interval holds "
            "them fixed, and other demonstrations could have given other numbers."
        )
    return f"Demonstrations of evaluations are drawn anew for every document, {draws} times."


def publish(run: Run, folder: str | Path) -> Path:
    """The run's manifest and tables into `folder/NAME`, and the page of all runs there; returns the page.

    NAME is the group of tasks where it is one (`probes`, `icl14`), else the run folder's name.
    """
    home = Path(folder)
    published = home / name_of(run)
    make_writable(published)
    copy_sealed(run.folder, published, TABLE_FILES)
    page = home / PAGE
    write_atomically(page, "\n".join(whole_page(home)).encode())
    return page


def name_of(run: Run) -> str:
    from ablation.tasks.names import GROUPS

    tasks = {name for stage in run.stages if stage.command == "study" for name in stage.tasks}
    return next((group for group, names in GROUPS.items() if tasks == set(names)), run.folder.name)


def whole_page(home: Path) -> Iterator[str]:
    """Every published run under its name."""
    runs = {path.parent.name: open_run(path.parent) for path in sorted(home.glob(f"*/{FILE}"))}
    first = next(iter(runs.values()))
    yield f"# {first.identity['source']}: which heads carry in-context learning, and are they the induction heads?"
    yield ""
    yield (
        "Written by `headscope study` from the tables beside this page; nothing here is typed by hand. The claims are "
        "those of Bansal et al. 2023 (OPT-66B). How to read it:"
    )
    yield from ("", *(f"- {line}" for line in READING))
    for name, run in runs.items():
        yield from ("", f"## {name}", "", *findings(run))
    yield ""
