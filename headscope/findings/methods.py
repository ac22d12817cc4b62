"""How a run's numbers were made, as the methods paragraph of a paper: every number is the manifest's or a table's.

A sentence for the model, for the scores without a task, their nulls, each later stage that finished, and the versions.
What a stage did not write down is not told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from headscope.findings.primary import WAYS
from headscope.findings.words import SHOWN_HASH, counted, listed, model_name, task_name
from headscope.store.glossary import FOLDED, TERMS, term
from headscope.store.manifest import Stage
from headscope.store.run import Run
from headscope.store.snapshot import chosen, combinations
from interp.scores import FAMILY_LEVEL

NAMES = {
    "screen": "Tasks were screened for whether the model learns them from demonstrations",
    "primary": "The effect of removing the tested heads was measured",
    "vectors": "Function vectors and label heads were scored",
    "contest": "Kinds of heads were removed in turn, each beside matched controls",
    "importance": "Importance was measured by gradient",
    "knockout": "Components were removed one by one",
    "prune": "Heads and FFNs were pruned",
}
SILENT = ("study", "compare", "induction")  # what they did is told by their parts
RETRIEVAL = "retrieval"
CONCEPT = ("concept_induction", "token_induction")
LATER = ("fv", "fv_prob", "tr", "tr_share", "tl", *CONCEPT)  # scores without a task that have prompts of their own
MEASURED = ("primary", "vectors", "contest")  # stages that leave tasks out
SHARED = ("screen", "primary", "contest")  # stages in which draws of demonstrations share the documents
VERSIONS = ("headscope", "torch", "transformers")


def methods(run: Run) -> str:
    """The paragraph."""
    return " ".join(sentences(run))


def sentences(run: Run) -> Iterator[str]:
    rows = run.head_scores
    yield _model(run.identity, rows)
    free, nulls = (frame[(frame["task"] == "") & ~frame["score"].isin(LATER)] for frame in (rows, run.head_nulls))
    told: tuple[str, ...] = ()
    for stage in run.stages:
        if stage.command == "induction" and stage.finished and len(free):
            yield from _scores(stage, free, nulls)
        if stage.finished and stage.command not in SILENT:
            yield _later(stage, told)
            told = measured(stage) or told
    yield from _concept(rows)
    yield from _versions(run)


def _model(identity: Mapping[str, Any], rows: pd.DataFrame) -> str:
    shape = ""
    if len(rows):
        layers, heads = int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1
        shape = f"{counted(layers, 'layer')} of {counted(heads, 'head')}"
    weights = str(identity.get("weight_hash") or "")[:SHOWN_HASH]
    facts = (
        identity.get("architecture"),
        shape,
        identity.get("quantization") or identity.get("dtype"),
        f"revision {identity['revision']}" if identity.get("revision") else "",
        f"SHA-256 of the weights {weights}" if weights else "",
    )
    told = ", ".join(str(fact) for fact in facts if fact)
    return f"We measured {model_name(identity)}{f' ({told})' if told else ''}."


def _scores(stage: Stage, rows: pd.DataFrame, nulls: pd.DataFrame) -> Iterator[str]:
    """Which scores, on what, against which nulls."""
    keys = {(key["score"], key["variant"]) for key in combinations(rows, "score", "variant")}
    kept = [key for key in (*TERMS, *sorted(keys - set(TERMS))) if key in keys and key not in FOLDED]
    repeated = chosen(rows, score="prefix_matching", variant="")
    count = int((repeated if len(repeated) else rows)["n"].iloc[0])
    labels = [_inside(term(*key).label) for key in kept]
    names = listed(labels, most=len(labels))
    yield (
        f"Every attention head was scored without a task by {names}, on "
        f"{sequences_of(stage, count)} where a score takes repeats ({protocol_of(stage)}, seed {stage.seed})."
        if len(repeated)
        else f"Every attention head was scored without a task by {names} ({protocol_of(stage)}, seed {stage.seed})."
    )
    held = rows[rows["ci_low"].notna()]
    natural, items = held["variant"] == "natural", held["score"] == RETRIEVAL
    over = {"sequences": ~natural & ~items, "texts on natural text": natural, "items for retrieval": items}
    if len(held):
        things = listed([thing for thing, mask in over.items() if mask.any()])
        yield f"The intervals of these scores, where they have one, are 95% percentile bootstraps over {things}."
    if len(nulls):
        tested = listed(sorted(set(nulls["null"])))
        yield f"Scores were held against their nulls ({tested}), p family-wise over heads at {FAMILY_LEVEL:g}."


def _concept(rows: pd.DataFrame) -> Iterator[str]:
    """Concept and token induction, on prompts of their own."""
    found = rows[(rows["task"] == "") & rows["score"].isin(CONCEPT)]
    if len(found):
        names = listed([_inside(term(name, "").label) for name in CONCEPT if name in set(found["score"])])
        yield (
            f"Every head was scored by {names} on {counted(int(found['n'].iloc[0]), 'prompt')} about entities; their "
            "intervals are 95% percentile bootstraps over prompts."
        )


def measured(stage: Stage) -> tuple[str, ...]:
    """The tasks that a stage measured, as far as it says so: those that it was asked for may be more."""
    if stage.command not in MEASURED or stage.record.get("documents") is None:
        return tuple(stage.tasks)
    held = {re.sub(r", \d+ shots?$", "", key) for key in stage.record["documents"]}
    return tuple(task for task in stage.tasks if task in held)


def _later(stage: Stage, told: tuple[str, ...]) -> str:
    """A later stage: on which tasks, over how many documents, in which setting; told: tasks that were named before."""
    name = NAMES.get(stage.command.split()[0], f"`headscope {stage.command}` was run")
    if reason := stage.record.get("reason"):
        return f"{_denied(name)}: {reason}."
    tasks = measured(stage)
    names = "named above" if tasks == told else listed([task_name(task) for task in tasks], most=len(tasks))
    on = f" on {counted(len(tasks), 'task')} ({names})" if tasks else ""
    looks = [look["documents"] for look in stage.record.get("looks") or [] if look.get("documents")]
    asked = f", over {counted(int(looks[-1]), 'document')}" if looks else ""
    parts = (*_setting(stage), _plain(stage.options), f"seed {stage.seed}")
    settings = "; ".join(part for part in parts if part)
    learnt = stage.record.get("learnt")
    passed = f" {counted(len(learnt), 'task')} passed." if stage.command == "screen" and learnt is not None else ""
    return f"{name}{on}{asked}; settings: {settings}.{passed}"


def _denied(name: str) -> str:
    """The sentence that a stage was run, where it measured nothing: `Heads were not removed`."""
    return re.sub(r"\b(was|were)\b", r"\1 not", name.partition(", each")[0], count=1)


def _setting(stage: Stage) -> Iterator[str]:
    """The protocol in words. What `demo_seeds` counts is not what these stages draw, and `ways` are further ones."""
    protocol = stage.protocol
    if stage.command in SHARED and isinstance(protocol, Mapping):
        yield _plain({name: value for name, value in protocol.items() if name not in ("demo_seeds", "ways")})
        if draws := stage.record.get("draws"):
            yield f"{counted(int(draws), 'draw')} of demonstrations share the documents"
    else:
        yield protocol_of(stage)
    if stage.command == "primary":
        ways = [way_words(way) for way in (protocol.get("ways") or ())] if isinstance(protocol, Mapping) else []
        yield f"heads replaced by their mean at all positions{f', also by: {listed(ways)}' if ways else ''}"


def way_words(way: str) -> str:
    return WAYS.get(way, way).removeprefix("by ")


def _inside(label: str) -> str:
    """As it stands within a sentence."""
    return label if label[:2].isupper() else label[0].lower() + label[1:]


def _versions(run: Run) -> Iterator[str]:
    """The versions of the last stage, and that others differ where they do."""
    if not run.stages:
        return
    last = run.stages[-1].versions
    named = listed([f"{name} {last[name]}" for name in VERSIONS if name in last])
    if not named:
        return
    others = any(stage.versions != last for stage in run.stages)
    yield f"Software: {named}{' (the last stage; earlier ones used others)' if others else ''}."


def sequences_of(stage: Stage, n: int) -> str:
    """How many sequences of which lengths, as far as the stage recorded them."""
    facts = {**stage.options, **stage.record}
    lengths = facts.get("lengths") or [facts.get("length")]
    kind = "sequence" if n == 1 else "sequences"
    if not all(isinstance(length, int) for length in lengths):
        return f"{n} {kind} of random repeated tokens"
    span = str(lengths[0]) if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)}"
    return f"{n} {kind}, each a block of {span} random tokens repeated"


def protocol_of(stage: Stage) -> str:
    """The protocol in words."""
    protocol = stage.protocol
    return _plain(protocol) if isinstance(protocol, Mapping) else f"protocol {protocol}"


def _plain(values: Mapping[str, Any]) -> str:
    """`shots 0 and 5, limit 48`; what is empty is left out."""
    told = {name: _value(value) for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items() if value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{name} {inner}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return listed([_value(inner) for inner in value])
    return f"{value:.3g}" if isinstance(value, float) else str(value)
