"""The page's words about this model: what was measured and how, what was found, and with which versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headscope.findings.methods import protocol_of, sequences_of
from headscope.report.contents import top
from headscope.store.manifest import Manifest, Stage
from interp.token_display import counted

CLASSES = ("copying", "anti-copying", "matching only")


def summary(manifest: Manifest, data: Mapping[str, Any]) -> dict[str, Any]:
    """What the template prints: facts, paragraphs, numbers, the table of scores, provenance."""
    return {
        "facts": facts(manifest.identity, data),
        "measured": measured(manifest, data),
        "strongest": strongest(data),
        "numbers": numbers(data),
        "above": above_null(data),
        "classes": CLASSES if data["classes"] else (),
        "interrupted": [stage.command for stage in manifest.stages if not stage.finished],
        "stages": [_stage(stage) for stage in manifest.stages],
        "identity": [(name.replace("_", " "), value) for name, value in manifest.identity.items() if _shown(value)],
        "terms": list(
            dict.fromkeys((s["label"].partition(":")[0], s["meaning"]) for s in data["entries"] if s["meaning"])
        ),
    }


def facts(identity: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    """The line under the title."""
    shape = f"{counted(data['layers'], 'layer')} of {counted(data['heads'], 'head')}" if data["layers"] else ""
    groups = f"{counted(data['kv'], 'key-value head')} a layer" if data["kv"] != data["heads"] else ""
    revision = f"revision {identity['revision']}" if identity.get("revision") else ""
    precision = identity.get("quantization") or identity.get("dtype") or ""
    return [str(fact) for fact in (identity.get("architecture"), shape, groups, precision, revision) if fact]


def measured(manifest: Manifest, data: Mapping[str, Any]) -> list[str]:
    """What was measured, on what, from which weights."""
    sentences = []
    stage = next((stage for stage in manifest.stages if stage.command == "induction"), None)
    free = [score for score in data["entries"] if score["p"] or score["id"].startswith("prefix_matching/")]
    if stage is not None and free:
        sentences.append(
            f"Each of the {data['layers'] * data['heads']} attention heads was scored on "
            f"{sequences_of(stage, free[0]['n'])} ({protocol_of(stage)}, seed {stage.seed}), without looking at any "
            "task."
        )
        sentences += _learning(stage)
    tasks = sorted({name for stage in manifest.stages if stage.command == "importance" for name in stage.tasks})
    if tasks:
        sentences.append(f"Importance for tasks was measured on {len(tasks)}: {', '.join(tasks)}.")
    if manifest.identity.get("quantization"):
        sentences.append(
            f"Weights: {manifest.identity['quantization']}; the numbers are those of these weights, not of the "
            "original checkpoint."
        )
    return sentences


def _learning(stage: Stage) -> list[str]:
    """What the whole model gains from a repeat, and which scores it does not have."""
    sentences, gain = [], stage.record.get("repeat_score")
    if isinstance(gain, float):
        way = "falls" if gain < 0 else "rises"
        sentences.append(f"On the repeats the model's loss {way} by {abs(gain):.2f} nats against the first time.")
    refused = stage.record.get("refused") or {}
    sentences += [f"Not scored: {name} ({reason})." for name, reason in dict(refused).items()]
    return sentences


def strongest(data: Mapping[str, Any]) -> list[str]:
    """The strongest head by prefix matching."""
    score = next((score for score in data["entries"] if score["id"].startswith("prefix_matching//")), None)
    sentences: list[str] = []
    if score is None:
        return sentences
    for place in top(score["mean"], 1):
        layer, head = divmod(place, data["heads"])
        sentences.append(f"The strongest prefix matching is that of head {layer}.{head}: {_value(score, place)}.")
    return sentences


def _value(score: Mapping[str, Any], place: int) -> str:
    text = f"{score['mean'][place]:.3f}"
    if score["low"] and score["low"][place] is not None:
        text += f" (95% interval {score['low'][place]:.3f} to {score['high'][place]:.3f})"
    if score["null"] and score["null"][place] is not None:
        text += f", against {score['null'][place]:.3f} for the null"
    return text


def numbers(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A few counts to stand in large type."""
    if not data["classes"]:
        return []
    counts = Counter(data["classes"])
    total = sum(counts[name] for name in CLASSES)
    return [
        (str(data["layers"] * data["heads"]), "heads"),
        (str(total), "induction heads"),
        *((str(counts[name]), name) for name in CLASSES),
    ]


def above_null(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each score with a null: how many heads beat it family-wise, by class, and the strongest head."""
    rows = []
    for score in data["entries"]:
        if not score["family"]:
            continue
        beats = [p is not None and p <= data["level"] for p in score["family"]]
        kinds = Counter(kind for kind, over in zip(data["classes"] or [], beats, strict=False) if over)
        (best,) = top(
            [abs(v) if v is not None else None for v in score["mean"]] if score["signed"] else score["mean"], 1
        )
        layer, head = divmod(best, data["heads"])
        rows.append(
            {
                "label": score["label"],
                "count": sum(beats),
                "kinds": [kinds[name] for name in (*CLASSES, "")] if data["classes"] else [],
                "best": f"{layer}.{head}",
                "value": f"{score['mean'][best]:.3f}".replace("-", "\N{MINUS SIGN}"),
            }
        )
    return rows


def _stage(stage: Stage) -> dict[str, Any]:
    options = ", ".join(f"{name} {_plain(value)}" for name, value in stage.options.items())
    return {
        "command": stage.command,
        "protocol": protocol_of(stage),
        "seed": stage.seed,
        "tasks": ", ".join(stage.tasks),
        "options": options,
        "when": _time(stage.finished) if stage.finished else "not finished",
        "versions": ", ".join(f"{name} {version}" for name, version in stage.versions.items()),
    }


def _time(written: str) -> str:
    """`2026-03-01T17:05:09+00:00` as people write it, to the minute."""
    return datetime.fromisoformat(written).strftime("%Y-%m-%d %H:%M %Z").strip()


def _plain(value: Any) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)


def _shown(value: Any) -> bool:
    return value not in (None, "") and not isinstance(value, dict | list)
