"""What patching every head of a prompt costs, beside its plain forward pass, the plain loop and TransformerLens.

    python benchmarks/patching.py [--model smollm2-135m] [--tokens 100] [--choices 1] [--repeats 5]

Every head's z at the last position is replaced by a given value, and the log-probabilities of four answers are read:
what function-vector effects of one prompt take, of one mean and one-token answers (Method 3.5; `headscope vectors` puts
two means in, with right labels and with wrong ones, and longer answers take more: `--choices`). One process, the same
tokens and values. The plain forward is Hugging Face's model with sdpa, with all its logits and with the last position's
only. A loop pays a forward pass a head, whichever head it is: it is run for a few heads of all depths and multiplied;
their log-probabilities are compared with ours. `choices` is the answers' length in tokens.
The limit is tokens: the prompt once, and for each head those from the patched position on, from its own block on. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from side_by_side import alternate, in_rounds, plain_twin, ratios, row, seconds

import interp
from interp.patched_rows import every_head, prepare
from interp.scored_paths import ScoredPaths

ANSWERS = 4


def answers_of(model: Any, length: int) -> list[tuple[int, ...]]:
    """Answers that share no token: of `length` tokens each."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randperm(model.vocab_size, generator=generator)[: ANSWERS * length]
    return [tuple(row) for row in ids.view(ANSWERS, length).tolist()]


def log_likelihoods(logits: torch.Tensor, start: int, answers: Sequence[Sequence[int]]) -> torch.Tensor:
    """From logits of one row an answer."""
    found = logits[:, start:].double().log_softmax(-1)
    return torch.stack([found[row, range(len(ids)), list(ids)].sum() for row, ids in enumerate(answers)])


def loop(model: Any, context: list[int], answers: Sequence[Sequence[int]], values: Any, heads: Any) -> torch.Tensor:
    """One whole run a head, by a plain PyTorch hook on the output projection."""
    rows = torch.tensor([[*context, *ids[:-1]] for ids in answers])
    last, width, found = len(context) - 1, model.d_value, []
    rows = rows if len(answers[0]) > 1 else rows[:1]
    for layer, head in heads:

        def put(module: Any, args: Any, layer: int = layer, head: int = head) -> Any:
            z = args[0].clone()
            z[:, last, head * width : (head + 1) * width] = values[layer, head, 0]
            return (z, *args[1:])

        handle = model.o_module(layer).register_forward_pre_hook(put)
        with torch.no_grad():
            logits = model(rows).expand(ANSWERS, -1, -1)
        handle.remove()
        found.append(log_likelihoods(logits, last, answers))
    return torch.stack(found)


def lens(bridge: Any, context: list[int], answers: Sequence[Sequence[int]], values: Any, heads: Any) -> torch.Tensor:
    """One run_with_hooks a head, in TransformerLens."""
    rows = torch.tensor([[*context, *ids[:-1]] for ids in answers])
    rows = rows if len(answers[0]) > 1 else rows[:1]
    last, found = len(context) - 1, []
    for layer, head in heads:

        def put(z: Any, hook: Any, layer: int = layer, head: int = head) -> Any:
            z = z.clone()
            z[:, last, head] = values[layer, head, 0]
            return z

        with torch.no_grad():
            logits = bridge.run_with_hooks(rows, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", put)])
        found.append(log_likelihoods(logits.expand(ANSWERS, -1, -1), last, answers))
    return torch.stack(found)


def least_passes(model: Any, tokens: int, choices: int, heads: Sequence[tuple[int, int]]) -> float:
    """Forward passes of the prompt that nothing but the tokens that have to be run would be."""
    row_tokens = 1 + ANSWERS * (choices - 1)  # the patched position, and the answers' tokens behind it
    return 1 + sum(1 - layer / model.n_layers for layer, _ in heads) * row_tokens / tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--choices", type=int, default=1, help="tokens an answer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sampled", type=int, default=5, help="heads that the loops are run for")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = interp.load_model(arguments.model)
    generator = torch.Generator().manual_seed(0)
    context = torch.randint(model.vocab_size, (arguments.tokens,), generator=generator).tolist()
    answers = answers_of(model, arguments.choices)
    values = torch.randn(model.n_layers, model.n_heads, 1, model.d_value, generator=generator)
    every = [(layer, head) for layer in model.attention_layers for head in range(model.n_heads)]
    picked = torch.linspace(0, len(every) - 1, arguments.sampled).round().long().tolist()
    heads = [every[n] for n in picked]
    scored, patches = ScoredPaths.of_choices(context, answers), every_head(values, model.attention_layers)
    plain, bridge = plain_twin(model), model.bridge()
    tokens = torch.tensor([context])

    def forward(**options: Any) -> None:
        with torch.no_grad():
            plain(tokens, use_cache=False, **options)

    def ours() -> torch.Tensor:
        return prepare(model, scored, [len(context) - 1]).run(patches)

    runs: dict[str, Callable[[], Any]] = {
        "plain forward": forward,
        "plain forward, last logits": lambda: forward(logits_to_keep=1),
        "every head": ours,
        "loop, sampled": lambda: loop(model, context, answers, values, heads),
        "TransformerLens, sampled": lambda: lens(bridge, context, answers, values, heads),
    }
    times = alternate(runs, arguments.repeats)
    share = len(every) / len(heads)
    for name in ("loop", "TransformerLens"):
        times[name] = [value * share for value in times.pop(f"{name}, sampled")]
    found = ours()[picked]
    differences = {
        "loop": float((found - loop(model, context, answers, values, heads)).abs().max()),
        "TransformerLens": float((found - lens(bridge, context, answers, values, heads)).abs().max()),
    }
    result = {
        "benchmark": "patching",
        "model": arguments.model,
        "heads": len(every),
        "tokens": arguments.tokens,
        "answer_tokens": arguments.choices,
        "route": str(prepare(model, scored, [len(context) - 1]).route),
        "cpu_seconds": seconds(times),
        "times_the_plain_forward": ratios(times, "plain forward"),
        "largest_difference": differences,
        "rows": [
            row(
                f"patching of {len(every)} heads, {arguments.tokens} tokens, answers of {arguments.choices}: times a "
                "plain forward pass",
                in_rounds(times, "every head", "plain forward"),
                limit=least_passes(model, arguments.tokens, arguments.choices, every),
                peers={name: ratios(times, "plain forward")[name] for name in ("TransformerLens", "loop")},
            )
        ],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
