"""Which tokens random sequences may be made of, and how they are ranked by frequency (Method 1).

1. Drop added and special tokens, ids without text, ids outside the tokenizer or the model, ids that do not re-encode
   to themselves.
2. Rank the rest, most frequent first: by counts the user gives; else, for BPE, by the first merge that makes the token;
   for Unigram, by the piece's score. Never by id: OPT numbers its tokens in another order than it merged them, Gemma
   puts the letters behind all merges.
3. Drop the most and the least frequent 4%.
Left out: vocabularies that say nothing about frequency (WordPiece, WordLevel) are refused without counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError

# Percent of the ranking left out at each end.
ENDS_PERCENT = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """Token ids that may be drawn, most frequent first, and the rule that ranked them.

    rule: `merges`, `scores` or `counts`. ranked: how many there were before the two ends were cut off.
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
    tokenizer: Any, vocab_size: int, *, counts: Mapping[int, int] | None = None, never: Collection[int] = ()
) -> Candidates:
    """The tokens that may be drawn for a model with `vocab_size` rows in its unembedding.

    counts: how often each token id occurs in some text; ids without a positive count are no candidates.
    never: ids to leave out beside the tokenizer's own special and added ones.
    Raises UsageError where nothing tells which tokens are frequent, or where no candidate is left.
    """
    if counts is not None:
        rule, ranking = "counts", _by_counts(tokenizer, counts)
    else:
        rule, ranking = _by_vocabulary(tokenizer)
    barred = {*never, *tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    end = min(len(tokenizer), vocab_size)
    usable = _that_re_encode(tokenizer, [token for token in ranking if token not in barred and 0 <= token < end])
    cut = len(usable) * ENDS_PERCENT // 100
    if len(usable) - 2 * cut < 2:
        raise UsageError(
            f"Of the {len(tokenizer)} tokens of this tokenizer {len(usable)} can be drawn (ranked by {rule}; no added "
            "or special tokens, none that does not re-encode to itself). Give counts=... that cover ordinary tokens."
        )
    return Candidates(torch.tensor(usable[cut : len(usable) - cut]), rule, len(usable))


def _by_counts(tokenizer: Any, counts: Mapping[int, int]) -> list[int]:
    """Ids with a positive count, highest first; equal counts in the order of the tokens' spelling."""
    counted = [int(token) for token, count in counts.items() if count > 0]
    if unknown := sorted(token for token in counted if not 0 <= token < len(tokenizer)):
        raise UsageError(f"counts names ids outside this tokenizer's 0 to {len(tokenizer) - 1}: {unknown[:5]}.")
    spelling = dict(zip(counted, tokenizer.convert_ids_to_tokens(counted), strict=True))
    return sorted(counted, key=lambda token: (-counts[token], str(spelling[token])))


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
        "the scores of a Unigram vocabulary. In Python, give candidate_tokens(tokenizer, vocab_size, counts={token id: "
        "occurrences in some text}) to repeated_sequences as candidates."
    )


def _by_merges(model: Mapping[str, Any]) -> list[int]:
    """Ids in the order in which a merge first makes them; tokens that no merge makes are left out."""
    prefix = model.get("continuing_subword_prefix") or ""
    vocabulary: Mapping[str, int] = model["vocab"]
    pairs: Iterable[list[str]] = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    made = (left + right.removeprefix(prefix) for left, right in pairs)
    return list(dict.fromkeys(vocabulary[token] for token in made if token in vocabulary))


def _that_re_encode(tokenizer: Any, ids: list[int]) -> list[int]:
    """The ids that have text which the tokenizer turns into this one id again."""
    texts = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    wanted = [(token, text) for token, text in zip(ids, texts, strict=True) if text]
    if not wanted:
        return []
    encoded = tokenizer([text for _, text in wanted], add_special_tokens=False, return_attention_mask=False)
    return [token for (token, _), back in zip(wanted, encoded["input_ids"], strict=True) if back == [token]]
