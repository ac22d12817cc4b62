"""Tiny models of every family with a tokenizer of 97 tokens, and sequences for them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from induction.sequences import RepeatedSequences, repeated_sequences
from induction.vocabulary import Candidates
from interp.model import HookedModel
from tests.interp import families

CANDIDATES = Candidates(torch.arange(7, families.VOCAB), "counts", families.VOCAB - 7)


class Kept(dict[str, dict[str, Tensor]]):
    """Units in a dictionary; `limit` puts, then the run is killed."""

    limit = 10**6

    def get(self, key: Mapping[str, Any], /) -> dict[str, Tensor] | None:  # type: ignore[override]
        return super().get(repr(sorted(key.items())))

    def put(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor], /) -> None:
        if len(self) == self.limit:
            raise KeyboardInterrupt
        assert all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in tensors.values())
        self[repr(sorted(key.items()))] = {name: tensor.clone() for name, tensor in tensors.items()}


@lru_cache
def tokenizer() -> PreTrainedTokenizerFast:
    """BPE of nine letters and all their pairs: ids under 97, BOS is 1; 75 candidates."""
    letters = "abcdefghi"
    pairs = list(itertools.product(letters, repeat=2))
    random.Random(5).shuffle(pairs)
    tokens = ["<unk>", "<s>", "</s>", *letters, *("".join(pair) for pair in pairs)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, pairs, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@lru_cache
def model(family: str) -> HookedModel:
    """Read-only: shared between tests."""
    return families.load(family, tokenizer=tokenizer())


def sequences(model: HookedModel, **options: Any) -> RepeatedSequences:
    """Two repeated sequences of 3 x 7 tokens, or what the options say."""
    return repeated_sequences(model, **{"length": 7, "repeats": 3, "sequences": 2, **options})


def unrepeated(model: HookedModel, **options: Any) -> RepeatedSequences:
    """Two sequences of 21 different tokens."""
    return sequences(model, **{"length": 21, "repeats": 1, **options})
