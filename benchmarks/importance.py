"""Gradient importance beside what it can't do without, and beside the paper's way, on the same tokens.

(a) plain: Hugging Face's sdpa, a forward pass with logits at target positions and a backward pass to the embedding's
output, parameters frozen, nothing read; `plain_full_logits` the same with every logit.
(b) paper: all parameters get gradients, eager attention, every logit, z kept with its gradient.
All in one process, turn by turn, each at its best; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

import interp
from ablation.gold import GoldBatch, gold_batches
from ablation.importance import BATCH_TOKENS, document_losses, importance
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


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and processor seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--target", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = interp.load_model(arguments.model)
    docs = documents(model, arguments.documents, length=arguments.length, target=arguments.target)
    batches = list(gold_batches(docs, tokens=BATCH_TOKENS))
    calls: dict[str, tuple[str, bool, Callable[[], Any]]] = {
        "ours": ("headscope", False, lambda: importance(model, docs)),
        "plain": ("sdpa", False, lambda: plain(model, batches)),
        "plain_full_logits": ("sdpa", False, lambda: plain_full_logits(model, batches)),
        "paper": ("eager", True, lambda: paper(model, batches)),
    }
    wall, cpu, results = dict.fromkeys(calls, torch.inf), dict.fromkeys(calls, torch.inf), {}
    for _ in range(arguments.rounds):
        for name, (kind, trainable, call) in calls.items():
            with attention(model, kind, trainable=trainable):
                seconds, processor, results[name] = timed(call)
            wall[name], cpu[name] = min(wall[name], seconds), min(cpu[name], processor)
            print(f"{name}: {seconds:.2f} s", flush=True)
    ours, theirs = results["ours"].head_token.sum(0), results["paper"]
    print(json.dumps({
        "benchmark": "importance",
        "model": arguments.model,
        "threads": torch.get_num_threads(),
        "documents": len(docs),
        "tokens": sum(batch.tokens.numel() for batch in batches),
        "seconds": {name: round(value, 3) for name, value in wall.items()},
        "processor_seconds": {name: round(value, 3) for name, value in cpu.items()},
        "ours_over_plain": round(wall["ours"] / wall["plain"], 3),
        "ours_over_plain_processor_time": round(cpu["ours"] / cpu["plain"], 3),
        "paper_over_ours": round(wall["paper"] / wall["ours"], 3),
        "paper_over_ours_processor_time": round(cpu["paper"] / cpu["ours"], 3),
        "largest_relative_difference": float((ours - theirs).abs().max() / theirs.abs().max()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
