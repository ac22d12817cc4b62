"""Gradient importance beside what it can't do without, and beside the paper's way, on the same tokens.

(a) plain: Hugging Face's sdpa, a forward pass with logits at target positions and a backward pass to the embedding's
output, parameters frozen, nothing read; `plain_full_logits` the same with every logit.
(b) paper: all parameters get gradients, eager attention, every logit, z kept with its gradient.
All in one process, turn by turn; the last line is JSON.

    python benchmarks/importance.py [--model smollm2-135m] [--documents 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from side_by_side import alternate, in_rounds, ratios, row, seconds
from torch import nn

import interp
from ablation.batch_sizes import GRADIENT_TOKENS
from ablation.gold import GoldBatch, gold_batches
from ablation.importance import document_losses, importance
from ablation.tasks.tokens import TokenDocument
from interp.hooks import trace_embedding


def documents(model: Any, n: int, *, length: int, target: int, seed: int = 0) -> list[TokenDocument]:
    """Random ids; prompts between half of `length` and `length` tokens."""
    draw = random.Random(seed)  # noqa: S311

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(100, model.vocab_size - 100), k=count))

    made = []
    for number in range(n):
        context, name = ids(draw.randint(length // 2, length)), f"document/{number}"
        made.append(TokenDocument(name, name, name, (context,), (ids(target),), 0, 0, 0))
    return made


def plain(model: Any, batches: list[GoldBatch]) -> None:
    """Forward and activation-only backward; nothing else."""
    handle = trace_embedding(model.hf.get_submodule(model.layout.embed))
    for batch in batches:
        with torch.enable_grad():
            document_losses(model, batch).sum().backward()
    handle.remove()


def plain_full_logits(model: Any, batches: list[GoldBatch]) -> None:
    handle = trace_embedding(model.hf.get_submodule(model.layout.embed))
    for batch in batches:
        with torch.enable_grad():
            full_loss(model, batch).backward()
    handle.remove()


def full_loss(model: Any, batch: GoldBatch) -> torch.Tensor:
    logits = model.hf(input_ids=batch.tokens, use_cache=False).logits
    weights = 1 / batch.target_lengths[batch.rows]
    found = nn.functional.cross_entropy(logits[batch.rows, batch.positions], batch.targets, reduction="none")
    return (found * weights).sum()


def paper(model: Any, batches: list[GoldBatch]) -> torch.Tensor:
    """The paper's way: gradients for every parameter on the way to those of z."""
    total = torch.zeros(model.n_layers, model.n_heads)
    for batch in batches:
        kept: list[torch.Tensor] = []

        def keep(module: nn.Module, args: tuple[Any, ...], kept: list[torch.Tensor] = kept) -> None:
            args[0].retain_grad()
            kept.append(args[0])

        handles = [model.o_module(layer).register_forward_pre_hook(keep) for layer in range(model.n_layers)]
        with torch.enable_grad():
            full_loss(model, batch).backward()
        for handle in handles:
            handle.remove()
        for layer, z in enumerate(kept):
            dots = (z.detach() * z.grad).unflatten(-1, (model.n_heads, -1)).sum(-1)
            total[layer] += dots.abs().sum((0, 1))
        model.hf.zero_grad()
    return total


@contextmanager
def attention(model: Any, name: str, *, trainable: bool = False) -> Any:
    model.hf.set_attn_implementation(name)
    model.hf.requires_grad_(trainable)
    try:
        yield
    finally:
        model.hf.set_attn_implementation("headscope")
        model.hf.requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--target", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = interp.load_model(arguments.model, check=False)
    docs = documents(model, arguments.documents, length=arguments.length, target=arguments.target)
    batches = list(gold_batches(docs, tokens=GRADIENT_TOKENS))
    calls: dict[str, tuple[str, bool, Callable[[], Any]]] = {
        "ours": ("headscope", False, lambda: importance(model, docs)),
        "plain": ("sdpa", False, lambda: plain(model, batches)),
        "plain, every logit": ("sdpa", False, lambda: plain_full_logits(model, batches)),
        "paper": ("eager", True, lambda: paper(model, batches)),
    }
    results: dict[str, Any] = {}

    def run(name: str) -> None:
        kind, trainable, call = calls[name]
        with attention(model, kind, trainable=trainable):
            results[name] = call()

    times = alternate({name: partial(run, name) for name in calls}, arguments.rounds)
    ours, theirs = results["ours"].head_token.sum(0), results["paper"]
    print(
        json.dumps(
            {
                "benchmark": "importance",
                "model": arguments.model,
                "clock": f"CPU seconds, 1 thread, medians of {arguments.rounds} alternating runs",
                "documents": len(docs),
                "tokens": sum(batch.tokens.numel() for batch in batches),
                "seconds": seconds(times),
                "ours over plain": ratios(times, "plain")["ours"],
                "paper over ours": ratios(times, "ours")["paper"],
                "largest relative difference": float((ours - theirs).abs().max() / theirs.abs().max()),
                "rows": [
                    row(
                        "importance: times a plain forward and backward pass",
                        in_rounds(times, "ours", "plain"),
                        limit=1.0,
                        peers={"the paper's way": ratios(times, "plain")["paper"]},
                    )
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
