"""What prefix matching costs, beside the plain forward pass, TransformerLens's patterns and the paper's loops.

    python benchmarks/prefix_matching.py [--model smollm2-135m] [--lengths 223,1000] [--repeats 5]

Everything runs in one process on the same tokens: a sequence of 1 + 4 L tokens (893 and 4,001). The plain forward is
Hugging Face's base model with sdpa, without logits. TransformerLens caches every layer's pattern and is left out where
these would not fit in memory; the paper's loops go over cached patterns, query by query, and are timed on the paper's
shortest case (L = 25). Peak memories come from a fresh process each. The last line is JSON.
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
from induction.positional import DuplicateToken, PreviousToken
from induction.prefix_matching import PrefixMatching
from induction.reading import read
from induction.sequences import RepeatedSequences

SHORT, PATTERN_GB = 25, 2.0


def runs_on(model: Any, sequences: RepeatedSequences) -> dict[str, Callable[[], Any]]:
    """The plain forward pass and ours on the same tokens."""
    plain = plain_twin(model).base_model

    def forward() -> None:
        with torch.no_grad():
            plain(sequences.tokens, use_cache=False)

    def three() -> None:
        read(model, sequences, [PrefixMatching(model), DuplicateToken(model), PreviousToken(model, further=False)])

    return {
        "plain forward": forward,
        "prefix matching": lambda: induction.prefix_matching_score(model, sequences, draws=0),
        "prefix, previous, duplicate": three,
    }


def cached_patterns(bridge: Any, tokens: torch.Tensor) -> torch.Tensor:
    """[layer head query key] of one sequence, by TransformerLens."""
    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens, names_filter=lambda name: name.endswith("hook_pattern"))
    return torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(bridge.cfg.n_layers)])


def papers_loop(patterns: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Over layers, heads, queries and earlier copies, as the definition reads."""
    layers, heads = patterns.shape[:2]
    scores = torch.zeros(layers, heads)
    for layer in range(layers):
        for head in range(heads):
            total, queries = 0.0, 0
            for i in range(1, len(tokens)):
                copies = [p for p in range(1, i) if tokens[p] == tokens[i]]
                total += sum(float(patterns[layer, head, i, p + 1]) for p in copies)
                queries += bool(copies)
            scores[layer, head] = total / queries
    return scores


def fits(model: Any, positions: int) -> bool:
    return model.n_layers * model.n_heads * positions**2 * 4 < PATTERN_GB * 1e9


def at_length(model: Any, bridge: Any, length: int, repeats: int) -> dict[str, Any]:
    """Seconds, ratios and the largest difference to TransformerLens's patterns at one length."""
    sequences = induction.repeated_sequences(model, length=length, sequences=1)
    positions = sequences.tokens.shape[1]
    found: dict[str, Any] = {"tokens": positions}
    times = alternate(runs_on(model, sequences), repeats)
    nulls = alternate({"prefix matching with nulls": lambda: induction.prefix_matching_score(model, sequences)}, 1)
    found["seconds"] = {**seconds(times), **seconds(nulls)}
    found["ratios"] = ratios(times, "plain forward")
    found["ratios"]["prefix matching with nulls"] = round(
        found["seconds"]["prefix matching with nulls"] / found["seconds"]["plain forward"], 3
    )
    if fits(model, positions):
        patterns = cached_patterns(bridge, sequences.tokens)
        queries, keys = sequences.groups[0].targets.prefix_pairs
        wanted = patterns[:, :, queries, keys].sum(-1) / len(queries.unique())
        ours = induction.prefix_matching_score(model, sequences, draws=0).mean
        found["largest difference"] = float((ours - wanted).abs().max())
        del patterns
        name = "TransformerLens patterns"
        found["seconds"] |= seconds(alternate({name: lambda: cached_patterns(bridge, sequences.tokens)}, 1))
        found["ratios"][name] = round(found["seconds"][name] / found["seconds"]["plain forward"], 3)
    peers = {"TransformerLens": found["ratios"][name]} if fits(model, positions) else {}
    found["rows"] = [
        row(
            f"{each}, {positions:,} tokens: times a plain forward pass",
            in_rounds(times, each, "plain forward"),
            limit=1.0,
            peers=peers,
        )
        for each in times
        if each != "plain forward"
    ]
    return found


def shortened(model: Any, bridge: Any) -> dict[str, Any]:
    """The paper's loops on a short sequence, their forward pass with every pattern included, beside ours."""
    sequences = induction.repeated_sequences(model, length=SHORT, sequences=1)
    result: list[torch.Tensor] = []

    def loops() -> None:
        result.append(papers_loop(cached_patterns(bridge, sequences.tokens), sequences.tokens[0].tolist()))

    times = alternate(
        {"paper's loops": loops, "prefix matching": lambda: induction.prefix_matching_score(model, sequences, draws=0)},
        1,
    )
    ours = induction.prefix_matching_score(model, sequences, draws=0).mean
    difference = float((ours - result[0]).abs().max())
    count = sequences.tokens.shape[1]
    what = f"prefix matching, {count} tokens: times as fast as the paper's loops"
    rows = [row(what, in_rounds(times, "paper's loops", "prefix matching"))]
    return {"tokens": count, "seconds": seconds(times), "largest difference": difference, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lengths", default="223,1000", help="L of the sequences; each has 1 + 4 L tokens")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peak", help="measure the peak memory of this run at the longest length, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lengths = [int(length) for length in options.lengths.split(",")]
    if options.peak:
        give_back_freed_memory()
    model = interp.load_model(options.model, check=False)
    if options.peak:
        induction.prefix_matching_score(model, induction.repeated_sequences(model, length=5, sequences=1), draws=0)
        longest = induction.repeated_sequences(model, length=max(lengths), sequences=1)
        print(json.dumps({"peak_mb": peak_extra(runs_on(model, longest)[options.peak])}))
        return
    names = ["plain forward", "prefix matching", "prefix, previous, duplicate"]
    peaks = in_fresh_processes(__file__, names, ["--model", options.model, "--lengths", options.lengths])
    bridge = model.bridge()
    measured = [at_length(model, bridge, length, options.repeats) for length in lengths]
    short = shortened(model, bridge)
    ratio = {name: peak_ratio(peaks, name) for name in names[1:]}
    memory = [row(f"{name}: times the peak memory of a plain forward pass", [value]) for name, value in ratio.items()]
    print(
        json.dumps(
            {
                "benchmark": "prefix matching",
                "model": options.model,
                "clock": f"CPU seconds, 1 thread, medians of {options.repeats} alternating runs",
                "lengths": measured,
                "short": short,
                "peak extra memory, MB": {"tokens": 1 + 4 * max(lengths), **peaks},
                "peak ratios": ratio,
                "rows": [*(one for each in (*measured, short) for one in each.pop("rows")), *memory],
            }
        )
    )


if __name__ == "__main__":
    main()
