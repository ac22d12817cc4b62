"""A run directory as SmolLM2-135M might leave it, drawn at random: 30 layers of 9 heads, some of them induction heads.

Nothing in it was measured. `write_run(folder)` holds what `headscope induction` stores, `study=True` what the other
commands add.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from headscope.store.attention_example import quantise
from headscope.store.comparisons import Row, frame, row
from headscope.store.manifest import Stage
from headscope.store.writer import begin_stage
from interp.scores import FFNScores, HeadScores, Null

IDENTITY = {
    "source": "smollm2-135m",
    "revision": None,
    "weight_hash": "5ca1ab1e" * 8,
    "dtype": "float32",
    "kernel_route": "fused",
    "quantization": "Q4_1, dequantised to float32",
    "architecture": "LlamaForCausalLM",
}
SCORES = (
    ("prefix_matching", ""),
    ("prefix_matching", "olsson"),
    ("copying", "argmax"),
    ("copying", "attended"),
    ("copying", "successor"),
    ("copying", "signed"),
    ("copying", "signed_auc"),
    ("ov_copying", ""),
    ("previous_token", ""),
    ("duplicate_token", ""),
)
TASKS = ("arc_easy", "boolq", "copa", "hellaswag", "piqa", "rte")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "\"quoted\" 'text'",
    "\u202eright to left\u200f",
    "🙂",
    " <b>bold</b>",
    "\n",
    "&amp;",
)
WORDS = (
    "",
    "ridge",
    "gold",
    "lamp",
    "seven",
    "under",
    "paper",
    "north",
    "quick",
    "fern",
    "cloud",
    "salt",
    "bridge",
    "three",
    "glass",
    "winter",
    "stone",
)


@dataclass(frozen=True)
class Shape:
    layers: int = 30
    heads: int = 9
    kv_heads: int = 3


def write_run(
    folder: Path,
    *,
    shape: Shape | None = None,
    study: bool = False,
    tasks: Sequence[str] = TASKS,
    tokens: Sequence[str] | None = None,
    identity: dict[str, Any] | None = None,
    seed: int = 11,
) -> Path:
    shape = shape or Shape()
    rng = np.random.default_rng(seed)
    kinds = classes(shape, rng)
    stage = Stage("induction", "quick", options={"length": 50, "repeats": 4, "sequences": 20})
    with begin_stage(folder, identity or IDENTITY, stage) as writer:
        for name, variant in SCORES:
            writer.add_scores(head_score(name, variant, shape, kinds, rng))
        writer.add_classes(kinds)
        shown = list(
            tokens or ["<|im_start|>", *[f" {word}" if place else "Ridge" for place, word in enumerate(WORDS)] * 3]
        )
        writer.store_attention_example(shown, example(len(shown), shape, kinds, rng), blocks=blocks(len(shown)))
    if study:
        add_study(folder, shape, rng, list(tasks), identity or IDENTITY)
    return folder


def blocks(length: int) -> tuple[int, ...]:
    block = (length - 1) // 3
    return (1, 1 + block, 1 + 2 * block) if block else ()


def classes(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """A dozen induction heads in the upper half."""
    kinds = np.full((shape.layers, shape.heads), "", dtype=object)
    names = ["copying"] * 5 + ["anti-copying"] * 3 + ["matching only"] * 5
    for name in names:
        kinds[rng.integers(shape.layers // 2, shape.layers), rng.integers(shape.heads)] = name
    return kinds


def head_score(name: str, variant: str, shape: Shape, kinds: np.ndarray, rng: np.random.Generator) -> HeadScores:
    grid = (shape.layers, shape.heads)
    strong = kinds != ""
    base = rng.beta(1.2, 18, grid)
    if name == "prefix_matching":
        base = np.where(strong, rng.uniform(0.42, 0.95, grid), base) * (0.5 if variant else 1.0)
    if name == "previous_token":
        base = np.where(rng.random(grid) < 0.04, rng.uniform(0.4, 0.9, grid), base)
    if name == "ov_copying":
        base = rng.normal(0.1, 0.35, grid).clip(-1, 1)
    if variant == "signed":
        base = rng.normal(0, 0.25, grid) + 3.0 * (kinds == "copying") - 2.6 * (kinds == "anti-copying")
    noise = rng.normal(0, 0.03 + 0.05 * np.abs(base), (20, *grid))
    signed = variant == "signed" or name == "ov_copying"
    items = torch.from_numpy(base + noise if signed else (base + noise).clip(0, 1)).float()
    score = HeadScores.from_items(name, items, variant=variant, n_kv_heads=shape.kv_heads)
    if name == "ov_copying":
        return score
    draws = torch.from_numpy(rng.normal(0.0 if variant == "signed" else 0.04, 0.02, (99, *grid))).float()
    names = ("N1 wrong token", "N2 position only") if name != "copying" else ("token drawn at random",)
    nulls = [Null.from_draws(null, score.mean, draws, two_sided=variant == "signed") for null in names]
    return score.with_nulls(*nulls)


def example(length: int, shape: Shape, kinds: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Induction heads look one block back and one on, some heads at the previous token, the rest at the first."""
    block = max(1, (length - 1) // 3)
    attention = torch.full((shape.layers, shape.heads, length, length), 0.0)
    for layer, head in np.ndindex(shape.layers, shape.heads):
        pattern = torch.from_numpy(rng.dirichlet(np.full(length, 0.08), length)).float()
        weight = 0.85 if kinds[layer, head] else 0.0
        for query in range(length):
            target = query - block + 1 if query > block else 0
            pattern[query] *= 1 - weight - (0.1 if not weight else 0)
            pattern[query, target] += weight
            pattern[query, 0] += 0.1 if not weight else 0
        attention[layer, head] = pattern
    attention = attention.tril()
    return quantise(attention / attention.sum(-1, keepdim=True))


def add_study(folder: Path, shape: Shape, rng: np.random.Generator, tasks: list[str], identity: dict[str, Any]) -> None:
    stage = Stage("study", "probes", tasks=tuple(tasks), options={"shots": [0, 5], "limit": 48})
    with begin_stage(folder, identity, stage) as writer:
        for task in tasks:
            for shots in (0, 5):
                for variant in ("token", "signed"):
                    shared = np.random.default_rng(5).gamma(0.6, 1.0, (shape.layers, shape.heads))
                    items = shared * rng.gamma(2.0, 0.5, (12, shape.layers, shape.heads))
                    items = items - (0.8 * shared if variant == "signed" else 0)
                    score = HeadScores.from_items("importance", torch.from_numpy(items).float(), variant=variant)
                    writer.add_scores(score, task=task, shots=shots)
                for variant in ("log_likelihood", "log_likelihood/later"):
                    items = rng.normal(0.02, 0.03, (12, shape.layers)) + 0.5 * (np.arange(shape.layers) == 11)
                    score = FFNScores.from_items("knock_out", torch.from_numpy(items).float(), variant=variant)
                    writer.add_scores(score, task=task, shots=shots)
        writer.add_metrics(pd.DataFrame([*pruning(rng, tasks, shape)]))
        writer.add_comparisons(frame([*screened(rng, tasks), *asked(rng, tasks[:-1])]))
        writer.add_comparisons(frame([*removed(tasks[:-1]), *ranked(), *contested(rng)]))
        writer.add_comparisons(pd.DataFrame([*matrices(rng, tasks), *overlaps(rng), *retentions()]))


def metric(task: str, shots: int, component: str, value: float, **changed: Any) -> dict[str, Any]:
    row = {
        "task": task,
        "shots": shots,
        "demo_seed": 0,
        "component": component,
        "order": "own",
        "order_seed": 0,
        "ablation": "zero",
        "percent_heads": 0.0,
        "percent_ffns": 0.0,
        "removed_heads": 0,
        "removed_ffns": 0,
        "metric": "acc",
        "value": value,
        "stderr": 0.02,
        "n": 200,
    }
    return {**row, **changed}


def pruning(rng: np.random.Generator, tasks: list[str], shape: Shape) -> Iterator[dict[str, Any]]:
    orders = [("own", 0), ("aggregate", 0), ("signed", 0), ("inverse", 0), *((task, 0) for task in tasks)]
    orders += [(name, draw) for name in ("random", "layer_matched") for draw in range(8)]
    steep = {"own": 6.0, "aggregate": 5.0, "signed": 5.5, "inverse": 0.4, "random": 1.4, "layer_matched": 2.0}
    total = shape.layers * shape.heads
    for task in tasks:
        for shots in (0, 5):
            full = 0.45 + 0.1 * rng.random() + 0.01 * shots
            for order, draw in orders:
                for p in range(0, 100, 10):
                    drop = 0.22 * (p / 100) ** steep.get(order, 3.0) + (rng.normal(0, 0.006) if p else 0)
                    told = {"order": order, "order_seed": draw}
                    if order != task:
                        yield metric(
                            task,
                            shots,
                            "head",
                            full - drop,
                            **told,
                            percent_heads=float(p),
                            removed_heads=p * total // 100,
                        )
                    if order == "own":
                        yield metric(
                            task,
                            shots,
                            "kv_group",
                            full - 1.2 * drop,
                            **told,
                            percent_heads=float(p),
                            removed_heads=p * shape.layers * shape.kv_heads // 100,
                        )
                    if order in ("own", "random"):
                        yield metric(
                            task,
                            shots,
                            "ffn",
                            full - 1.3 * drop,
                            **told,
                            percent_ffns=float(p),
                            removed_ffns=p * shape.layers // 100,
                        )
            for p in range(0, 80, 10):
                for q in range(0, 60, 10):
                    drop = 0.3 * (p / 100) ** 3 + 0.35 * (q / 100) ** 2 + (rng.normal(0, 0.004) if p + q else 0)
                    yield metric(
                        task,
                        shots,
                        "both",
                        full - drop,
                        percent_heads=float(p),
                        percent_ffns=float(q),
                        removed_heads=p * total // 100,
                        removed_ffns=q * shape.layers // 100,
                    )


def screened(rng: np.random.Generator, tasks: list[str]) -> Iterator[Row]:
    """All but the last task pass."""
    for task in tasks:
        passes = task != tasks[-1]
        gain = rng.uniform(0.5, 3.0) if passes else 0.02
        yield row("screen_passes", task, "", 5, "choice", float(passes))
        for contrast, value in (("gain", gain), ("learning", 0.8 * gain), ("format", 0.2 * gain)):
            yield row("screen", task, contrast, 5, "choice", value, interval=(value - 0.2, nan), n=60)
        if not passes:
            yield row("screen_documents", task, "gain", 5, "choice", 4321.0)
        for condition, share in (("none", 0.0), ("few", 1.0), ("shuffled", 0.2)):
            for outcome, start, rise in (("choice", -2.5, gain), ("mass", -7.0, 5.0), ("metric", 0.3, 0.4)):
                yield row("screen_level", task, condition, 5, outcome, start + share * rise)


def asked(rng: np.random.Generator, tasks: list[str]) -> Iterator[Row]:
    """The induction heads matter to choice beyond their controls; by accuracy and at the last position it is open."""
    for way, share in (("mean", 1.0), ("zero", 1.2), ("mean/last", 0.25)):
        for outcome, size in (("choice", 0.8), ("mass", 0.3), ("metric", 0.1)):
            yield from one_set(rng, tasks, "induction heads", f"{outcome}/{way}", size, share)
    yield row("primary_repeats", "full model", "", 0, "repeats/mean", 9.1)
    yield row("primary_repeats", "induction heads", "", 0, "repeats/mean", 2.3)


def one_set(
    rng: np.random.Generator, tasks: list[str], name: str, level: str, size: float, share: float
) -> Iterator[Row]:
    controls = size * rng.normal(0.25, 0.1, 39)
    drop, reach = size * share, 0.25 * size
    key = (name, "group_matched", 5, level)
    beyond = drop - float(controls.mean())
    yield row("primary_drop", *key, drop, interval=(drop - reach, drop + reach), n=len(tasks))
    yield row("primary_beyond", *key, beyond, interval=(beyond - reach, beyond + reach), n=len(tasks))
    yield row("primary_effect", *key, beyond / float(controls.std()), interval=(1.0, 9.0), p=0.001, n=39)
    yield row("primary_rank", *key, 1.0 + float((controls >= drop).sum()), n=39)
    ends = (float(np.quantile(controls, 0.05)), float(np.quantile(controls, 0.95)))
    yield row("primary_controls", *key, float(np.median(controls)), interval=ends, n=39)
    for draw, value in enumerate(controls.tolist()):
        yield row("primary_control", name, f"group_matched/{draw}", 5, level, value, n=len(tasks))
    yield row("primary_equivalence", *key, abs(beyond) + reach, p=0.05, n=len(tasks))
    if beyond - reach < 0:
        yield row("primary_documents", *key, 1234.0, n=len(tasks))
    for which, condition, value in (("full model", "none", -2.5), ("full model", "few", 0.1), (name, "few", -0.7)):
        yield row("primary_level", which, condition, 5, level, value, n=len(tasks))


def removed(tasks: list[str]) -> Iterator[Row]:
    """Heads to 30% and not to 70%, FFNs at no step; the steps between are open."""
    shares = {"head": (30.0, 70.0, 900.0), "ffn": (0.0, 20.0, nan)}
    for component, (shown, refuted, needed) in shares.items():
        key = ("pooled tasks", "own", 5, f"{component}/mean")
        for outcome in ("kept", "choice", "metric"):
            yield row(f"removable_{outcome}", *key, shown, n=len(tasks))
            yield row(f"not_removable_{outcome}", *key, refuted, n=len(tasks))
            if needed == needed:
                yield row(f"deciding_{outcome}", *key, needed, n=240)
        drawn = ("pooled tasks", "random", 5, f"{component}/mean")
        yield row("removable_kept", *drawn, 10.0 * (component == "head"), interval=(0.0, 10.0), n=len(tasks))
    for layer in range(30):
        cost = 3.0 / (1 + layer)
        sure = float(cost < 0.3)
        key = ("pooled tasks", str(layer), 5, "choice/mean")
        yield row("ffn_needed", *key, cost, interval=(cost - 0.1, cost + 0.1), p=sure, p_holm=sure, n=len(tasks))


def ranked() -> Iterator[Row]:
    """The induction heads stand high in their layers."""
    key = ("induction heads", "importance/signed/choice", 5, "within_layer")
    yield row("class_rank", *key, 0.55, interval=(0.4, 0.7), p=0.002, p_holm=0.02, n=13)
    yield row("class_rank_detectable", *key, 0.35, n=13)
    for importance, value in (("signed/choice", 0.3), ("token", 0.1)):
        pair = ("prefix_matching", f"importance/{importance}", 5, "within_layer")
        yield row("induction_importance", *pair, value, interval=(value - 0.1, value + 0.1), p=0.01, n=270)
    exact = ("aggregate", "importance/signed/choice", 5, "knock_out/choice")
    yield row("knock_out_spearman", *exact, 0.94, n=270)
    yield row("knock_out_signs", *exact, 0.88, n=270)


def contested(rng: np.random.Generator) -> Iterator[Row]:
    """Function-vector heads carry more than induction heads at the last position, and no more at all of them."""
    sizes = {"induction": (0.8, 0.1), "function vectors": (0.9, 0.6), "importance": (1.1, 0.5), "random": (0.1, 0.05)}
    for place, positions in enumerate(("all", "last")):
        for outcome, scale in (("choice", 1.0), ("mass", 0.5), ("metric", 0.1)):
            level = f"{outcome}/mean/{positions}/class/kept"
            for arm, drops in sizes.items():
                key, drop = (arm, "all tasks", 5, level), scale * drops[place]
                controls = scale * rng.normal(0.15, 0.05, 39)
                ends = (float(np.quantile(controls, 0.05)), float(np.quantile(controls, 0.95)))
                yield row("contest_drop", *key, drop, interval=(drop - 0.1 * scale, drop + 0.1 * scale), n=5)
                beyond = drop - float(controls.mean())
                yield row("contest_beyond", *key, beyond, interval=(beyond - 0.1, beyond + 0.1), n=5)
                yield row("contest_rank", *key, 1.0, n=39)
                yield row("contest_controls", *key, float(np.median(controls)), interval=ends, n=39)
                if arm != "induction":
                    ahead = scale * (drops[place] - sizes["induction"][place])
                    yield row("contest_ahead", *key, ahead, interval=(ahead - 0.15, ahead + 0.15), n=5)


def comparison(kind: str, a: str, b: str, level: str, value: float, **changed: Any) -> dict[str, Any]:
    row = {
        "kind": kind,
        "a": a,
        "b": b,
        "shots": 5,
        "level": level,
        "value": value,
        "ci_low": value - 0.08,
        "ci_high": value + 0.08,
        "p": 0.001,
        "p_holm": 0.01 if value > 0.4 else 0.2,
        "n": 270,
    }
    return {**row, **changed}


def matrices(rng: np.random.Generator, tasks: list[str]) -> Iterator[dict[str, Any]]:
    for level, centre in (("global", 0.6), ("within_layer", 0.45), ("bansal_released", 0.02)):
        for i, a in enumerate(tasks):
            for b in tasks[i + 1 :]:
                yield comparison("cross_task", a, b, level, centre + 0.15 * rng.normal())
        for task in tasks[:1]:
            for a, b in (("0", "1"), ("0", "5"), ("1", "5")):
                yield comparison("cross_shot", f"{task}@{a}", f"{task}@{b}", level, centre + 0.2, shots=-1)


def overlaps(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for q in range(1, 31):
        pair = ("prefix_matching", "importance/token")
        yield comparison("overlap", *pair, f"q={q}", 0.1 + q / 60 + 0.02 * rng.normal())
        yield comparison("overlap_expected_free", *pair, f"q={q}", q / 100)
        yield comparison("overlap_expected_layer", *pair, f"q={q}", q / 100 + 0.05)


def retentions() -> Iterator[dict[str, Any]]:
    for score, bend in (("prefix_matching", 3.0), ("copying/argmax", 1.2)):
        for p in range(0, 100, 10):
            yield comparison("retention_raw", score, "importance/token", f"p={p}", 1 - (p / 100) ** bend)
            yield comparison("retention_excess", score, "importance/token", f"p={p}", 1 - (p / 100) ** (bend + 1))
