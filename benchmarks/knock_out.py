"""Knock-out of every FFN and of every head, beside lm-evaluation-harness's HFLM run once a component.

Both score the same 4-choice documents (about 220 words, choices of 10 to 24 words), as token ids, with the same weights
and the same gates, in one process. HFLM's time does not depend on which component is gated, so it is run for a few of
them, at batch sizes 1 and 4, and the better one is multiplied; ours is run for all components, `--repeats` times. The
limit is tokens: those that HFLM runs, over those that have to be run (beginnings that requests share once, and each
removal from its own block on). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from side_by_side import row, tokens_to_run

import interp
from ablation.knock_out import knock_out
from ablation.tasks.tokens import TokenDocument

COMMON = "the of a to in is that river stone light house water under small winter morning people walked through village"
LONGER = "lanterns thunderstorm shipwrights embroidered unremarkable marketplace cobblestones beekeeper granary"
WORDS = [*COMMON.split(), *LONGER.split()]  # 1.3 tokens a word, as in the tasks


def documents(tokenizer: Any, n: int, *, words: int, seed: int = 0) -> list[TokenDocument]:
    """Random prose of common words; contexts and choices of the lengths that tasks have."""
    draw = random.Random(seed)  # noqa: S311
    made = []
    for number in range(n):
        context = tuple(tokenizer(" ".join(draw.choices(WORDS, k=words)))["input_ids"])
        choices = [" " + " ".join(draw.choices(WORDS, k=draw.randint(10, 24))) for _ in range(4)]
        ids = tuple(tuple(tokenizer(choice)["input_ids"]) for choice in choices)
        name = f"document/{number}"
        made.append(TokenDocument(name, name, name, (context,) * 4, ids, number % 4, 0, 0))
    return made


def harness(model: Any, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=batch_size, backend="causal")


def run_harness(lm: Any, docs: list[TokenDocument]) -> np.ndarray:
    requests = [(("", ""), list(c), list(y)) for d in docs for c, y in zip(d.contexts, d.choices, strict=True)]
    return np.array([value for value, _ in lm._loglikelihood_tokens(requests, disable_tqdm=True)])


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and processor seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def peer(model: Any, docs: list[TokenDocument], gates: list[dict[str, Any]]) -> dict[str, Any]:
    """HFLM's seconds a component at its better batch size, and its log-likelihoods under each of the gates."""
    found: dict[str, Any] = {"wall": {}, "cpu": {}, "scores": []}
    model.hf.set_attn_implementation("sdpa")
    try:
        for size in (1, 4):
            score = partial(run_harness, harness(model, size), docs)
            runs = []
            for gate in gates:
                with model.gates(**gate):
                    runs.append(timed(score))
            found["wall"][size] = min(wall for wall, _, _ in runs)
            found["cpu"][size] = min(cpu for _, cpu, _ in runs)
            found["scores"] = [scores for _, _, scores in runs]
    finally:
        model.hf.set_attn_implementation("headscope")
    return found


def most_times_as_fast(model: Any, docs: list[TokenDocument], removals: Sequence[Any]) -> float:
    """How many times as fast as the loop nothing but the tokens that have to be run would be."""
    inputs = [(*c, *y[:-1]) for document in docs for c, y in zip(document.contexts, document.choices, strict=True)]
    passes = 1 + sum(1 - one.layer / model.n_layers for one in removals)  # the whole model's first
    return len(removals) * sum(map(len, inputs)) / (passes * tokens_to_run(inputs))


def compare(model: Any, docs: list[TokenDocument], component: str, *, sampled: int, repeats: int = 1) -> dict[str, Any]:
    options = {"component": component, "positions": ["all"], "limit": len(docs)}
    runs = [timed(lambda: knock_out(model, docs, **options)) for _ in range(repeats)]
    wall, cpu, ours = min(runs, key=lambda run: run[0])
    chosen = np.linspace(0, len(ours.removals) - 1, sampled).round().astype(int)
    gates = [gate_of(model, ours.removals[n]) for n in chosen]
    theirs = peer(model, docs, gates)
    count = len(ours.removals)
    difference = max(np.abs(ours.removed[n] - scores).max() for n, scores in zip(chosen, theirs["scores"], strict=True))
    best = min(theirs["wall"].values()) * count
    print(f"{component}: {count} removals {wall:.1f} s; HFLM {best:.1f} s ({sampled} runs, times {count})", flush=True)
    return {
        "removals": count,
        "seconds": round(wall, 2),
        "hflm_seconds": {size: round(value * count, 2) for size, value in theirs["wall"].items()},
        "ratio": round(best / wall, 2),
        "ratio_processor_time": round(min(theirs["cpu"].values()) * count / cpu, 2),
        "largest_difference": float(difference),
        "rows": [
            row(
                f"knock-out of every {component.upper() if component == 'ffn' else component}: times as fast as HFLM",
                [best / seconds for seconds, _, _ in runs],
                limit=most_times_as_fast(model, docs, ours.removals),
                peers={"HFLM": 1.0},
            )
        ],
    }


def gate_of(model: Any, removal: Any) -> dict[str, Any]:
    if removal.head is None:
        return {"ffns": interp.FFNMask.keep_all(model.n_layers).without([removal.layer])}
    return {"heads": interp.HeadMask.keep_all(model.n_layers, model.n_heads).without([(removal.layer, removal.head)])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--words", type=int, default=220, help="words a context")
    parser.add_argument("--sampled", type=int, default=3, help="components HFLM is run for")
    parser.add_argument("--components", default="ffn,head")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model = interp.load_model(arguments.model)
    docs = documents(model.tokenizer, arguments.documents, words=arguments.words)
    knock_out(model, docs[:1], component="ffn", layers=[model.n_layers - 1])  # what is found out once a model
    result: dict[str, Any] = {
        "benchmark": "knock_out",
        "model": arguments.model,
        "threads": torch.get_num_threads(),
        "documents": len(docs),
        "tokens_a_request": round(float(np.mean([len(d.context) + len(d.target) for d in docs])), 1),
    }
    how = {"sampled": arguments.sampled, "repeats": arguments.repeats}
    for component in arguments.components.split(","):
        result[component] = compare(model, docs, component, **how)
    result["rows"] = [one for component in arguments.components.split(",") for one in result[component].pop("rows")]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
