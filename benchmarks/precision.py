"""What a dtype does to scores, ranks and choices, beside float32 on the same documents: prints a table.

    python benchmarks/precision.py [--model smollm2-135m] [--dtypes bfloat16,float16] [--documents 20] [--write]

1. Head scores: on random repeated tokens; the rank correlation over all heads and the largest move.
2. Importance (`signed`): the rank correlation over all heads.
3. Function-vector effects (`fv`), in nats: the rank correlation and the largest move.
4. `choice` of every document, in nats: the mean and the largest move, and how many documents choose otherwise.
5. CPU seconds of a forward pass on one thread, alternating; the ratio depends on the processor's instructions.

`--write` puts the table into docs/scaling.md, between its marks. `make bench` leaves it out: its page holds ratios of
times, and these are correlations and moves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from side_by_side import alternate, ratios

import ablation
import induction
import interp

SCORES = ("prefix_matching", "previous_token")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- made by benchmarks/precision.py -->", "<!-- end -->"
Measured = dict[str, Any]


def measured(
    model: interp.HookedModel,
    tasks: Sequence[str],
    documents: int,
    *,
    sequences: int,
    length: int,
    functions: Sequence[str],
    queries: int,
) -> Measured:
    """Head scores, importance, function-vector effects and choices of one model."""
    repeated = induction.repeated_sequences(model, sequences=sequences, length=length)
    scored = induction.induction_scores(model, repeated)
    found: Measured = {name: scored.get(name).mean.double().numpy() for name in SCORES}
    held = [ablation.load_task(name, shots=2, limit=documents, split="train") for name in tasks]
    ranked = [ablation.head_importance(model, task, positions="signed").mean for task in held]
    found["importance"] = torch.stack(ranked).mean(0).double().numpy()
    found["fv"] = ablation.function_vectors(model, functions, queries=queries).scores.mean.double().numpy()
    evaluated = [ablation.evaluate(model, task) for task in held]
    found["choice"] = np.concatenate([one.choice for one in evaluated])
    found["chosen"] = np.array([int(np.argmax(row)) for one in evaluated for row in one.log_likelihoods])
    return found


def rows(base: Measured, others: dict[str, Measured], speed: dict[str, float]) -> Iterator[str]:
    """The table, a line a dtype."""
    scores = [f"{name.replace('_', ' ')}: rank, move" for name in SCORES]
    heads = [*scores, "importance: rank", "function vectors, nats: rank, move"]
    yield f"| | {' | '.join(heads)} | choice, nats: mean, largest | choose otherwise | time |"
    yield f"|{'---|' * (len(heads) + 4)}"
    for dtype, other in others.items():
        scores = [f"{rank(base[name], other[name]):.4f}, {moved(base[name], other[name]).max():.4f}" for name in SCORES]
        choice = moved(base["choice"], other["choice"])
        differ = int((base["chosen"] != other["chosen"]).sum())
        cells = [
            *scores,
            f"{rank(base['importance'], other['importance']):.4f}",
            f"{rank(base['fv'], other['fv']):.4f}, {moved(base['fv'], other['fv']).max():.4f}",
            f"{choice.mean():.4f}, {choice.max():.4f}",
            f"{differ} of {choice.size}",
            f"{speed[dtype]:.2f}",
        ]
        yield f"| {dtype} | {' | '.join(cells)} |"


def rank(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient over heads that have both."""
    both = np.isfinite(a) & np.isfinite(b)
    return float(spearmanr(a[both], b[both]).statistic)


def moved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a - b)[np.isfinite(a) & np.isfinite(b)]


def times(models: dict[str, interp.HookedModel], *, tokens: int, repeats: int) -> dict[str, float]:
    """CPU seconds of a forward pass over those of float32."""
    batch = torch.arange(tokens).view(1, -1) % next(iter(models.values())).vocab_size
    with torch.no_grad():
        found = alternate({name: lambda model=model: model.run(batch) for name, model in models.items()}, repeats)
    return ratios(found, "float32")


def main(*given: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtypes", default="bfloat16,float16")
    parser.add_argument("--tasks", default="probe_pattern,probe_capitals,probe_antonyms")
    parser.add_argument("--functions", default="probe_capitals,probe_antonyms", help="tasks of the function vectors")
    parser.add_argument("--queries", type=int, default=15, help="of each of them")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="the table into the page")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    dtypes = ["float32", *asked.dtypes.split(",")]
    models = {dtype: interp.load_model(asked.model, dtype=dtype, device="cpu", check=False) for dtype in dtypes}
    how: dict[str, Any] = {"sequences": asked.sequences, "length": asked.length, "queries": asked.queries}
    how["functions"] = asked.functions.split(",")
    found = {name: measured(model, asked.tasks.split(","), asked.documents, **how) for name, model in models.items()}
    base = found.pop("float32")
    table = "\n".join(rows(base, found, times(models, tokens=asked.tokens, repeats=asked.repeats)))
    print(table)
    if asked.write:
        told = f"{asked.model} beside its float32, {asked.documents} documents a task ({asked.tasks})"
        write(f"{told}; time of a forward pass over float32's:\n\n{table}", asked.page)


def write(made: str, page: Path) -> None:
    """Put it between the page's marks. Raises ValueError where they are not there once."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after:
        raise ValueError(f"{page} has no place between {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
