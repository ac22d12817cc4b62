"""Small tokenizers whose merges and scores are known: what the tests of candidates and sequences draw from."""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

Merge = tuple[str, str]


def pair_merges(alphabet: str) -> list[Merge]:
    """Every pair of letters, in an order that is neither the alphabet's nor any id's."""
    pairs = list(itertools.product(alphabet, repeat=2))
    random.Random(7).shuffle(pairs)
    return pairs


def shuffled_ids(tokens: Sequence[str], first: int, seed: int = 3) -> dict[str, int]:
    order = list(range(first, first + len(tokens)))
    random.Random(seed).shuffle(order)
    return dict(zip(tokens, order, strict=True))


def opt_like(merges: Sequence[Merge], *, seed: int = 3, added: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE as OPT has it: special tokens first, the others numbered in another order than they were merged.

    The tokenizer puts its BOS, `</s>`, in front of every text.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = list(dict.fromkeys([*letters, *("".join(pair) for pair in merges)]))
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    tokenizer = Tokenizer(models.BPE({**special, **shuffled_ids(tokens, 4, seed)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>")
    fast.add_tokens([AddedToken(token, normalized=False) for token in added])
    return fast


def gemma_like(merges: Sequence[Merge]) -> PreTrainedTokenizerFast:
    """BPE in SentencePiece's spelling as Gemma has it: the letters are numbered behind all merges."""
    made = list(dict.fromkeys("".join(pair) for pair in merges))
    letters = ["▁", *string.ascii_letters]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *made, *letters]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges), byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>")


def unigram(scores: Sequence[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """A Unigram vocabulary: `<unk>`, then the pieces in the order given, then single letters with a low score."""
    letters = [(letter, -50.0 - index) for index, letter in enumerate(string.ascii_lowercase)]
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), *scores, *letters], unk_id=0))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", clean_up_tokenization_spaces=False)


def word_level(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Whole words, with nothing that tells which are frequent."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["<unk>", *words])}, "<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
