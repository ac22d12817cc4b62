"""What copying costs, beside the plain forward pass, TransformerLens's caches and the paper's loops.

    python benchmarks/copying.py [--model smollm2-135m] [--tokens 893] [--repeats 5]

Everything runs in one process on the same sequence of different tokens. The plain forward is Hugging Face's base model
with sdpa, without logits. TransformerLens caches every layer's pattern and z, from which copying is computed a head at
a time; the paper's loops go over the same caches, query by query, on a shortened case. Peak memories come from a fresh
process each. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from side_by_side import (
    alternate,
    give_back_freed_memory,
    in_fresh_processes,
    in_rounds,
    peak_extra,
    peak_ratio,
    plain_twin,
    ratios,
    row,
    seconds,
)

import induction
import interp
from induction.sequences import RepeatedSequences

SHORT = 100
OURS = ("argmax", "attended", "successor", "signed")


def sequences_of(model: Any, tokens: int, *, repeats: int = 1) -> RepeatedSequences:
    return induction.repeated_sequences(model, length=(tokens - 1) // repeats, repeats=repeats, sequences=1)


def runs_on(model: Any, tokens: int) -> dict[str, Callable[[], Any]]:
    """The plain forward pass, and each variant on its own kind of sequences, without nulls."""
    plain, kinds = plain_twin(model).base_model, {}
    for variant in OURS:
        kinds[variant] = sequences_of(model, tokens, repeats=1 if variant in ("argmax", "attended") else 4)

    def forward() -> None:
        with torch.no_grad():
            plain(kinds["argmax"].tokens, use_cache=False)

    def ours(variant: Any) -> Callable[[], Any]:
        return lambda: induction.copying_score(model, kinds[variant], variant, draws=0)

    return {"plain forward": forward, **{variant: ours(variant) for variant in OURS}}


def cached(bridge: Any, tokens: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Every layer's pattern [head query key] and z [query head d_head], by TransformerLens."""
    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name.endswith(("hook_pattern", "hook_z")))
    layers = range(bridge.cfg.n_layers)
    patterns, z = ([cache[f"blocks.{n}.attn.hook_{what}"][0] for n in layers] for what in ("pattern", "z"))
    heads = bridge.cfg.n_heads
    return patterns, [each.reshape(len(each), heads, -1) for each in z]


def direct_logits(model: Any, z: torch.Tensor, layer: int, head: int, tokens: torch.Tensor) -> torch.Tensor:
    """r = z W_O, the final RMS norm's gain, the unembedding's columns: [query token]."""
    r = z[:, head] @ model.w_o(layer)[head]
    return (r * model.hf.model.norm.weight) @ model.hf.lm_head.weight[tokens].T


def head_by_head(model: Any, bridge: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Argmax copying from TransformerLens's caches, a whole matrix a head."""
    patterns, z = cached(bridge, tokens)
    content = tokens[0, 1:]
    size = torch.arange(1, len(content) + 1)
    past = torch.ones(len(content), len(content)).tril()
    scores = torch.zeros(model.n_layers, model.n_heads)
    for layer in range(model.n_layers):
        for head in range(model.n_heads):
            logits = direct_logits(model, z[layer], layer, head, content)[1:] * past
            rho = ((logits - logits.sum(-1, keepdim=True) / size[:, None]).clamp(min=0) * past).double()
            best = patterns[layer][head, 1:, 1:].argmax(-1)
            scores[layer, head] = (rho.gather(1, best[:, None])[:, 0] / rho.sum(-1)).nan_to_num(0)[1:].mean()
    return scores


def papers_loop(model: Any, patterns: list[torch.Tensor], z: list[torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Query by query, as the definition reads."""
    ids = tokens[0]
    scores = torch.zeros(model.n_layers, model.n_heads)
    for layer in range(model.n_layers):
        for head in range(model.n_heads):
            logits = direct_logits(model, z[layer], layer, head, ids)
            ratios_of_queries = []
            for i in range(2, len(ids)):
                best = max(range(1, i + 1), key=lambda j: float(patterns[layer][head, i, j]))
                rho = (logits[i, 1 : i + 1] - logits[i, 1 : i + 1].mean()).clamp(min=0)
                ratios_of_queries.append(float(rho[best - 1] / rho.sum()) if rho.sum() > 0 else 0.0)
            scores[layer, head] = sum(ratios_of_queries) / len(ratios_of_queries)
    return scores


def shortened(model: Any, bridge: Any) -> dict[str, Any]:
    """The paper's loops on a short sequence, their forward pass with every pattern included, beside ours."""
    sequences = sequences_of(model, SHORT + 1)
    result: list[torch.Tensor] = []

    def loops() -> None:
        result.append(papers_loop(model, *cached(bridge, sequences.tokens), sequences.tokens))

    times = alternate({"paper's loops": loops, "argmax": lambda: induction.copying_score(model, sequences, draws=0)}, 1)
    difference = float((induction.copying_score(model, sequences, draws=0).mean - result[0]).abs().max())
    what = f"copying, argmax, {SHORT + 1} tokens: times as fast as the paper's loops"
    rows = [row(what, in_rounds(times, "paper's loops", "argmax"))]
    return {"tokens": SHORT + 1, "seconds": seconds(times), "largest difference": difference, "rows": rows}


def at_full_length(model: Any, bridge: Any, tokens: int, repeats: int) -> dict[str, Any]:
    """Seconds, ratios to the plain forward pass, and the largest difference to TransformerLens's caches."""
    sequences = sequences_of(model, tokens)
    times = alternate(runs_on(model, tokens), repeats)
    found: list[torch.Tensor] = []
    others = alternate(
        {
            "argmax with its null": lambda: induction.copying_score(model, sequences),
            "TransformerLens, head by head": lambda: found.append(head_by_head(model, bridge, sequences.tokens)),
        },
        1,
    )
    middle = {**seconds(times), **seconds(others)}
    ratio = {name: round(middle[name] / middle["plain forward"], 3) for name in others}
    difference = float((induction.copying_score(model, sequences, draws=0).mean - found[0]).abs().max())
    return {
        "tokens": tokens,
        "seconds": middle,
        "ratios": {**ratios(times, "plain forward"), **ratio},
        "largest difference": difference,
        "rows": [
            row(
                f"copying, {name}, {tokens:,} tokens: times a plain forward pass",
                in_rounds(times, name, "plain forward"),
                limit=1.0,
                peers={"TransformerLens": ratio["TransformerLens, head by head"]} if name == "argmax" else {},
            )
            for name in OURS
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="a model of Llama's shape")
    parser.add_argument("--tokens", type=int, default=893, help="1 + 4 L")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", help="measure the peak memory of this run, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        give_back_freed_memory()
    model = interp.load_model(options.model, check=False)
    if options.peak:
        for run in runs_on(model, 21).values():
            run()
        print(json.dumps({"peak_mb": peak_extra(runs_on(model, options.tokens)[options.peak])}))
        return
    names = ["plain forward", *OURS]
    peaks = in_fresh_processes(__file__, names, ["--model", options.model, "--tokens", str(options.tokens)])
    bridge = model.bridge()
    whole = at_full_length(model, bridge, options.tokens, options.repeats)
    short = shortened(model, bridge)
    peak = {name: peak_ratio(peaks, name) for name in OURS}
    memory = [row(f"copying, {name}: times the peak memory of a plain forward pass", [peak[name]]) for name in OURS]
    print(
        json.dumps(
            {
                "benchmark": "copying",
                "model": options.model,
                "clock": f"CPU seconds, 1 thread, medians of {options.repeats} alternating runs",
                **whole,
                "short": short,
                "peak extra memory, MB": peaks,
                "peak ratios": peak,
                "rows": [*whole["rows"], *short.pop("rows"), *memory],
            }
        )
    )


if __name__ == "__main__":
    main()
