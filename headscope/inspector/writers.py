"""Which heads write the next token: direct attribution, the logit lens, patching another prompt (Method 3.4).

Everything is asked behind one token of the prompt, about one answer: the prompt's own next token, the model's likeliest
one at its end, or the one that a person writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from headscope.inspector.asked import RemovedParts, asked_prompt, asked_removal
from headscope.inspector.bench import Bench
from headscope.inspector.prompts import longest, why
from headscope.inspector.reading import asked_query
from interp.errors import UsageError, quoted
from interp.logit_lens import logit_lens
from interp.overflow import no_number
from interp.tokenizer import read_text, tokenizer_of

if TYPE_CHECKING:
    from ablation.attribution import DirectAttribution
    from ablation.patch_effects import HeadEffects
    from interp.model import HookedModel

LONGEST = 400  # characters of an answer, as it is typed
PATCHED = 100_000  # tokens that patching every head at every token may read


@dataclass(frozen=True)
class Question:
    """A prompt up to the token that is asked about, the token that should follow, and the one it stands against."""

    ids: tuple[int, ...]
    answer: int
    other: int | None
    removed: RemovedParts

    @property
    def position(self) -> int:
        return len(self.ids) - 1


@dataclass(frozen=True)
class Lens:
    """The answer after each layer: log-probability and rank, and the likeliest token."""

    log_p: Float[Tensor, " layer"]
    ranks: tuple[int, ...]
    best: tuple[int, ...]


def question(bench: Bench, asked: Mapping[str, Any]) -> Question:
    """Raises UsageError for a prompt, token or answer that is none."""
    model, prompt = bench.live, asked_prompt(asked.get("prompt"))
    whole = bench.read(prompt)
    ids = whole.tokens.ids
    position = asked_query(asked.get("query"), len(ids))
    likeliest = int(whole.predicted.next_ids[position, 0])
    own = ids[position + 1] if position + 1 < len(ids) else likeliest
    answer, other = (_typed(bench, asked.get(name)) for name in ("answer", "other"))
    answer = own if answer is None else answer
    if answer == other:
        raise UsageError("the answer and the token that it stands against are the same: write another one, or none")
    removed = asked_removal(asked.get("removal"), model.n_layers, model.n_heads)
    return Question(ids[: position + 1], answer, other, removed)


def _typed(bench: Bench, text: Any) -> int | None:
    """The one token of a text; with a space in front where it is none without."""
    if text is None or not str(text).strip():
        return None
    if len(str(text)) > LONGEST:
        raise UsageError(f"an answer is one token; this text has {len(str(text)):,} characters")
    tokenizer = tokenizer_of(bench.live, "an answer of one's own")
    clean = _clean(text)
    for way in dict.fromkeys((clean, f" {clean.strip()}")):
        ids = read_text(tokenizer, way, add_special_tokens=False, verbose=False)
        if len(ids) == 1:
            return int(ids[0])
    raise UsageError(f"{quoted(clean)} is {len(ids)} tokens, and an answer here is one: write the first of them")


def unspaced(bench: Bench, asked: Mapping[str, Any]) -> list[str]:
    """Answers that were read as they are typed, though with a space in front they are another one token."""
    found = []
    for typed in (_clean(asked.get(name) or "") for name in ("answer", "other")):
        if not typed.strip() or typed[:1].isspace():
            continue
        tokenizer = tokenizer_of(bench.live, "an answer of one's own")
        ways = [read_text(tokenizer, way, add_special_tokens=False, verbose=False) for way in (typed, f" {typed}")]
        if len(ways[0]) == len(ways[1]) == 1 and ways[0] != ways[1]:
            found.append(typed)
    return found


def _clean(text: Any) -> str:
    """Without the surrogates that a browser may send: no tokenizer reads them."""
    return str(text).encode("utf-8", "replace").decode()


def direct(bench: Bench, asked: Question) -> DirectAttribution:
    """What the whole model's parts write towards the answer, at the token that is asked about alone."""
    from ablation import direct_attribution

    def make() -> DirectAttribution:
        with bench.gated("attributing the token", RemovedParts(), None):
            other = None if asked.other is None else (asked.other,)
            return _at_the_end(direct_attribution(bench.live, asked.ids, (asked.answer,), other))

    return bench.kept(("direct", asked.ids, asked.answer, asked.other), make)


def _at_the_end(made: DirectAttribution) -> DirectAttribution:
    """The last position's rows: a view of them would keep all."""
    rows = {one.name: value for one in fields(made) if isinstance(value := getattr(made, one.name), Tensor)}
    return replace(made, **{name: value[-1:].clone() for name, value in rows.items()})  # type: ignore[arg-type]


def lens(bench: Bench, asked: Question, removed: RemovedParts) -> Lens:
    """The answer as read after each layer, with a removal in place. Raises HeadscopeError for what is no number."""
    reference = bench.reference(removed)

    def make() -> Lens:
        with bench.gated("reading the layers", removed, reference):
            log_p = logit_lens(bench.live, torch.tensor([asked.ids], device=bench.live.device)).cpu()
            if bool(log_p.isnan().any()):
                raise no_number(bench.live, "what a layer's stream says of the text", asked.ids)
        mine = log_p[:, asked.answer]
        ranks = 1 + (log_p > mine[:, None]).sum(-1)
        return Lens(mine, tuple(ranks.tolist()), tuple(log_p.argmax(-1).tolist()))

    return bench.kept(("lens", asked.ids, asked.answer, removed), make)


def patched(bench: Bench, asked: Question, corrupt: Any, at: str) -> HeadEffects:
    """What each head of the prompt adds to the answer when it is put into another prompt (exact, in nats)."""
    from ablation import patch

    text = _clean(corrupt or "")
    if not text.strip():
        raise UsageError("Write the other prompt: one that differs in what the answer depends on, and in nothing else.")
    if at not in ("last", "all"):
        raise UsageError(f"{quoted(at)} is not a place to patch at: choose last or all")
    ids = _other_ids(bench.live, text, at)
    other = None if asked.other is None else (asked.other,)

    def make() -> HeadEffects:
        with bench.gated("patching every head", RemovedParts(), None):
            made: Any = patch(bench.live, asked.ids, ids, answer=(asked.answer,), other=other, at=at)
            return made

    return bench.kept(("patched", asked.ids, ids, asked.answer, asked.other, at), make)


def _other_ids(model: HookedModel, text: str, at: str) -> tuple[int, ...]:
    """The other prompt's tokens. Raises UsageError for more than can be looked at, or patched at every one."""
    whole = asked_prompt({"kind": "text", "text": text}).text
    ids = tuple(read_text(tokenizer_of(model, "a prompt of one's own"), whole, verbose=False))
    limit = longest(model)
    if len(ids) > limit:
        raise UsageError(
            f"the other prompt has {len(ids):,} tokens, and at most {limit:,} can be looked at here ({why(model)}): "
            "shorten it"
        )
    heads = model.n_layers * model.n_heads
    if at == "all" and heads * len(ids) > PATCHED:
        raise UsageError(
            f"patching {heads:,} heads one by one at every one of {len(ids):,} tokens would hold the model too long: "
            f"shorten the other prompt to {PATCHED // heads:,} tokens, or patch at the last token"
        )
    return ids
