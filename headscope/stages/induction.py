"""The induction stage: score a model's heads into a run directory. What `headscope induction` and `study` both call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from headscope.stages.token_counts import mark_of, read_counts
from headscope.store.canonical import digest
from headscope.store.manifest import Stage
from headscope.store.names import ALSO
from headscope.store.writer import open_stage
from interp.errors import HeadscopeError, UsageError
from interp.token_display import counted

if TYPE_CHECKING:
    from headscope.store.units import UnitStore
    from induction import Candidates, InContextLearning, InductionScores, NaturalPrompts, RepeatedSequences
    from interp.model import HookedModel
    from interp.scores import HeadScores

EXAMPLE_LENGTH, EXAMPLE_REPEATS = 12, 4
LOGIT_BUDGET = 1024  # tokens whose logits are held at once
FEWEST_NAMES = 2  # of concept induction: an interval needs two
RANDOM = ("repeated sequences", "unrepeated sequences")


@dataclass(frozen=True)
class Measured:
    """What the induction stage found. further: scores on prompts of their own (`also`)."""

    scores: InductionScores
    in_context: InContextLearning
    protocol: str
    further: tuple[HeadScores, ...] = ()


def stage_of(
    *,
    protocol: str,
    sequences: int | None,
    length: int | None,
    seed: int,
    counts: str | None = None,
    candidates: Candidates | None = None,
) -> Stage:
    """The manifest's entry: everything that must agree for two runs to be the same."""
    from induction.definitions import versions

    options: dict[str, Any] = {
        "protocol": protocol,
        "sequences": sequences,
        "length": length,
        "counts": mark_of(counts),
    }
    options["candidates"] = None if candidates is None else digest(candidates.ids.tolist())[:16]
    held = {name: value for name, value in options.items() if value is not None}
    return Stage("induction", {**held, "definitions": versions()}, seed=seed)


def measure_induction(
    model: HookedModel,
    folder: str | Path,
    *,
    protocol: str = "quick",
    sequences: int | None = None,
    length: int | None = None,
    seed: int = 0,
    counts: str | None = None,
    candidates: Candidates | None = None,
    also: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Score every head and store scores, items, classes and an attention example; finished units are not run again.

    counts: how often tokens occur, `uniform` or a file (token_counts.py). candidates: what to draw from, in place of
    counts. also: `retrieval` and `concept`, scores on prompts of their own. Without a length, sequences that the
    model's context or its candidates can't give are as long as they allow, as are the prompts of `also`, and the
    manifest says so. What the model or its vocabulary can't give is refused before
    anything is written; natural prompts, which a model that reads no English can't have, are left out.
    """
    import induction
    from induction.definitions import SUMMED
    from induction.scoring import unrepeated_for
    from induction.sequences import drawn_from, fitting_length

    options: dict[str, Any] = {"protocol": protocol, "sequences": sequences, "length": length, "seed": seed}
    pool = drawn_from(model, candidates, read_counts(counts))
    fitted = fitting_length(model, protocol, pool, sequences=sequences) if length is None else None  # type: ignore[arg-type]
    drawn = {**options, "length": fitted.length if fitted else length}
    repeated = induction.repeated_sequences(model, **drawn, candidates=pool)
    unrepeated = unrepeated_for(model, repeated)
    natural, unread = natural_of(model, seed)
    further, fitted_prompts = prompts_of(model, also, seed, pool)
    stage = stage_of(**options, counts=counts, candidates=candidates)
    with open_stage(model, folder, stage) as run:
        heads, loss = (None, None) if progress is None else _thirds(progress)
        scored = induction.induction_scores(
            model, repeated, unrepeated, natural=natural, progress=heads, units=run.units
        )
        scored = replace(scored, refused={**scored.refused, **unread})
        in_context = induction.in_context_learning_score(
            model, repeated, token_budget=LOGIT_BUDGET, progress=loss, units=run.units
        )
        refuse_overflow(model, in_context.per_sequence)
        lengths = {group_index: group.length for group in repeated for group_index in group.indices}
        columns = {"length": [lengths[index] for index in sorted(lengths)]}
        for scores in scored.scores:
            run.add_scores(scores, item_columns=columns if read_on(scores) in RANDOM else None)
        own: list[HeadScores] = []
        for name, prompts in further.items():
            for scores in SCORED[name](model, prompts, run.units):
                run.add_scores(scores)
                own.append(scores)
        run.add_classes(scored.heads.classes)
        run.record(
            candidates={"rule": repeated.candidates.rule, "ids": repeated.candidates.ids.tolist()},
            lengths=sorted(set(repeated.lengths)),
            sequences=len(repeated),
            induction_heads_by_threshold={str(at): count for at, count in scored.heads.sweep.items()},
            repeat_score=in_context.repeat,
            refused=scored.refused,
            **({} if fitted is None else {"fitted_length": fitted.length}),
            **({"fitted_prompts": fitted_prompts} if fitted_prompts else {}),
            running_check=SUMMED,
            parameters=sum(weight.numel() for weight in model.hf.parameters()),
        )
        shown = min(EXAMPLE_LENGTH, max(repeated.lengths))
        store_example(run, model, candidates=repeated.candidates, length=shown, seed=seed)
    told = _described(protocol, repeated)
    short = "" if fitted is None else f", as long as {fitted.by}"
    shortened = [f"; {name} fitted to it: {_listed(sizes)}" for name, sizes in fitted_prompts.items()]
    return Measured(scored, in_context, "".join([told, short, *shortened]), tuple(own))


def refuse_overflow(model: HookedModel, losses: Float[Tensor, " sequence"]) -> None:
    """A loss that is no number: the sequences broke the model, and scores read on them mean nothing."""
    from interp.overflow import ADVICE, dtype_of

    broken = (~losses.isfinite()).nonzero().flatten().tolist()
    if broken:
        raise HeadscopeError(
            f"the loss on random sequence {broken[0]} is no finite number ({len(broken)} of {len(losses)} are not): "
            f"the model overflows {dtype_of(model)}. {ADVICE}"
        )


def natural_of(model: HookedModel, seed: int) -> tuple[NaturalPrompts | None, dict[str, str]]:
    """Natural prompts; None, and why, for a model that reads no English: its other scores are there all the same."""
    import induction

    try:
        return induction.natural_prompts(model, seed=seed), {}
    except UsageError as error:
        return None, {"sink on natural prompts": str(error)}


def read_on(scores: Any) -> str:
    """What a score was read on, by the list of definitions."""
    from induction.definitions import definition

    return definition(scores.name, scores.variant).reads


def check_also(also: Sequence[str]) -> None:
    """Raises UsageError for an unknown kind of scores."""
    if unknown := [name for name in also if name not in ALSO]:
        raise UsageError(f"{unknown[0]!r} is no further kind of scores; there are {', '.join(ALSO)} (--also)")


def prompts_of(
    model: HookedModel, also: Sequence[str], seed: int, candidates: Candidates
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The prompts of the further scores, and what of their sizes had to be fitted to the model.

    Raises UsageError for unknown scores, and for a model that can't have them.
    """
    import induction

    check_also(also)
    made: dict[str, Callable[..., Any]] = {
        "retrieval": partial(induction.needle_prompts, model, seed=seed),
        "concept": partial(induction.entity_prompts, model, seed=seed, candidates=candidates),
    }
    sizes = {}
    for name in dict.fromkeys(also):
        try:
            sizes[name] = needle_sizes(model) if name == "retrieval" else entity_sizes(model, candidates)
        except UsageError as error:
            raise UsageError(f"{error}: leave {name} out (--also)") from error
    return {name: made[name](**fitted) for name, fitted in sizes.items()}, {name: f for name, f in sizes.items() if f}


def needle_sizes(model: HookedModel) -> dict[str, Any]:
    """The lengths of needle prompts that this model's context allows, where the protocol's are not among them."""
    from induction.needles import LENGTHS, fewest_tokens, fitting_lengths, longest_prompt

    lengths = fitting_lengths(model)
    if not lengths:
        raise UsageError(
            f"retrieval needs prompts of {fewest_tokens(model)} tokens or more under this model's tokenizer, and its "
            f"context of {model.max_length} holds {longest_prompt(model)}"
        )
    return {} if lengths == LENGTHS else {"lengths": lengths}


def entity_sizes(model: HookedModel, candidates: Candidates) -> dict[str, Any]:
    """Length and number of entity prompts, where context, names or candidates do not allow the protocol's."""
    from induction.entities import LENGTH, LONGEST, PROMPTS, fitting
    from interp.tokenizer import tokenizer_of

    tokenizer_of(model, "the names of concept induction")
    fitted = fitting(model, candidates=candidates)
    if fitted["length"] <= LONGEST or fitted["prompts"] < FEWEST_NAMES:
        raise UsageError(
            f"concept induction needs {FEWEST_NAMES} names of few tokens, a context and candidates for {LONGEST + 1} "
            f"tokens twice, and this model allows {fitted['prompts']} names and {max(0, fitted['length'])} tokens"
        )
    wanted = {"length": LENGTH, "prompts": PROMPTS}
    return {name: fitted[name] for name in wanted if fitted[name] != wanted[name]}


def _listed(sizes: Mapping[str, Any]) -> str:
    """lengths 256, 400"""
    shown = {name: value if isinstance(value, tuple) else (value,) for name, value in sizes.items()}
    return ", ".join(f"{name} {' and '.join(map(str, value))}" for name, value in shown.items())


def _retrieval(model: HookedModel, prompts: Any, units: UnitStore) -> tuple[HeadScores, ...]:
    import induction

    return induction.retrieval_scores(model, prompts, units=units)


def _concept(model: HookedModel, prompts: Any, units: UnitStore) -> tuple[HeadScores, ...]:
    import induction

    return induction.concept_scores(model, prompts, units=units)


SCORED: dict[str, Callable[[Any, Any, Any], tuple[HeadScores, ...]]] = {"retrieval": _retrieval, "concept": _concept}


def store_example(
    run: Any, model: HookedModel, *, candidates: Candidates, seed: int, length: int = EXAMPLE_LENGTH
) -> None:
    """Every head's attention on one short repeated sequence, in 8 bits, for the report's head cards."""
    import torch

    import induction
    from headscope.store.attention_example import quantise
    from interp.hooks import dense_pattern
    from interp.overflow import checked_attention
    from interp.token_display import token_texts

    drawn: dict[str, Any] = {"length": length, "repeats": EXAMPLE_REPEATS, "seed": seed, "candidates": candidates}
    group = next(iter(induction.repeated_sequences(model, sequences=1, **drawn)))
    positions = group.tokens.shape[1]
    patterns = torch.zeros(model.n_layers, model.n_heads, positions, positions, dtype=torch.uint8)

    def keep(layer: int, rows: Any) -> None:
        patterns[layer] = quantise(dense_pattern(rows)[0]).cpu()

    with torch.no_grad(), checked_attention(model, group.tokens, keep, names=["the stored example"]):
        model.run(group.tokens)
    texts = [token_texts(model.tokenizer, [token])[0] for token in group.tokens[0].tolist()]
    blocks = [1 + repeat * group.block for repeat in range(group.repeats)]
    run.store_attention_example(texts, patterns, blocks=blocks)


def _thirds(progress: Callable[[int, int], None]) -> tuple[Callable[[int, int], None], Callable[[int, int], None]]:
    """Two passes of three score heads; the last one, with logits, is the in-context-learning score's."""
    return lambda done, total: progress(2 * done, 3 * total), lambda done, total: progress(2 * total + done, 3 * total)


def _described(protocol: str, sequences: RepeatedSequences) -> str:
    lengths = sequences.lengths
    span = f"{lengths[0]}" if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)}"
    return f"protocol {protocol}: {counted(len(sequences), 'sequence')}, L = {span}, {sequences.repeats} repeats"
