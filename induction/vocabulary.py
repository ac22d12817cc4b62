"""Which tokens random sequences may be made of, and how they are ranked by frequency (Method 1).

1. Drop added and special tokens, ids without text, ids outside the tokenizer or the model, ids that do not re-encode
   to themselves.
2. Rank the rest, most frequent first: by counts the user gives; else, for BPE, by the first merge that makes the token;
   for Unigram, by the piece's score. Never by id: OPT numbers its tokens in another order than it merged them, Gemma
   puts the letters behind all merges.
3. Drop the most and the least frequent 4%.
Vocabularies that say nothing about frequency (WordPiece, WordLevel) and models without a tokenizer need counts, or
`uniform`: all ids alike, so that no end is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from interp.errors import UsageError
from interp.shown import one_line

# How often each token id occurs: by id, or one number an id; or "uniform", which makes no difference between them.
Counts = Mapping[int, int | float] | Shaped[Tensor, " token"] | str
# Percent of the ranking left out at each end.
ENDS_PERCENT = 4


@one_line
@dataclass(frozen=True, eq=False)
class Candidates:
    """Token ids that may be drawn, most frequent first, and the rule that ranked them.

    rule: `merges`, `scores`, `counts` or `uniform`. ranked: how many there were before the two ends were cut off.
    """

    ids: Int[Tensor, "candidate"]
    rule: str
    ranked: int

    def __post_init__(self) -> None:
        if len(self.ids.unique()) != len(self.ids) or len(self.ids) < 2 or int(self.ids.min()) < 0:
            raise UsageError(f"Candidates are 2 or more different token ids; got {self.ids.tolist()[:10]}.")

    def __len__(self) -> int:
        return len(self.ids)


def candidate_tokens(
    tokenizer: Any, vocab_size: int, *, counts: Counts | None = None, never: Collection[int] = ()
) -> Candidates:
    """The tokens that may be drawn for a model with `vocab_size` rows in its unembedding.

    tokenizer: None for a model that has none; then counts are needed. counts: how often each token id occurs in some
    text, as {id: count} or as a tensor with a number an id (ids without a positive count are no candidates), or
    "uniform". never: ids to leave out beside the tokenizer's own special and added ones.
    Raises UsageError where nothing tells which tokens are frequent, or where no candidate is left.
    """
    end = vocab_size if tokenizer is None else min(len(tokenizer), vocab_size)
    rule, ranking = _ranked(tokenizer, end, counts)
    special = set() if tokenizer is None else _special(tokenizer)
    usable = [token for token in ranking if token not in special | {*never} and 0 <= token < end]
    if tokenizer is not None:
        usable = _that_re_encode(tokenizer, usable)
    cut = 0 if rule == "uniform" else len(usable) * ENDS_PERCENT // 100
    if len(usable) - 2 * cut < 2:
        raise UsageError(
            f"Of these {end} tokens {len(usable)} can be drawn (ranked by {rule}; no added or special tokens, none "
            "that does not re-encode to itself). Give counts=... that cover ordinary tokens (--counts)."
        )
    return Candidates(torch.tensor(usable[cut : len(usable) - cut]), rule, len(usable))


def _ranked(tokenizer: Any, end: int, counts: Counts | None) -> tuple[str, list[int]]:
    """The rule's name and the ids it ranks, most frequent first."""
    if isinstance(counts, str):
        if counts != "uniform":
            raise UsageError(f"counts is 'uniform', or how often each token id occurs; got {counts!r}.")
        return counts, list(range(end))
    if counts is not None:
        size = end if tokenizer is None else len(tokenizer)  # ids that the model lacks are dropped, not refused
        return "counts", _by_counts(tokenizer, size, counts)
    if tokenizer is None:
        raise UsageError(
            "A model without a tokenizer does not tell which tokens are frequent: give counts={token id: occurrences "
            "in some text} (or a tensor with a number an id), or counts='uniform' to draw all ids alike (--counts)."
        )
    return _by_vocabulary(tokenizer)


def _by_counts(tokenizer: Any, size: int, counts: Mapping[int, int | float] | Tensor) -> list[int]:
    """Ids with a positive count, highest first; equal counts in the order of the tokens' spelling, or of their ids."""
    by_id = dict(enumerate(counts.tolist())) if isinstance(counts, Tensor) else dict(counts)
    counted = [int(token) for token, count in by_id.items() if count > 0]
    if unknown := sorted(token for token in counted if not 0 <= token < size):
        raise UsageError(f"counts names ids outside this vocabulary's 0 to {size - 1}: {unknown[:5]}.")
    spelled = counted if tokenizer is None else [str(text) for text in tokenizer.convert_ids_to_tokens(counted)]
    ties = dict(zip(counted, spelled, strict=True))
    return sorted(counted, key=lambda token: (-by_id[token], ties[token]))


def _by_vocabulary(tokenizer: Any) -> tuple[str, list[int]]:
    """What the tokenizer itself tells of frequency: the rule's name and the ranking."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {"type": type(tokenizer).__name__}
    if model["type"] == "BPE" and model["merges"]:
        return "merges", _by_merges(model)
    if model["type"] == "Unigram":
        pieces = [(-score, piece, index) for index, (piece, score) in enumerate(model["vocab"])]
        return "scores", [index for _, _, index in sorted(pieces)]
    raise UsageError(
        f"This tokenizer ({model['type']}) does not tell which tokens are frequent: expected the merges of a BPE or "
        "the scores of a Unigram vocabulary. Give counts={token id: occurrences in some text}, or counts='uniform' to "
        "draw all ids alike (--counts)."
    )


def _by_merges(model: Mapping[str, Any]) -> list[int]:
    """Ids in the order in which a merge first makes them; tokens that no merge makes are left out."""
    prefix = model.get("continuing_subword_prefix") or ""
    vocabulary: Mapping[str, int] = model["vocab"]
    pairs: Iterable[list[str]] = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    made = (left + right.removeprefix(prefix) for left, right in pairs)
    return list(dict.fromkeys(vocabulary[token] for token in made if token in vocabulary))


def _special(tokenizer: Any) -> set[int]:
    return {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}


def _that_re_encode(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids that have text which the tokenizer turns into this one id again."""
    texts = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    wanted = [(token, text) for token, text in zip(ids, texts, strict=True) if text]
    if not wanted:
        return []
    encoded = tokenizer([text for _, text in wanted], add_special_tokens=False, return_attention_mask=False)[
        "input_ids"
    ]
    if not {token for back in encoded for token in back} - _special(tokenizer):
        raise UsageError(
            f"This tokenizer ({type(tokenizer).__name__}) turns the texts of all {len(wanted)} tokens that could be "
            "drawn into nothing or into special tokens, so it does not fit its vocabulary: load the model with "
            "another, interp.load_model(MODEL, tokenizer=...), or save the one that fits into the model's folder."
        )
    return [token for (token, _), back in zip(wanted, encoded, strict=True) if back == [token]]
