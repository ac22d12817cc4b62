"""OV eigenvalue copying: does the circuit from token to logits raise the token? (Elhage et al. 2021; Method 2.3)

M = W_U N W_O W_V g_in E_eff, vocabulary by vocabulary; score = sum(lambda) / sum |lambda| in [-1, 1].
1. E_eff = the residual stream after block 0 with its heads removed (position 1 behind BOS): what later layers know as
   the token's embedding. Variant `raw` takes W_E itself, whose sign can be wrong on tied embeddings.
2. Each token is normalised as the layer's input norm does it: scalar, centring, gain; biases are left out.
3. The columns of W_U are centred over the sampled tokens: softmax ignores one vector added to every row of the
   unembedding, so a score must too. The mean of E is no such freedom and stays.
4. M's non-zero eigenvalues are those of W_V g_in (E_eff' W_U) N W_O, a d_head x d_head matrix, over random tokens.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction.circuits import DirectPath
from induction.definitions import definition
from induction.reading import at_block_0
from induction.sequences import drawn_from
from induction.vocabulary import Candidates, Counts
from interp.architecture import linear_weight
from interp.errors import RefusedModelError
from interp.model import HookedModel
from interp.norms import LinearNorm
from interp.scores import HeadScores

TOKENS = 4000
_BATCH = 256


def ov_copying_score(
    model: HookedModel,
    *,
    variant: Literal["", "raw"] = "",
    tokens: int = TOKENS,
    seed: int = 0,
    candidates: Candidates | None = None,
    counts: Counts | None = None,
) -> HeadScores:
    """Sum of the OV circuit's eigenvalues over the sum of their sizes, in [-1, 1], one value a head.

    tokens: how many random ones. candidates, counts: what to draw from, as in `repeated_sequences`.
    """
    path = DirectPath(model)
    chosen = random_tokens(model, tokens, seed, drawn_from(model, candidates, counts))
    with torch.no_grad():
        embedding = raw_embedding(model, chosen) if variant == "raw" else effective_embedding(model, chosen)
        columns = centred(path.columns(chosen))
        values = torch.full((model.n_layers, model.n_heads), torch.nan)
        for layer in model.attention_layers:
            values[layer] = _layer_scores(model, path, layer, embedding, columns)
    told = {"tokens": len(chosen), "version": definition("ov_copying").version}
    return HeadScores.from_items(
        "ov_copying", values[None], variant=variant, n_kv_heads=model.n_kv_heads, provenance=told
    )


def centred(columns: Float[Tensor, "d_model token"]) -> Float[Tensor, "d_model token"]:
    """Without what all tokens have in common; N is linear: on which side of it this is done makes no difference."""
    return columns - columns.mean(-1, keepdim=True)


def _layer_scores(
    model: HookedModel, path: DirectPath, layer: int, embedding: Float[Tensor, "token d_model"], columns: Tensor
) -> Float[Tensor, " head"]:
    outer = (normalised(model, layer, embedding).T @ columns.T).double()  # d_model d_model: E' W_U^T
    value = model.w_qkv(layer, "v").double()
    group = model.n_heads // model.n_kv_heads
    output = model.w_o(layer).double()
    post = path.post_norm(layer)
    if post is not None:
        output = LinearNorm(post.gain.double(), post.centres).apply_to_rows(output)
    cores = value.repeat_interleave(group, 0) @ outer @ output.mT  # head d_head d_head
    eigenvalues = torch.linalg.eigvals(cores)
    size = eigenvalues.abs().sum(-1)
    return torch.where(size > 0, eigenvalues.real.sum(-1) / size, 0).float().cpu()


def normalised(
    model: HookedModel, layer: int, embedding: Float[Tensor, "token d_model"]
) -> Float[Tensor, "token d_model"]:
    """Every token as the layer's attention reads it: the input norm's answer without its bias."""
    module = model.layout.inner(model.hf, layer, model.layout.ln1)
    if module is None:
        return embedding  # no norm in front of attention (OLMo 2)
    offloaded = any(parameter.is_meta for parameter in module.parameters())  # its weights come when it is called
    norm = module if offloaded else copy.deepcopy(module).float()
    tokens = embedding.to(model.dtype) if offloaded else embedding
    return (norm(tokens) - norm(torch.zeros_like(tokens[:1]))).float()


def effective_embedding(model: HookedModel, tokens: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
    """The residual stream after block 0 with its heads removed, every token at position 1 behind BOS."""
    front = getattr(model.tokenizer, "bos_token_id", None)
    first = tokens[:1] if front is None else torch.tensor([front], device=tokens.device)
    mask = torch.ones(model.n_layers, model.n_heads)
    mask[0] = 0
    found = []
    with model.gates(heads=mask):
        for part in tokens.split(_BATCH):
            pairs = torch.stack([first.expand_as(part), part], dim=1)
            found.append(at_block_0(model, pairs, "resid_post")[:, 1].float())
    return torch.cat(found)


def raw_embedding(model: HookedModel, tokens: Int[Tensor, " token"]) -> Float[Tensor, "token d_model"]:
    """W_E itself."""
    weight = linear_weight(model.hf.get_submodule(model.layout.embed))
    if weight.shape[1] != model.d_model:
        raise RefusedModelError("the embedding is projected before the first block: the raw variant is not defined")
    return weight[tokens].float()


def random_tokens(
    model: HookedModel, count: int, seed: int, candidates: Candidates | None = None
) -> Int[Tensor, " token"]:
    """Distinct candidate tokens, as many as asked for or as there are."""
    ids = drawn_from(model, candidates, None).ids
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    return ids[order[:count]].to(model.device)
