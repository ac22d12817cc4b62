"""Train one model: the next token of every sequence, tokens that can't be known at a tenth of the weight.

1. Every step draws its own sequences, by (seed, step): models of one seed read the same corpus in the same order.
2. Most sequences are short, so that a step holds many different ones; every fourth step has long ones, so that the
   model knows its whole context.
3. AdamW; the learning rate rises over 100 steps and falls in a straight line to a tenth; gradients are clipped at 1.
4. Every `every` steps the model is saved as a folder, and the loss of each part is taken on sequences of its own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy

from small_models.corpus import CONTEXT, PARTS, SHORT, Corpus
from small_models.shapes import Shape
from small_models.words import BOS, word_tokenizer

TOKENS = 3072  # a step
HELD_OUT = 16  # sequences a part
UNKNOWN_WEIGHT = 0.1
WARM_UP = 100
RECIPE, LOSSES = "recipe.json", "losses.csv"
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """What a model is made by. seed: of the corpus, the order of its sequences and the first weights."""

    shape: Shape
    steps: int
    every: int
    seed: int = 0

    @property
    def rate(self) -> float:
        """The highest learning rate: .005 at a width of 64."""
        return 0.04 / self.shape.width**0.5

    def rate_at(self, step: int) -> float:
        return self.rate * min(1.0, (step + 1) / WARM_UP) * max(0.1, 1 - step / self.steps)


def train(recipe: Recipe, folder: Path, *, tell: Callable[[str], None] = print) -> Path:
    """Write `folder/NAME/step-000000`, ... and `losses.csv`; a model made by the same recipe is left as it is.

    What another recipe made there, or an interrupted training, is deleted first.
    """
    home = folder / recipe.shape.name
    if is_made(recipe, home):
        tell(f"{home} is there already")
        return home
    clear(home)
    corpus = Corpus(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = recipe.shape.model(len(corpus.words), corpus.ids[BOS])
    tokenizer = word_tokenizer(corpus.words, some_text(corpus))
    held_out = {part: held_out_batch(corpus, part) for part in PARTS}
    home.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    lines = ["step,part,loss"]
    for step in steps_of(model, recipe, corpus):
        losses = {part: loss_of_known(model, batch) for part, batch in held_out.items()}
        lines += [f"{step},{part},{loss:.4f}" for part, loss in losses.items()]
        (home / LOSSES).write_text("\n".join([*lines, ""]), encoding="utf-8")
        for part in (model, tokenizer):
            part.save_pretrained(home / f"step-{step:06d}")
        told = "  ".join(f"{part} {loss:.2f}" for part, loss in losses.items())
        tell(f"{recipe.shape.name} step {step:>5} of {recipe.steps}: {told}")
    spent = time.process_time() - started
    made = {"recipe": asdict(recipe), "core_seconds": round(spent), "versions": versions()}
    (home / RECIPE).write_text(json.dumps(made, indent=1), encoding="utf-8")
    return home


def is_made(recipe: Recipe, home: Path) -> bool:
    written = home / RECIPE
    return written.is_file() and json.loads(written.read_text(encoding="utf-8"))["recipe"] == asdict(recipe)


def clear(home: Path) -> None:
    """Delete checkpoints, losses and recipe; the recipe first, so that what is left never looks complete."""
    for name in (RECIPE, LOSSES):
        (home / name).unlink(missing_ok=True)
    for checkpoint in home.glob("step-*"):
        shutil.rmtree(checkpoint)


def versions() -> dict[str, str]:
    """Of what decides the last digits."""
    return {"torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__}


def steps_of(model: Any, recipe: Recipe, corpus: Corpus) -> Iterator[int]:
    """Train, and stop at every step that is to be saved: 0, `every`, 2 x `every`, ... and the last."""
    groups = (
        {"params": [weight for weight in model.parameters() if weight.dim() > 1], "weight_decay": 0.1},
        {"params": [weight for weight in model.parameters() if weight.dim() < 2], "weight_decay": 0.0},
    )
    optimizer = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))
    for step in range(recipe.steps + 1):
        if step % recipe.every == 0 or step == recipe.steps:
            yield step
        if step == recipe.steps:
            return
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate_at(step)
        optimizer.zero_grad()
        weighted_loss(model, training_batch(corpus, recipe.seed, step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def training_batch(corpus: Corpus, seed: int, step: int) -> Batch:
    """The sequences of one step."""
    rng = np.random.default_rng([seed, 2, step])
    length = CONTEXT if step % 4 == 0 else SHORT
    parts = rng.choice(list(PARTS), size=TOKENS // length, p=[part.share for part in PARTS.values()])
    return tensors(corpus.sequence(str(part), rng, length=length) for part in parts)


def held_out_batch(corpus: Corpus, part: str) -> Batch:
    """Sequences of one part that no step draws."""
    rng = np.random.default_rng([corpus.seed, 3, list(PARTS).index(part)])
    return tensors(corpus.sequence(part, rng) for _ in range(HELD_OUT))


def tensors(sequences: Iterator[tuple[list[int], list[bool]]]) -> Batch:
    ids, known = zip(*sequences, strict=True)
    return torch.tensor(ids), torch.tensor(known)


def some_text(corpus: Corpus) -> Iterator[int]:
    """Ids of what the first steps read, for the tokenizer's counts."""
    for step in range(50):
        yield from training_batch(corpus, corpus.seed, step)[0].flatten().tolist()


def token_losses(model: Any, ids: Tensor) -> Tensor:
    """Loss of every token but the first, in nats."""
    logits = model(ids).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def weighted_loss(model: Any, batch: Batch) -> Tensor:
    ids, known = batch
    weights = torch.where(known[:, 1:], 1.0, UNKNOWN_WEIGHT)
    return (token_losses(model, ids) * weights).sum() / weights.sum()


@torch.no_grad()
def loss_of_known(model: Any, batch: Batch) -> float:
    """Mean loss of the tokens that can be known."""
    ids, known = batch
    return float(token_losses(model, ids)[known[:, 1:]].mean())
