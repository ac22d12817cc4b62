"""A two-layer attention-only model with weights written by hand, whose scores are known (Method 7).

A GPT-2 without FFNs. The stream holds four lists of features: which token this is, where it stands, which token stood
before, and what to say. Each feature is a pair of coordinates, +1 and -1, so that LayerNorm's centring does nothing and
its scalar is the same everywhere. The unembedding reads what to say.

| head | looks at | writes |
|---|---|---|
| 0.0 | the previous token | "that is the token before" |
| 0.1 | everything alike (queries and keys are zero) | nothing |
| 0.2 | the previous token | "say it" |
| 0.3 | the previous token | "don't say it" |
| 1.0 | tokens behind the current one's copies | "say it" |
| 1.1 | the same | "don't say it" |
| 1.2 | the same | nothing |

Where there is no copy, heads of layer 1 rest on position 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import interp
from interp.model import HookedModel
from tests.induction import tiny
from tests.interp.families import VOCAB

POSITIONS, HEADS = 64, 5
MATCH, REST = 30.0, 15.0  # attention logits
TOKEN, BEFORE, SAY = (n * VOCAB for n in range(3))
PLACE = 3 * VOCAB
WIDTH = 2 * (PLACE + POSITIONS)
D_HEAD = WIDTH // HEADS


def model() -> HookedModel:
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=HEADS,
        n_inner=1,
        bos_token_id=1,
        tie_word_embeddings=False,
    )
    hf = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            parameter.fill_(float(".ln_" in name and name.endswith("weight")))
        hf.transformer.wte.weight.copy_(features(TOKEN, VOCAB))
        hf.transformer.wpe.weight.copy_(features(PLACE, POSITIONS))
        hf.lm_head.weight.copy_(features(SAY, VOCAB))
        first, second = (block.attn for block in hf.transformer.h)
        _layer_0(first)
        _layer_1(second)
    return interp.load_model(hf, tokenizer=tiny.tokenizer(), check=False)


def features(start: int, count: int) -> Tensor:
    """One row a feature: [count WIDTH]."""
    rows = torch.zeros(count, WIDTH)
    index = torch.arange(count)
    rows[index, 2 * (start + index)], rows[index, 2 * (start + index) + 1] = 1.0, -1.0
    return rows


def _layer_0(attention: torch.nn.Module) -> None:
    scale = (WIDTH / 4) ** 0.5  # of the two features every position has
    place = features(PLACE, POSITIONS) / 2 / scale
    for head in (0, 2, 3):
        _write(attention, head, "q", place, MATCH * D_HEAD**0.5)
        _write(attention, head, "k", place.roll(1, 0))  # position j answers to j + 1
        _write(attention, head, "v", features(TOKEN, VOCAB) / 2 / scale)
    for head, rows in ((0, features(BEFORE, VOCAB)), (2, features(SAY, VOCAB)), (3, -features(SAY, VOCAB))):
        _output(attention, head, rows)


def _layer_1(attention: torch.nn.Module) -> None:
    scale = (WIDTH / 6) ** 0.5  # of three features: what heads 0.2 and 0.3 say cancels
    for head in (0, 1, 2):
        _write(attention, head, "q", features(TOKEN, VOCAB) / 2 / scale, MATCH * D_HEAD**0.5)
        _write(attention, head, "k", features(BEFORE, VOCAB) / 2 / scale)
        _write(attention, head, "v", features(TOKEN, VOCAB) / 2 / scale)
        rest = _columns(head, "q").start + VOCAB  # a dimension that only position 0 answers to
        attention.c_attn.bias[rest] = REST * D_HEAD**0.5
        attention.c_attn.weight[:, rest + WIDTH] = features(PLACE, 1)[0] / 2 / scale
    _output(attention, 0, features(SAY, VOCAB))
    _output(attention, 1, -features(SAY, VOCAB))


def _columns(head: int, name: str) -> slice:
    start = "qkv".index(name) * WIDTH + head * D_HEAD
    return slice(start, start + D_HEAD)


def _write(attention: torch.nn.Module, head: int, name: str, rows: Tensor, times: float = 1.0) -> None:
    """A projection that reads one feature a dimension."""
    block = attention.c_attn.weight[:, _columns(head, name)]
    block[:, : len(rows)] = rows.T * times


def _output(attention: torch.nn.Module, head: int, rows: Tensor) -> None:
    start = head * D_HEAD
    attention.c_proj.weight[start : start + len(rows)] = rows
