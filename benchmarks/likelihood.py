"""The likelihood engine beside lm-evaluation-harness's own HFLM: the same requests, the same weights, one process.

Two sets of requests: documents of about 220 words with four choices of 10 to 24 words, and ReCoRD (real documents where
HEADSCOPE_DATA has them, else synthetic ones of the same shape). HFLM runs at batch sizes 1 and 4, and the better one
counts. Runs are interleaved and repeated, a ratio is taken within each repeat, and the median ratio is reported. The
last line is one JSON object. The limit is tokens: those of all requests over those that have to be run when what begins
alike is run once.

    python benchmarks/likelihood.py [--documents 8] [--record 4] [--repeats 3] [--clock wall|cpu]

`--clock cpu` with OMP_NUM_THREADS=1 is for machines that are busy with something else.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from side_by_side import row, tokens_to_run

import interp

BATCH_SIZES = (1, 4)
Pair = tuple[str, str]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
COMMON = (
    "the of and a to in is was that for it with as his on be at by had not are but from or have an they which one "
    "you were her all she there would their we him been has when who will more no if out so said what up its about "
    "into than them can only other new some could time these two may then do first any my now such like our over "
    "man me even most made after also did many before must through back years where much your way well down should "
    "because each just those people mr how too little state good very make world still own see men work long get "
    "here between both life being under never day same another know while last might us great old year off come "
    "since against go came right used take three city house river water school money letter winter garden market "
    "minister village company morning "
)
WORDS = tuple(COMMON.split())
FIRST, LAST = ("Anna", "Peter", "Maria", "David"), ("Keller", "Moreau", "Lindt")
NAMES = tuple(f"{first} {last}" for first in FIRST for last in LAST)


def text(source: random.Random, low: int, high: int, words: Sequence[str] = WORDS) -> str:
    return " ".join(source.choice(words) for _ in range(source.randint(low, high)))


def four_choices(documents: int, seed: int = 0) -> list[Pair]:
    """Four choices of 10 to 24 words behind 200 to 240 words."""
    source = random.Random(seed)  # noqa: S311
    contexts = [text(source, 200, 240) for _ in range(documents)]
    return [(context, " " + text(source, 10, 24)) for context in contexts for _ in range(4)]


def record(documents: int) -> tuple[list[Pair], str]:
    """ReCoRD's requests, and where they are from."""
    folder = os.environ.get("HEADSCOPE_DATA")
    if folder and (Path(folder) / "record").is_dir():
        from ablation.tasks import load_task

        task = load_task("record", limit=documents, data=folder)
        rows = [zip(document.contexts, document.continuations, strict=True) for document in task.documents]
        return [pair for row in rows for pair in row], "real documents"
    return synthetic_record(documents), "synthetic documents"


def synthetic_record(documents: int, seed: int = 1) -> list[Pair]:
    """About 190 words of passage, then one sentence of about 25 words with each of about 10 names put into it."""
    source = random.Random(seed)  # noqa: S311
    pairs = []
    for _ in range(documents):
        passage = f"{text(source, 160, 220)}\n\n" + "".join(f"  - {text(source, 10, 16)}.\n" for _ in range(3))
        before, after = text(source, 4, 18), text(source, 6, 16)
        names = source.sample(NAMES, source.randint(8, 12))
        pairs += [(passage, f"  - {before} {name} {after}") for name in names]
    return pairs


def loglikelihood(lm: Any, pairs: Sequence[Pair]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    return lm.loglikelihood(requests, disable_tqdm=True)


def engines(model: interp.HookedModel) -> dict[str, Any]:
    """Ours, and HFLM at each batch size on a plain copy of the model."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    from ablation.harness import HeadscopeLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    plain = AutoModelForCausalLM.from_pretrained(
        model.hf.config._name_or_path, dtype=torch.float32, attn_implementation="sdpa"
    )
    peers = {f"HFLM({n})": HFLM(pretrained=plain, tokenizer=model.tokenizer, batch_size=n) for n in BATCH_SIZES}
    return {"headscope": HeadscopeLM(model), **peers}


def most_times_as_fast(tokenizer: Any, pairs: Sequence[Pair]) -> float:
    """How many times as fast nothing but the tokens that have to be run would be."""
    inputs = [tokenizer(context + continuation)["input_ids"][:-1] for context, continuation in pairs]
    return sum(map(len, inputs)) / tokens_to_run(inputs)


def compare(found: dict[str, Any], pairs: Sequence[Pair], repeats: int, clock: Clock) -> dict[str, Any]:
    """Seconds of each engine (median), the median ratio to the better peer, and the largest difference."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    answers: dict[str, list[tuple[float, bool]]] = {}
    for _ in range(repeats):
        for name, lm in found.items():
            start = clock()
            answers[name] = loglikelihood(lm, pairs)
            seconds[name].append(clock() - start)
    ours, *peers = seconds
    ratios = [min(seconds[peer][n] for peer in peers) / seconds[ours][n] for n in range(repeats)]
    differences = [
        abs(mine[0] - theirs[0]) for peer in peers for mine, theirs in zip(answers[ours], answers[peer], strict=True)
    ]
    return {
        "requests": len(pairs),
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "largest_difference": max(differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=8, help="documents of four choices")
    parser.add_argument("--record", type=int, default=4, help="documents of ReCoRD")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    given = parser.parse_args()
    model = interp.load_model(given.model)
    found = engines(model)
    loglikelihood(found["headscope"], four_choices(1))
    pairs, source = record(given.record)
    sets = {"four choices": four_choices(given.documents), f"record ({source})": pairs}
    print(f"{'set':28} {'requests':>8} " + " ".join(f"{name:>11}" for name in found) + "   ratio  largest difference")
    results, rows = {}, []
    for name, requests in sets.items():
        results[name] = one = compare(found, requests, given.repeats, CLOCKS[given.clock])
        times = " ".join(f"{one['seconds'][engine]:>10.2f}s" for engine in found)
        line = f"{name:28} {one['requests']:>8} {times} {one['ratio']:>7.2f}  {one['largest_difference']:.1e}"
        print(line, flush=True)
        most = most_times_as_fast(model.tokenizer, requests)
        rows.append(
            row(f"log-likelihoods, {name}: times as fast as HFLM", one["ratios"], limit=most, peers={"HFLM": 1.0})
        )
    told = {"benchmark": "likelihood", "threads": torch.get_num_threads(), "clock": given.clock, "results": results}
    print(json.dumps({**told, "rows": rows}))


if __name__ == "__main__":
    main()
