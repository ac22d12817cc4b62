"""How to read the page, and what the run left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from headscope.findings.evidence import Evidence
from headscope.findings.section import Section
from headscope.findings.words import SHOWN_HASH, counted, listed, shots, span
from headscope.store.manifest import Manifest, Stage

READING = (
    "Heads are named layer.head, from 0. A drop is what the whole model has, less what it has without the heads: "
    "positive means that they were needed.",
    "Round brackets behind a value hold its 95% interval: how far it could have moved with other documents of these "
    "tasks; that of the primary's look is wider. Documents on one passage count as one.",
    "Controls are sets of as many other heads, from the same layers and key-value groups. Their bars run from the 5th "
    "to the 95th percentile.",
    "p is the share of permutations of heads within their layers that do as well. It says whether two rankings go "
    "together; an interval says how sure a number is.",
    "Only the drop of choice without the induction heads, replaced by their mean, was fixed beforehand; all else is "
    "secondary.",
)


def section(evidence: Evidence) -> Section:
    lines = tuple(left_out(evidence.run.manifest))
    return Section("left_out", "What was run, and what was left out", lines)


def left_out(manifest: Manifest) -> Iterator[str]:
    """Documents, what the budget left out, what was cut, what has not ended."""
    for stage in manifest.stages:
        if stage.command == "study":
            yield from _study(stage, manifest)
        if stage.command == "primary" and stage.record.get("hash"):
            yield f"{_question(stage)}{_look(stage)}."
    cut: Counter[str] = Counter()
    for stage in manifest.stages:
        cut[stage.command] += sum(stage.record.get("cut", {}).values())
    if counts := [f"{count} in {command}" for command, count in cut.items() if count]:
        yield f"Prompts longer than the context, cut by whole demonstrations, then on the left: {', '.join(counts)}."
    if note := manifest.recorded("post_norm"):
        yield f"Importance: {note}."
    if open_stages := [stage.command for stage in manifest.stages if not stage.finished]:
        yield f"Not finished, so that its numbers are missing or of an earlier moment: {', '.join(open_stages)}."


def _question(stage: Stage) -> str:
    """When the question was written down, beside what had been evaluated."""
    told = f"The primary question was written down, with its hash {str(stage.record['hash'])[:SHOWN_HASH]}, before "
    if earlier := stage.record.get("earlier"):
        marks = listed([str(mark)[:SHOWN_HASH] for mark in earlier])
        return f"{told}it ran, but after {counted(len(earlier), 'other wording')} of it ({marks}), whose runs are used"
    return f"{told}anything was evaluated"


def _look(stage: Stage) -> str:
    """When the study looked for the last time."""
    looks = stage.record.get("looks") or ()
    if not looks or not all(name in looks[-1] for name in ("look", "documents")):
        return ""
    last = looks[-1]
    seen = f"; look {last['look']}, at {counted(last['documents'], 'document')}, was the last"
    if not all(name in last for name in ("low", "high")):
        return seen
    return f"{seen}, with the drop beyond the controls at {span(last['low'], last['high'])} nats by that look's level"


def _study(stage: Stage, manifest: Manifest) -> Iterator[str]:
    asked = stage.options.get("shots", ())
    counts = [shots(count) for count in (asked if isinstance(asked, list | tuple) else (asked,))]
    budget = stage.record.get("budget", {})
    documents = {
        name.removesuffix("_documents"): count for name, count in budget.items() if name.endswith("_documents")
    }
    each = [f"{count} for {DOCUMENTS.get(name, name)}" for name, count in documents.items()]
    each += [told for other in manifest.stages for told in _own_documents(other)]
    told = f"; documents a task, at most: {', '.join(each)}" if each else ""
    at = f" at {listed(counts)}" if counts else ""
    yield f"{counted(len(stage.tasks), 'task')}{at}, seed {stage.seed}{told}."
    if sizes := stage.record.get("fewer"):
        yield str(sizes)
    if less := stage.record.get("left_out", ()):
        yield f"Left out: {'; '.join(less)}."


def _own_documents(stage: Stage) -> Iterator[str]:
    """Those of stages that take a part of what another has."""
    protocol = stage.protocol if isinstance(stage.protocol, Mapping) else {}
    if stage.command == "contest" and "limit" in protocol:
        yield f"{protocol['limit']} for the contest"
    if stage.command == "vectors" and "queries" in protocol:
        yield f"{protocol['queries']} queries for function vectors"


DOCUMENTS = {"rank": "importance", "knockout": "knock-out", "prune": "pruning", "primary": "the primary question"}
