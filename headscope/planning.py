"""What a study would cost, from the configuration alone: no weights are read.

1. The model is built on the meta device: its heads and FFNs are placed as for a real run, its parameters counted.
2. Tokens are counted on the first documents of every task, with the model's tokenizer where there is one.
3. Every stage is told in forward-equivalents (costs.py), and in floating-point operations: 2 a parameter and token.
Memory: the weights; the residual stream in front of every block, which a knock-out stores for a batch; and what a
gradient holds of a batch, about 34 values a token, layer and unit of width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headscope.budget import Budget
from headscope.costs import SAMPLE, CellTokens, study_cost, tokens_of
from interp.errors import RefusedModelError

if TYPE_CHECKING:
    from headscope.stages.cells import TaskChoice
    from interp.architecture import Layout

GRADIENT_VALUES = 34  # after Korthikanti et al. 2022, without the attention matrix
BATCH_TOKENS = 1024
WIDTHS = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """The model as its configuration says."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    vocabulary: int
    context: int | None
    parameters: int
    embedding_parameters: int
    layers_with_heads: int
    layers_with_ffns: int

    def memory(self, dtype: str) -> dict[str, int]:
        """Bytes of weights, of a knock-out's stored residual stream and of a gradient, for a batch of 1,024 tokens."""
        width = WIDTHS[dtype]
        stream = BATCH_TOKENS * self.d_model * self.layers * width
        return {"weights": self.parameters * width, "knock-out": stream, "gradient": GRADIENT_VALUES * stream}


@dataclass(frozen=True)
class Plan:
    """Tokens by cell, forward-equivalent tokens by stage."""

    shape: Shape
    budget: Budget
    cells: tuple[CellTokens, ...]
    tokens: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.tokens.values())

    @property
    def operations(self) -> float:
        """Floating-point operations, 2 a parameter and token; looking an embedding up is none."""
        return 2.0 * (self.shape.parameters - self.shape.embedding_parameters) * self.total


def plan_study(config: Any, tokenizer: Any, choice: TaskChoice, budget: Budget) -> Plan:
    """What `headscope study` would run; `choice` says tasks, shots and where documents are.

    Raises RefusedModelError for a family that can't be served, UsageError for tasks that can't be had.
    """
    from dataclasses import replace

    shape = shape_of(config)
    cells = replace(choice, limit=SAMPLE).cells("train")
    counted = tokens_of(cells, tokenizer, shape.context, shape.d_model)
    return Plan(shape, budget, tuple(counted), study_cost(budget, counted, shape.layers))


def shape_of(config: Any) -> Shape:
    """Layout and sizes of the model on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    from interp.architecture import read_layout
    from interp.model import HookedModel
    from interp.quiet import transformers_quietly

    with transformers_quietly(), torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config)
    layout = read_layout(hf)
    model = HookedModel(hf, None, layout)
    if not model.attention_layers:
        raise RefusedModelError(f"{layout.architecture} has no layer with attention heads that headscope can read")
    return Shape(
        architecture=layout.architecture,
        layers=model.n_layers,
        heads=model.n_heads,
        kv_heads=model.n_kv_heads,
        d_model=model.d_model,
        vocabulary=model.vocab_size,
        context=model.max_length,
        parameters=sum(parameter.numel() for parameter in hf.parameters()),
        embedding_parameters=_embeddings(hf, layout),
        layers_with_heads=len(model.attention_layers),
        layers_with_ffns=len(model.ffn_layers),
    )


def _embeddings(hf: Any, layout: Layout) -> int:
    """Parameters of the input embedding, unless the unembedding uses them too."""
    embed = hf.get_submodule(layout.embed).weight
    return 0 if hf.get_submodule(layout.unembed).weight is embed else int(embed.numel())
