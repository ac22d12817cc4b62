"""The induction stage: score a model's heads into a run directory. What `headscope induction` and `study` both call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.store.manifest import Stage
from headscope.store.writer import begin_stage

if TYPE_CHECKING:
    from induction import InContextLearning, InductionScores, RepeatedSequences
    from interp.model import HookedModel

EXAMPLE_LENGTH, EXAMPLE_REPEATS = 12, 4
LOGIT_BUDGET = 1024  # tokens whose logits are held at once


@dataclass(frozen=True)
class Measured:
    """What the induction stage found."""

    scores: InductionScores
    in_context: InContextLearning
    protocol: str


def stage_of(*, protocol: str, sequences: int | None, length: int | None, seed: int) -> Stage:
    """The manifest's entry: everything that must agree for two runs to be the same."""
    options = {"protocol": protocol, "sequences": sequences, "length": length}
    return Stage("induction", {name: value for name, value in options.items() if value is not None}, seed=seed)


def measure_induction(
    model: HookedModel,
    folder: str | Path,
    *,
    protocol: str = "quick",
    sequences: int | None = None,
    length: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Score every head and store scores, items, classes and an attention example; finished units are not run again.

    What the model or its vocabulary can't give is refused before anything is written.
    """
    import induction
    from induction.scoring import unrepeated_for

    options: dict[str, Any] = {"protocol": protocol, "sequences": sequences, "length": length, "seed": seed}
    repeated = induction.repeated_sequences(model, **options)
    unrepeated = unrepeated_for(model, repeated)
    stage = stage_of(protocol=protocol, sequences=sequences, length=length, seed=seed)
    identity = {name: value for name, value in model.identity().items() if name != "versions"}
    with begin_stage(folder, identity, stage) as run:
        heads, loss = (None, None) if progress is None else _thirds(progress)
        scored = induction.induction_scores(model, repeated, unrepeated, progress=heads, units=run.units)
        in_context = induction.in_context_learning_score(
            model, repeated, token_budget=LOGIT_BUDGET, progress=loss, units=run.units
        )
        lengths = {group_index: group.length for group in repeated for group_index in group.indices}
        columns = {"length": [lengths[index] for index in sorted(lengths)]}
        for scores in scored.scores:
            run.add_scores(scores, item_columns=columns if scores.n == len(repeated) else None)
        run.add_classes(scored.heads.classes)
        run.record(
            candidates={"rule": repeated.candidates.rule, "ids": repeated.candidates.ids.tolist()},
            lengths=sorted(set(repeated.lengths)),
            sequences=len(repeated),
            induction_heads_by_threshold={str(at): count for at, count in scored.heads.sweep.items()},
            repeat_score=in_context.repeat,
            refused=scored.refused,
            parameters=sum(weight.numel() for weight in model.hf.parameters()),
        )
        store_example(run, model, length=min(EXAMPLE_LENGTH, max(repeated.lengths)), seed=seed)
    return Measured(scored, in_context, _described(protocol, repeated))


def store_example(run: Any, model: HookedModel, *, seed: int, length: int = EXAMPLE_LENGTH) -> None:
    """Every head's attention on one short repeated sequence, in 8 bits, for the report's head cards."""
    import torch

    import induction
    from interp.hooks import dense_pattern

    group = next(
        iter(induction.repeated_sequences(model, length=length, repeats=EXAMPLE_REPEATS, sequences=1, seed=seed))
    )
    positions = group.tokens.shape[1]
    patterns = torch.zeros(model.n_layers, model.n_heads, positions, positions, dtype=torch.uint8)

    def keep(layer: int, rows: Any) -> None:
        patterns[layer] = (dense_pattern(rows)[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu()

    with torch.no_grad(), model.watch_attention(keep):
        model.run(group.tokens)
    texts = [model.tokenizer.decode([token]) for token in group.tokens[0].tolist()]
    blocks = [1 + repeat * group.block for repeat in range(group.repeats)]
    run.store_attention_example(texts, patterns, blocks=blocks)


def _thirds(progress: Callable[[int, int], None]) -> tuple[Callable[[int, int], None], Callable[[int, int], None]]:
    """Two passes of three score heads; the last one, with logits, is the in-context-learning score's."""
    return lambda done, total: progress(2 * done, 3 * total), lambda done, total: progress(2 * total + done, 3 * total)


def _described(protocol: str, sequences: RepeatedSequences) -> str:
    lengths = sequences.lengths
    span = f"{lengths[0]}" if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)}"
    return f"protocol {protocol}: {len(sequences)} sequences, L = {span}, {sequences.repeats} repeats"
