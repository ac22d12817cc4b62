"""Text for the tiny models of tests/interp/families.py: a word a token, and a task made of such text."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from ablation.tasks import Demonstration, Document, Task
from tests.interp.families import VOCAB


@cache
def tokenizer() -> Any:
    """A word a token, `<s>` in front of every text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"w{n}": n for n in range(3, VOCAB)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def words(source: random.Random, n: int) -> str:
    return " ".join(f"w{source.randrange(3, VOCAB)}" for _ in range(n))


def task(n: int, *, shots: int = 2, seed: int = 0) -> Task:
    """Documents with demonstrations; three choices each, the gold one not always the first."""
    source = random.Random(seed)
    documents = []
    for place in range(n):
        name = f"words/validation/{place}"
        shown = tuple(Demonstration(f"words/train/{k}", f"{words(source, 4)}\n\n") for k in range(shots))
        choices = tuple(" " + words(source, length) for length in (2, 1, 3))
        query, gold = words(source, 5 + place % 4), place % 3
        documents.append(Document(name, name, name, "", shown, (query,) * 3, choices, gold, (gold,), "acc"))
    return Task("words", shots, tuple(documents), "acc", "validation", seed, "document", "true", "auto", "built in")
