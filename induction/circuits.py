"""What a head writes, read through the unembedding: z · (W_O N W_U[:, tokens]) (Method 2.2).

N folds the block's own post-attention norm where there is one and the final norm, each as centring and effective gain;
norm biases, lm_head bias and logit soft-cap are left out, positive scalars cancel in every ratio that is made of this.
"""

from __future__ import annotations

from functools import cached_property

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp.architecture import linear_weight
from interp.errors import RefusedModelError
from interp.model import HookedModel
from interp.norms import LinearNorm, probe


class DirectPath:
    """The linear map from a head's z to the logits of chosen tokens, layer by layer."""

    def __init__(self, model: HookedModel) -> None:
        refuse_unreadable(model)
        self.model = model
        self._post: dict[int, LinearNorm | None] = {}

    @cached_property
    def final_norm(self) -> LinearNorm | None:
        name = self.model.layout.ln_final
        return None if name is None else self._probe(self.model.hf.get_submodule(name))

    def post_norm(self, layer: int) -> LinearNorm | None:
        """The norm between the attention output and the residual stream (Gemma 2/3, OLMo 2, GLM-4)."""
        if layer not in self._post:
            module = self.model.layout.inner(self.model.hf, layer, self.model.layout.ln1_post)
            self._post[layer] = None if module is None else self._probe(module)
        return self._post[layer]

    def columns(self, tokens: Int[Tensor, " token"]) -> Float[Tensor, "d_model token"]:
        """N^T W_U of these tokens without the layer's post-attention norm."""
        columns = linear_weight(self.model.hf.get_submodule(self.model.layout.unembed))[tokens].float().T
        return columns if self.final_norm is None else self.final_norm.apply_to_columns(columns)

    def from_heads(
        self, layer: int, columns: Float[Tensor, "*batch d_model token"]
    ) -> Float[Tensor, "*batch head d_value token"]:
        """W_O N W_U: from a head's z to the logits of the tokens."""
        norm = self.post_norm(layer)
        if norm is not None:
            scaled = columns * norm.gain[:, None]
            columns = scaled - scaled.mean(-2, keepdim=True) if norm.centres else scaled
        return einsum(self.model.w_o(layer).float(), columns, "head d m, ... m token -> ... head d token")

    def _probe(self, module: nn.Module) -> LinearNorm:
        return probe(module, self.model.d_model, device=self.model.device, dtype=self.model.dtype)


def refuse_unreadable(model: HookedModel) -> None:
    """Refuse families whose head results do not reach the logits by a linear map."""
    layout = model.layout
    if layout.post_norm:
        raise RefusedModelError(
            f"{layout.architecture} normalises the residual stream after every addition (post-LN, as opt-350m does): a "
            "head's direct effect on the logits is not defined, so copying scores are refused; prefix matching works"
        )
    if layout.ln_final is None or layout.project_out is not None:
        raise RefusedModelError(
            f"headscope can't place what stands between the last block of this {layout.architecture} and its "
            "unembedding (a final norm, a projection of narrow embeddings), so copying scores are refused; prefix "
            "matching works"
        )
    if not model.unembeds_final_norm:
        raise RefusedModelError(
            f"{layout.architecture} changes the final norm's output before the unembedding reads it (a prediction head "
            "of its own, as ModernBERT's): a head's direct effect on the logits is not linear there, so copying scores "
            "are refused; prefix matching works"
        )
    model.refuse_inner_norm()


def content_columns(path: DirectPath, tokens: Int[Tensor, "batch token"]) -> Float[Tensor, "batch d_model token"]:
    """The columns of every sequence's own content tokens."""
    return torch.stack([path.columns(row) for row in tokens])
