"""Random repeated token sequences, and where each token occurred before (Method 1).

1. Draw L distinct candidate tokens and repeat the block R times, one token in front that is never content: the
   tokenizer's BOS, or else one more random token; never EOS as a stand-in.
2. Sequence k is drawn by a generator of its own, seeded by (seed, protocol, stream, k): it does not depend on how many
   are drawn. Repeated and unrepeated sequences (R = 1) are separate streams.
3. Targets come from token equality: query i, match p with x_p = x_i and p < i, successor p + 1.
Token ids go to the model as they are: to decode them and tokenise again would break the repeats.

Lengths. A protocol fixes L for every sequence k: `quick` is 50 for all of 20, `paper` is 25 + 2k for k = 0..99. With
repeats=1 a protocol gives 4L distinct tokens, as many as its repeated sequence has, and the group keeps L as `length`.
An explicit `length` is the number of distinct tokens, whatever `repeats` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import torch
from einops import repeat
from jaxtyping import Bool, Int
from torch import Tensor

from induction.groups import slices
from induction.vocabulary import Candidates, Counts, candidate_tokens
from interp.errors import UsageError
from interp.model import HookedModel
from interp.shown import one_line
from interp.whole import whole_number

Protocol = Literal["quick", "paper"]
# How often the block stands in a protocol's repeated sequence, and so how many times L its unrepeated one is long.
REPEATS = 4
SEQUENCES = {"quick": 20, "paper": 100}
SHORTEST = 4  # a block of two tokens has no wrong token to compare with, one of three no choice among them
MOST_SEED = 2**32 - 1  # what every generator that is seeded from it takes
# A model's tokenizer, what was known of it, and the candidates made then.
_KEPT: WeakKeyDictionary[HookedModel, tuple[Any, tuple[object, ...], Candidates]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Targets:
    """Every (query, earlier copy) of a group's sequences: the same positions in each of them.

    queries: positions i. matches: positions p < i of the same token, p content. One entry a pair, queries ascending.
    """

    queries: Int[Tensor, "pair"]
    matches: Int[Tensor, "pair"]

    @property
    def successors(self) -> Int[Tensor, "pair"]:
        """The positions p + 1, where a prefix-matching head looks."""
        return self.matches + 1

    @property
    def prefix_pairs(self) -> tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]:
        """(query, key) of Method 2.1."""
        return self.queries, self.successors

    @property
    def duplicate_pairs(self) -> tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]:
        """(query, key) of the duplicate-token score, Method 2.4."""
        return self.queries, self.matches

    @property
    def query_positions(self) -> Int[Tensor, "query"]:
        """Each query with an earlier copy once, ascending."""
        return self.queries.unique()


@one_line
@dataclass(frozen=True, eq=False)
class SequenceGroup:
    """Sequences of one length: a front token, then one block of distinct tokens `repeats` times.

    length: the protocol's L. indices: which sequences of the protocol these are. front: what stands at position 0.
    """

    tokens: Int[Tensor, "sequence position"]
    length: int
    repeats: int
    indices: tuple[int, ...]
    front: Literal["bos", "random"]

    @property
    def key(self) -> dict[str, Any]:
        """All that scores of these sequences depend on; `indices` also number the random streams of nulls."""
        told = {"length": self.length, "repeats": self.repeats, "indices": list(self.indices)}
        return {"tokens": self.tokens.tolist(), **told}

    @property
    def block(self) -> int:
        """Distinct content tokens of a sequence: L where it is repeated, 4L in a protocol's unrepeated one."""
        return (self.tokens.shape[1] - 1) // self.repeats

    @cached_property
    def content(self) -> Bool[Tensor, "position"]:
        """Which positions hold content: all but the front token."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device) > 0

    @cached_property
    def targets(self) -> Targets:
        """Queries with an earlier copy of their token, from token equality; empty for unrepeated sequences."""
        found = earlier_copies(self.tokens[0], self.content)
        distinct = {len(row.unique()) for row in self.tokens[:, 1:]}
        if distinct != {self.block} or bool((self.tokens[:, found.queries] != self.tokens[:, found.matches]).any()):
            raise UsageError(
                f"These sequences do not repeat alike: expected {self.block} distinct tokens, {self.repeats} times, in "
                f"each of {len(self.tokens)}; the counts of distinct tokens are {sorted(distinct)}."
            )
        return found

    def batches(self, max_tokens: int) -> Iterator[SequenceGroup]:
        """The group in parts of at most `max_tokens` tokens each, one sequence at least."""
        for part in slices(self.tokens, max_tokens):
            yield replace(self, tokens=self.tokens[part], indices=self.indices[part])


@one_line
@dataclass(frozen=True, eq=False)
class RepeatedSequences:
    """All sequences of a protocol, grouped by length; iterate over the groups.

    repeats: 1 for unrepeated sequences. candidates: what the tokens were drawn from.
    """

    groups: tuple[SequenceGroup, ...]
    protocol: str
    repeats: int
    seed: int
    candidates: Candidates

    def __iter__(self) -> Iterator[SequenceGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        """The number of sequences."""
        return sum(len(group.indices) for group in self.groups)

    @property
    def lengths(self) -> tuple[int, ...]:
        """L of each group."""
        return tuple(group.length for group in self.groups)

    @property
    def tokens(self) -> Int[Tensor, "sequence position"]:
        """The tokens of the only group; UsageError where there are several lengths."""
        if len(self.groups) != 1:
            first = ", ".join(map(str, self.lengths[:3]))
            raise UsageError(
                f"There is no common tensor for {len(self.groups)} lengths ({first}, ...): "
                "iterate over the groups, each of which has .tokens."
            )
        return self.groups[0].tokens


def repeated_sequences(
    model: HookedModel,
    *,
    protocol: Protocol = "quick",
    length: int | None = None,
    repeats: int = REPEATS,
    sequences: int | None = None,
    seed: int = 0,
    candidates: Candidates | None = None,
    counts: Counts | None = None,
) -> RepeatedSequences:
    """Random repeated sequences for a model, on its device; with repeats=1 unrepeated ones for copying.

    length: distinct tokens of every sequence, in place of the protocol's. sequences: how many, the first of the
    protocol's. candidates: what to draw from, in place of `candidate_tokens` of the model's tokenizer; counts: how
    frequent its tokens are, or "uniform", where the tokenizer does not say or there is none (vocabulary.py).
    Raises UsageError for a length under 2, a negative seed, a sequence beyond the model's context, too few candidates.
    """
    plan = _plan(protocol, length, repeats, sequences, seed)
    candidates = drawn_from(model, candidates, counts)
    bos = _bos(model)
    _refuse_impossible(model, candidates, bos, max(size.block for size in plan), repeats)
    groups = []
    for size in dict.fromkeys(plan):
        indices = tuple(index for index, planned in enumerate(plan) if planned == size)
        streams = [_generator(seed, protocol, repeats, index) for index in indices]
        tokens = torch.stack([_draw(candidates, size.block, repeats, bos, stream) for stream in streams])
        front: Literal["bos", "random"] = "random" if bos is None else "bos"
        groups.append(SequenceGroup(tokens.to(model.device), size.length, repeats, indices, front))
    return RepeatedSequences(tuple(groups), protocol, repeats, seed, candidates)


class Fitted(NamedTuple):
    """A length, and what allows no longer one, for a sentence."""

    length: int
    by: str


def fitting_length(
    model: HookedModel,
    protocol: Protocol,
    candidates: Candidates,
    *,
    sequences: int | None = None,
    most: int | None = None,
    twin: bool = True,
) -> Fitted | None:
    """The longest length of sequences that context and candidates allow, where those of the protocol are longer.

    None where they fit, and where not even a block of three tokens does. most: a length in place of the protocol's.
    twin: unrepeated sequences as long are drawn too, of different tokens all along.
    Raises UsageError for more sequences than the protocol has.
    """
    wanted = most if most is not None else max(size.length for size in _plan(protocol, None, REPEATS, sequences, 0))
    drawn = len(candidates) - (_bos(model) is None)
    rooms = [Fitted(drawn // (REPEATS if twin else 1), f"the {len(candidates)} tokens that can be drawn allow")]
    if model.max_length is not None:
        rooms.append(
            Fitted((model.max_length - 1) // REPEATS, f"the model's context of {model.max_length} tokens allows")
        )
    room = min(rooms, key=lambda one: one.length)
    return room if SHORTEST <= room.length < wanted else None


def drawn_from(model: HookedModel, candidates: Candidates | None, counts: Counts | None) -> Candidates:
    """The candidates as they are given, or those of the model, by counts or by what its tokenizer tells."""
    if candidates is None:
        return candidates_of(model, counts)
    if counts is not None:
        raise UsageError("Give candidates or counts, not both: candidates are what counts would have made.")
    return candidates


def candidates_of(model: HookedModel, counts: Counts | None = None) -> Candidates:
    """What may be drawn for a model: its tokenizer's candidates without the ids its configuration calls control.

    Without counts they are made once a model, for the whole vocabulary is encoded; anew when its tokenizer or what must
    not be drawn changes. What is handed out is a copy: writing to it changes no later draw.
    """
    tokenizer, never = model.tokenizer, _control_ids(model.hf.config)
    if tokenizer is None or counts is not None:
        return candidate_tokens(tokenizer, model.vocab_size, counts=counts, never=never)
    known = (len(tokenizer), frozenset(tokenizer.all_special_ids), frozenset(never))
    kept = _KEPT.get(model)
    if kept is None or kept[0] is not tokenizer or kept[1] != known:
        kept = (tokenizer, known, candidate_tokens(tokenizer, model.vocab_size, never=never))
        _KEPT[model] = kept
    return replace(kept[2], ids=kept[2].ids.clone())


def unrepeated_twin(model: HookedModel, sequences: RepeatedSequences) -> RepeatedSequences:
    """Unrepeated sequences of the same lengths, as many, from the unrepeated stream: where N2 is read (Method 2.7).

    Of a protocol's sequences they are its own with repeats=1. Raises UsageError where the candidates are too few.
    """
    twins = []
    for group in sequences:
        block = group.block * group.repeats
        bos = None if group.front == "random" else int(group.tokens[0, 0])
        _refuse_impossible(model, sequences.candidates, bos, block, 1, group.repeats)
        streams = [_generator(sequences.seed, sequences.protocol, 1, index) for index in group.indices]
        tokens = torch.stack([_draw(sequences.candidates, block, 1, bos, stream) for stream in streams])
        twins.append(replace(group, tokens=tokens.to(model.device), repeats=1))
    return replace(sequences, groups=tuple(twins), repeats=1)


def earlier_copies(tokens: Int[Tensor, "position"], content: Bool[Tensor, "position"]) -> Targets:
    """All (i, p) with x_p = x_i, p < i, both content."""
    seen: dict[int, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for position, token in enumerate(tokens.tolist()):
        if content[position]:
            copies = seen.setdefault(token, [])
            pairs.extend((position, copy) for copy in copies)
            copies.append(position)
    both = torch.tensor(pairs, dtype=torch.long, device=tokens.device).reshape(-1, 2)
    return Targets(both[:, 0], both[:, 1])


class _Size(NamedTuple):
    """A sequence's L and its number of distinct tokens."""

    length: int
    block: int


def _plan(protocol: str, length: int | None, repeats: int, sequences: int | None, seed: int) -> list[_Size]:
    """The size of each sequence of the protocol; refuses what no model could give."""
    for name, value in {"repeats": repeats, "a seed": seed, "length": length, "sequences": sequences}.items():
        if value is not None:
            whole_number(value, name)
    if protocol not in SEQUENCES:
        raise UsageError(f"There is no protocol {protocol!r}; there are: {', '.join(SEQUENCES)}.")
    if repeats < 1 or (length is not None and length < 2):
        raise UsageError(f"A block has 2 tokens or more, once or more often; got length={length}, repeats={repeats}.")
    if not 0 <= seed <= MOST_SEED:
        raise UsageError(f"A seed is a whole number from 0 to {MOST_SEED}; got {seed}.")
    count = SEQUENCES[protocol] if sequences is None else sequences
    fixed = protocol == "paper" and length is None
    if count < 1 or (fixed and count > SEQUENCES[protocol]):
        allowed = f"1 to {SEQUENCES[protocol]}, one a length" if fixed else "1 or more"
        raise UsageError(f"sequences={count} is none of what the protocol {protocol!r} allows: {allowed}.")
    if length is not None:
        return [_Size(length, length)] * count
    lengths = [50] * count if protocol == "quick" else [25 + 2 * index for index in range(count)]
    return [_Size(each, each * REPEATS if repeats == 1 else each) for each in lengths]


def _bos(model: HookedModel) -> int | None:
    """The tokenizer's BOS, None where it has none. Raises UsageError where the model has no row for it."""
    bos: int | None = getattr(model.tokenizer, "bos_token_id", None)
    if bos is not None and bos >= model.vocab_size:
        raise UsageError(
            f"The tokenizer's BOS ({bos}) has no row in this model, whose {model.vocab_size} tokens are 0 to "
            f"{model.vocab_size - 1}: load the model with a tokenizer that fits, interp.load_model(MODEL, "
            "tokenizer=...), or one without BOS, so that a random token stands in front."
        )
    return bos


def _control_ids(config: Any) -> set[int]:
    """BOS, EOS and padding as the model's configuration has them; the tokenizer may not call them special."""
    values = (getattr(config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id"))
    return {token for value in values if value is not None for token in (value if isinstance(value, list) else [value])}


def _refuse_impossible(
    model: HookedModel, candidates: Candidates, bos: int | None, block: int, repeats: int, times: int = 1
) -> None:
    """Refuse what the model's context, its vocabulary or the candidates can't give; a block is `times` lengths."""
    positions, limit = 1 + block * repeats, model.max_length
    there = len(candidates) - (bos is None)
    # The twin without repeats, which other scores read, takes each token once: a length that is advised fits it too.
    drawable = there // (times * repeats) if there >= times * repeats * SHORTEST else there // times
    if limit is not None and positions > limit:
        longest = (limit - 1) // repeats
        if longest < SHORTEST:
            raise UsageError(
                f"This model's context of {limit} tokens is too short for random repeated sequences: the shortest take "
                f"1 + {repeats} x {SHORTEST} = {1 + repeats * SHORTEST}. Score a model with a longer context."
            )
        if drawable < SHORTEST:
            raise _too_few(candidates, times * SHORTEST + (bos is None))
        longest = min(longest, drawable)
        raise UsageError(
            f"A sequence of 1 + {repeats} x {block} = {positions} tokens is longer than this model's context of "
            f"{limit}. Give length={longest} (--length {longest}) or less"
            + (", or fewer repeats." if repeats > 1 else ".")
        )
    needed = block + (bos is None)
    if needed > len(candidates):
        if drawable < SHORTEST:
            raise _too_few(candidates, times * SHORTEST + (bos is None))
        raise UsageError(
            f"A sequence {f'without repeats, {times} blocks long, ' if times > 1 else ''}needs {needed} distinct "
            f"tokens, but only {len(candidates)} can be drawn from this vocabulary (ranked by "
            f"{candidates.rule}). Give length={drawable} (--length {drawable}) or less."
        )
    front = -1 if bos is None else bos
    highest = max(int(candidates.ids.max()), front)
    if highest >= model.vocab_size or bool(torch.isin(candidates.ids, front).any()):
        raise UsageError(
            f"The candidates must be ids under {model.vocab_size} other than BOS ({bos}); the highest id is {highest}. "
            "Leave candidates out to take them from the model's tokenizer."
        )


def _too_few(candidates: Candidates, needed: int) -> UsageError:
    return UsageError(
        f"The {len(candidates)} tokens that can be drawn from this vocabulary (ranked by {candidates.rule}) are too "
        f"few: the shortest random sequences take {needed} different ones. Give counts=... that cover more tokens "
        "(--counts)."
    )


def _generator(seed: int, protocol: str, repeats: int, index: int) -> torch.Generator:
    """The random stream of sequence `index`, on the CPU whatever the model's device."""
    stream = "unrepeated" if repeats == 1 else "repeated"
    digest = hashlib.sha256(f"{seed}/{protocol}/{stream}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _draw(
    candidates: Candidates, block: int, repeats: int, bos: int | None, generator: torch.Generator
) -> Int[Tensor, "position"]:
    """A front token and `repeats` times the same distinct tokens."""
    order = torch.randperm(len(candidates), generator=generator)
    drawn = candidates.ids[order[: block + (bos is None)]]
    front = drawn[:1] if bos is None else torch.tensor([bos])
    return torch.cat([front, repeat(drawn[-block:], "token -> (times token)", times=repeats)])
