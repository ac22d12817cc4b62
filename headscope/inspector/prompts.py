"""From the prompt that was asked for to tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headscope.inspector.asked import Prompt
from interp.errors import UsageError
from interp.token_display import counted, token_texts
from interp.tokenizer import read_text, tokenizer_of

if TYPE_CHECKING:
    from ablation.tasks import Task
    from induction import Candidates
    from interp.model import HookedModel

TOKENS = 1024
ROWS = 256 << 20  # bytes of attention kept for one prompt
SHORTER = {"text": "shorten it.", "task": "take fewer demonstrations.", "repeated": "take a shorter block."}
LOGITS = 512 << 20  # bytes of logits made at once


@dataclass(frozen=True)
class Tokens:
    """A prompt as the model reads it.

    blocks: where each copy of a repeated block begins. target: the first token of a document's gold continuation.
    """

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    name: str
    blocks: tuple[int, ...] = ()
    target: int | None = None


def tokens_of(prompt: Prompt, model: HookedModel, data: str, *, candidates: Candidates | None = None) -> Tokens:
    """The prompt as ids; candidates: what random tokens are drawn from.

    Raises UsageError for a prompt that can't be made, and for one beyond the model or the inspector."""
    if prompt.kind == "stored":
        raise UsageError("The sequence stored with the run has attention alone: what else it gives would be another's.")
    if prompt.kind == "repeated":
        return _bounded(_of_repeats(prompt, model, candidates), prompt, model)
    return _bounded({"text": _of_text, "task": _of_task}[prompt.kind](prompt, model, data), prompt, model)


def tokens_of_each(prompts: Sequence[Prompt], model: HookedModel, data: str) -> Iterator[Tokens]:
    """Of texts, or of documents of one task with the same shots, which is loaded once."""
    if prompts[0].kind != "task":
        yield from (tokens_of(prompt, model, data) for prompt in prompts)
        return
    # A task's first documents are the same whatever the limit.
    task = _loaded(max(prompts, key=lambda prompt: prompt.document), data)
    for prompt in prompts:
        yield _bounded(_of_document(prompt, task, model), prompt, model)


def _bounded(made: Tokens, prompt: Prompt, model: HookedModel) -> Tokens:
    limit = longest(model)
    if len(made.ids) > limit:
        raise UsageError(
            f"The prompt has {counted(len(made.ids), 'token')}, and at most {limit:,} can be looked at here "
            f"({why(model)}): {SHORTER[prompt.kind]}"
        )
    return made


def longest(model: HookedModel) -> int:
    """Tokens a prompt may have: those of the model, of the inspector, and what its attention leaves in memory."""
    limit = min(TOKENS, model.max_length or TOKENS, LOGITS // (4 * model.vocab_size))
    if model.eager:  # whole patterns are kept
        limit = min(limit, int((ROWS / (4 * model.n_layers * model.n_heads)) ** 0.5))
    per_token = 4 * model.n_layers * (model.n_heads + model.n_kv_heads) * model.d_head
    return max(2, min(limit, ROWS // per_token))


def why(model: HookedModel) -> str:
    limit = longest(model)
    return "the model's context" if limit == model.max_length else "so that every head stays at hand"


def _of_text(prompt: Prompt, model: HookedModel, data: str) -> Tokens:
    # Surrogates that a browser may send are no text that a tokenizer can read.
    text = prompt.text.encode("utf-8", "replace").decode()
    ids = read_text(tokenizer_of(model, "a prompt of one's own"), text, verbose=False)
    if len(ids) < 2:
        raise UsageError(
            f"The prompt has {counted(len(ids), 'token')}: write at least two, for one to look at another."
        )
    return Tokens(tuple(ids), token_texts(model.tokenizer, ids), f"Own text, {counted(len(ids), 'token')}")


def _of_repeats(prompt: Prompt, model: HookedModel, candidates: Candidates | None) -> Tokens:
    import induction

    if 1 + prompt.length * prompt.repeats > longest(model):
        count = 1 + prompt.length * prompt.repeats
        return Tokens((0,) * count, (), "")  # refused by its length, before anything is drawn
    made = induction.repeated_sequences(
        model, length=prompt.length, repeats=prompt.repeats, sequences=1, seed=prompt.seed, candidates=candidates
    )
    (group,) = made
    ids = group.tokens[0].tolist()
    blocks = tuple(1 + copy * group.block for copy in range(group.repeats))
    name = f"{prompt.length} random tokens, {prompt.repeats} times (seed {prompt.seed}), {counted(len(ids), 'token')}"
    return Tokens(tuple(ids), token_texts(model.tokenizer, ids), name, blocks=blocks)


def _of_task(prompt: Prompt, model: HookedModel, data: str) -> Tokens:
    return _of_document(prompt, _loaded(prompt, data), model)


def _loaded(prompt: Prompt, data: str) -> Task:
    """The task up to this document."""
    try:
        from ablation.tasks import load_task
    except ImportError as error:
        raise UsageError("Tasks need the task engine: pip install 'headscope[tasks]'") from error

    return load_task(prompt.task, shots=prompt.shots, limit=prompt.document + 1, data=data)


def _of_document(prompt: Prompt, task: Task, model: HookedModel) -> Tokens:
    if prompt.document >= len(task.documents):
        raise UsageError(
            f"{prompt.task} has {counted(len(task.documents), 'document')}, numbered from 0; {prompt.document} is none"
        )
    document = task.token_documents(model)[prompt.document]
    ids = [*document.context, *document.target]
    cut = f", {counted(document.dropped, 'demonstration')} cut" if document.dropped else ""
    shots = counted(prompt.shots, "shot")
    name = f"{prompt.task}, document {prompt.document}, {shots}{cut}, {counted(len(ids), 'token')}"
    return Tokens(tuple(ids), token_texts(model.tokenizer, ids), name, target=len(document.context))
