"""Prompts that bring a name back: an entity behind random tokens, and the same tokens again (Method 2.11).

1. clean = front, r, e_1..e_k, separator, r, e_1: r are random tokens, e is a name of 2 to 5 tokens under this tokenizer
   (or, in its twin, as many random tokens), r and e together have a fixed length.
2. corrupt = the same with the first r and e drawn anew, so that nothing in front tells what follows r.
3. For the null, the clean prompt with another entity of as many tokens, which differs from e in its first two tokens.
Front and separator come from the tokenizer: BOS, or else a random token; its line break, or else a random token. No
token is drawn twice in a prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from induction.names import NAMES
from induction.sequences import drawn_from
from induction.texts import ids_behind
from induction.vocabulary import Candidates, Counts
from interp.errors import UsageError
from interp.model import HookedModel
from interp.shown import one_line
from interp.tokenizer import tokenizer_of

PROMPTS, LENGTH = 40, 30
SHORTEST, LONGEST = 2, 5
KINDS = ("names", "random")
Ids = tuple[int, ...]


@dataclass(frozen=True)
class EntityPrompt:
    """A prompt for a name and its twin for random tokens: `entities[kind]` is the entity, `others[kind]` the null's."""

    front: Ids
    lead: Ids  # r
    separator: Ids
    redrawn: Ids
    entities: tuple[Ids, Ids]
    others: tuple[Ids, Ids]

    def clean(self, kind: int) -> Ids:
        entity = self.entities[kind]
        return (*self.front, *self.lead, *entity, *self.separator, *self.lead, entity[0])

    def clean_other(self, kind: int) -> Ids:
        """The clean prompt of the null."""
        other = self.others[kind]
        return (*self.front, *self.lead, *other, *self.separator, *self.lead, other[0])

    def corrupt(self, kind: int) -> Ids:
        return (*self.front, *self.redrawn, *self.separator, *self.lead, self.entities[kind][0])


@one_line
@dataclass(frozen=True)
class EntityPrompts:
    """The prompts; `usable` is how many of the given names have two to five tokens, `separator` where it came from."""

    prompts: tuple[EntityPrompt, ...]
    usable: int
    separator: str
    seed: int

    def __len__(self) -> int:
        return len(self.prompts)


def entity_prompts(
    model: HookedModel,
    *,
    prompts: int = PROMPTS,
    length: int = LENGTH,
    entities: Sequence[str | Ids] | None = None,
    seed: int = 0,
    candidates: Candidates | None = None,
    counts: Counts | None = None,
) -> EntityPrompts:
    """Prompts with `length` tokens in r and e together, each for a name of its own.

    entities: names, or token ids where there is no tokenizer, in place of the built-in list (names.py). candidates,
    counts: what random tokens are drawn from, as in `repeated_sequences`.
    Raises UsageError for a model without a tokenizer or ids, too few names or candidates, a context that is too short.
    """
    pool = drawn_from(model, candidates, counts).ids.tolist()
    names = _usable(model, entities)
    separator = _separator(model)
    draw = random.Random(f"entities/{seed}")  # noqa: S311
    if not 1 <= prompts <= len(names):
        raise UsageError(
            f"{len(names)} names of {SHORTEST} to {LONGEST} tokens can be asked for under this tokenizer, each once; "
            f"got prompts={prompts}. Give that many or fewer, or more names (entities=...)."
        )
    _refuse_impossible(model, len(pool), length, longest=max(map(len, names)), separator=len(separator))
    made = tuple(_prompt(model, name, names, pool, separator, length, draw) for name in draw.sample(names, prompts))
    return EntityPrompts(made, len(names), "line break" if separator else "random token", seed)


def fitting(
    model: HookedModel, counts: Counts | None = None, *, candidates: Candidates | None = None
) -> dict[str, int]:
    """`prompts` and `length` as `entity_prompts` takes them, no more than context, names and candidates allow."""
    pool, names, separator = len(drawn_from(model, candidates, counts).ids), _usable(model, None), _separator(model)
    rooms = [LENGTH, (pool - _beside(max(map(len, names), default=LONGEST), len(separator))) // 2]
    if model.max_length is not None:
        rooms.append((model.max_length - 1 - max(1, len(separator))) // 2)
    return {"prompts": min(PROMPTS, len(names)), "length": min(rooms)}


def _usable(model: HookedModel, entities: Sequence[str | Ids] | None) -> list[Ids]:
    """Each entity's ids, of those that are two to five tokens long and have a rival as long."""
    given: Sequence[str | Ids] = NAMES if entities is None else entities
    ids: list[Ids] = [_ids_of(model, entity) if isinstance(entity, str) else tuple(entity) for entity in given]
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    fitting = [entity for entity in dict.fromkeys(ids) if SHORTEST <= len(entity) <= LONGEST and unknown not in entity]
    return [entity for entity in fitting if _rivals(entity, fitting)]


def _ids_of(model: HookedModel, name: str) -> Ids:
    return ids_behind(tokenizer_of(model, "names (or give entities=[(id, id), ...])"), f" {name}")


def _rivals(entity: Ids, names: Sequence[Ids]) -> list[Ids]:
    """Entities as long, with another first and another second token."""
    return [n for n in names if len(n) == len(entity) and n[0] != entity[0] and n[1] != entity[1]]


def _separator(model: HookedModel) -> Ids:
    """The tokenizer's line break; empty where it has none."""
    if model.tokenizer is None:
        return ()
    found = ids_behind(model.tokenizer, "\n")
    return () if getattr(model.tokenizer, "unk_token_id", None) in found else found


def _refuse_impossible(model: HookedModel, candidates: int, length: int, *, longest: int, separator: int) -> None:
    positions = 1 + length + max(1, separator) + length  # with the entity's first token at most
    if length <= LONGEST:
        raise UsageError(f"r and the entity together have more than {LONGEST} tokens, so length must; got {length}")
    if model.max_length is not None and positions > model.max_length:
        raise UsageError(
            f"these prompts have up to {positions} tokens, more than this model's context of {model.max_length}: give "
            f"length={(model.max_length - 1 - max(1, separator)) // 2} or less"
        )
    beside = _beside(longest, separator)
    if candidates < 2 * length + beside:
        raise UsageError(
            f"these prompts need {2 * length + beside} different random tokens, and {candidates} can be drawn: give "
            f"length={(candidates - beside) // 2} or less"
        )


def _beside(longest: int, separator: int) -> int:
    """Candidates needed beside r and its other draw: the twins, the two names, which may be candidates, the rest."""
    return 3 * longest + separator + 2


def _prompt(
    model: HookedModel,
    name: Ids,
    names: Sequence[Ids],
    pool: Sequence[int],
    separator: Ids,
    length: int,
    draw: random.Random,
) -> EntityPrompt:
    other, size = draw.choice(_rivals(name, names)), len(name)
    barred = {*name, *other, *separator}
    drawn = iter(draw.sample([token for token in pool if token not in barred], 2 * length + size + 2))
    take = lambda count: tuple(next(drawn) for _ in range(count))  # noqa: E731
    lead, redrawn = take(length - size), take(length)
    twin, twin_other = take(size), take(size)
    bos = getattr(model.tokenizer, "bos_token_id", None)
    front = take(1) if bos is None else (int(bos),)
    return EntityPrompt(front, lead, separator or take(1), redrawn, (name, twin), (other, twin_other))
