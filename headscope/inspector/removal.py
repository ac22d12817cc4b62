"""What changes when heads and FFNs are removed: next tokens, losses, in-context learning (Method 2.6, 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from headscope.inspector.passes import Predictions, PromptPass
from interp.errors import UsageError
from interp.token_display import token_texts

if TYPE_CHECKING:
    from induction import Candidates
    from interp.gating import Reference
    from interp.model import HookedModel

TOP = 10
SEQUENCES, LENGTH, REPEATS = 4, 12, 4
EARLY, LATE, NEEDED = (40, 60), (490, 510), 512
REFERENCES = 8  # training documents of each probe: more than the 64 of Method 3.3


@dataclass(frozen=True)
class NextToken:
    """A candidate for the next token: probability here, and in the other pass.

    bounded: it is not among those kept of the other pass, where its probability is at most that of the last one kept.
    """

    token: str
    p: float
    other: float
    bounded: bool = False


@dataclass(frozen=True)
class LossChange:
    """Means over tokens, in nats, of a part of the prompt, before and after."""

    part: str
    before: float
    after: float


def next_tokens(model: HookedModel, here: Predictions, other: Predictions, query: int) -> list[NextToken]:
    """The ten most likely tokens after position `query`, best first."""
    elsewhere = dict(zip(other.next_ids[query].tolist(), other.next_log_p[query].tolist(), strict=True))
    listed = []
    for token, log_p in zip(here.next_ids[query, :TOP].tolist(), here.next_log_p[query, :TOP].tolist(), strict=True):
        log_other = elsewhere.get(token, float(other.next_log_p[query, -1]))
        text = token_texts(model.tokenizer, [token])[0]
        listed.append(NextToken(text, float(np.exp(log_p)), float(np.exp(log_other)), token not in elsewhere))
    return listed


def loss_changes(before: PromptPass, after: PromptPass) -> list[LossChange]:
    """Of all tokens, and of the parts that the prompt has: first copy and repeats, or demonstrations and answer."""
    tokens = before.tokens
    length = len(tokens.ids)
    parts: dict[str, Sequence[int]] = {"all tokens": range(1, length)}
    if len(tokens.blocks) > 1:
        second = tokens.blocks[1]
        # The first token of the second copy can't be known; its copy comes from there on.
        parts |= {"first copy": range(1, second), "repeats": range(second + 1, length)}
    if tokens.target is not None:
        parts["the answer"] = range(tokens.target, length)
    if length >= NEEDED:
        parts |= {f"tokens {a} to {b}": range(a, b + 1) for a, b in (EARLY, LATE)}
    return [
        LossChange(name, *(mean_loss(read.predicted.losses, places) for read in (before, after)))
        for name, places in parts.items()
        if len(places)
    ]


def mean_loss(losses: Float[np.ndarray, " predicted"], places: Sequence[int]) -> float:
    """Over tokens at these positions; the loss of token t stands at t - 1."""
    return float(losses[np.asarray(places) - 1].mean())


def repeat_score(model: HookedModel, candidates: Candidates) -> float:
    """Loss with an earlier copy in sight minus loss on the first copy, over four random sequences (Method 2.6)."""
    import induction

    length = LENGTH if model.max_length is None else min(LENGTH, (model.max_length - 1) // REPEATS)
    drawn: dict[str, Any] = {"length": length, "repeats": REPEATS, "sequences": SEQUENCES, "candidates": candidates}
    sequences = induction.repeated_sequences(model, **drawn)
    return float(induction.in_context_learning_score(model, sequences).repeat)


def means(model: HookedModel, tell: Callable[[int, int], None]) -> Reference:
    """Mean activations over training documents of the built-in probes, which no prompt here is evaluated on."""
    try:
        from ablation.tasks import PROBES, load_task
    except ImportError as error:
        raise UsageError("Mean ablation needs the task engine: pip install 'headscope[tasks]'") from error
    from ablation.references import mean_of

    documents: list[Any] = []
    for name in PROBES:
        task = load_task(name, shots=2, limit=REFERENCES, split="train")
        documents += list(task.token_documents(model))
    reference: Any = mean_of(model, documents, progress=tell)
    return reference
