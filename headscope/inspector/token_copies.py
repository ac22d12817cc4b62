"""Which tokens a head copies: its OV circuit applied to single tokens (Method 2.3, before the eigenvalues).

1. E_eff as in Method 2.3, for a few thousand random tokens; normalised as the head's layer reads it.
2. logits[t, u] = E_eff[t] W_V W_O N W_U[:, u]: what attending to t adds to the logit of u.
3. A token's copy is logits[t, t] in standard deviations over u, and its rank among all u (1 = it raises itself most).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from interp.token_display import token_texts

if TYPE_CHECKING:
    from headscope.inspector.cache import Kept
    from induction import Candidates
    from interp.model import HookedModel

TOKENS = 2000
SHOWN = 10


@dataclass(frozen=True)
class Copy:
    """One token: how far the head raises it when it attends to it, its rank, and the token that is raised most."""

    token: str
    deviations: float
    rank: int
    most: str


@dataclass(frozen=True)
class TokenCopies:
    """The strongest copies; over all tokens: how often a token raises itself most, and the mean copy."""

    copies: tuple[Copy, ...]
    first: float
    mean: float
    n: int


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens, their effective embedding and their columns of the unembedding."""

    texts: tuple[str, ...]
    embedding: Float[Tensor, "token d_model"]
    columns: Float[Tensor, "d_model token"]


def bytes_of(made: object) -> int:
    """Of the tensors that are kept for further heads; a path's are the model's own."""
    tensors = [made] if isinstance(made, Tensor) else []
    if isinstance(made, Vocabulary):
        tensors = [made.embedding, made.columns]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def token_copies(model: HookedModel, kept: Kept, layer: int, head: int, candidates: Candidates) -> TokenCopies:
    """Raises RefusedModelError for families whose heads do not reach the logits by a linear map."""
    from induction.circuits import DirectPath
    from induction.ov_circuit import normalised

    with torch.no_grad():
        path = kept.made("path", lambda: DirectPath(model))
        words: Vocabulary = kept.made("vocabulary", lambda: vocabulary(model, path, candidates))
        read = kept.made(("normalised", layer), lambda: normalised(model, layer, words.embedding))
        value = model.w_qkv(layer, "v")[head // (model.n_heads // model.n_kv_heads)].float()
        outward = path.from_heads(layer, words.columns)[head]  # d_value token
        logits = einsum(read.float() @ value.T, outward, "source d, d token -> source token")
    return summary(logits.cpu().numpy(), words.texts)


def vocabulary(model: HookedModel, path: object, candidates: Candidates) -> Vocabulary:
    """The same random tokens for every head."""
    from induction.ov_circuit import effective_embedding, random_tokens

    chosen = random_tokens(model, TOKENS, 0, candidates)
    texts = tuple(token_texts(model.tokenizer, [token])[0] for token in chosen.tolist())
    return Vocabulary(texts, effective_embedding(model, chosen), path.columns(chosen))  # type: ignore[attr-defined]


def summary(logits: Float[np.ndarray, "token token"], texts: tuple[str, ...]) -> TokenCopies:
    own = np.diagonal(logits)
    spread = logits.std(1)
    deviations = np.divide(own - logits.mean(1), spread, out=np.zeros_like(own), where=spread > 0)
    ranks = 1 + (logits > own[:, None]).sum(1)
    best = np.argsort(-deviations, kind="stable")[:SHOWN]
    copies = tuple(
        Copy(texts[at], float(deviations[at]), int(ranks[at]), texts[int(logits[at].argmax())]) for at in best.tolist()
    )
    return TokenCopies(copies, float((ranks == 1).mean()), float(deviations.mean()), len(texts))
