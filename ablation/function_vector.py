"""The function vector itself: made of FV heads, added to the residual stream, saved, and tested (Method 3.5).

1. value = sum over the heads of zbar W_O, through the norm behind attention where there is one (with the scale that the
   mean of all heads has there), times the family's factor: what these heads write at the end of a prompt, on average.
2. Added at the last position of prompts without demonstrations, in front of block L/4, L/3 and L/2, it must raise
   `choice` more than the vectors of as many other heads of the same layers do. `vector_test` shows whether it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablation.attribution import ScaledNorm
from ablation.control_sets import control_sets
from ablation.outcomes import Choices, problem_of
from ablation.provenance import model_mark
from ablation.statistics.intervals import ClusterEstimate, cluster_mean
from ablation.statistics.permutation import RankP, rank_p_value
from ablation.vector_tasks import VectorTask
from interp import hooks
from interp.errors import StoreError, UsageError
from interp.overflow import broken
from interp.patched_rows import prepare
from interp.patching import Patch
from interp.scored_paths import ScoredPaths
from interp.shown import one_line

if TYPE_CHECKING:
    from ablation.function_vectors import FunctionVectors
    from interp.model import HookedModel

Head = tuple[int, int]
DEPTHS = (4, 3, 2)  # blocks L/4, L/3, L/2
CONTROLS = 19


@one_line
@dataclass(frozen=True, eq=False)
class FunctionVector:
    """A direction in the residual stream: what some heads write at the end of a prompt of one function, on average.

    means: zbar of all heads. provenance["model"] is the mark of the model that it belongs to.
    """

    function: str
    heads: tuple[Head, ...]
    means: Float[Tensor, "layer head d_value"]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def value(self, model: HookedModel) -> Float[Tensor, " d_model"]:
        """The vector. Raises UsageError for another model than the one that it was made on."""
        refuse_other(model, self.provenance)
        return written(model, self.heads, self.means)

    @contextmanager
    def added(self, model: HookedModel, layer: int, *, position: int = -1, scale: float = 1.0) -> Iterator[None]:
        """Add it to the stream in front of block `layer`, at one position of whatever runs inside."""
        if not 0 <= layer < model.n_layers:
            raise UsageError(f"block {layer} does not exist: the model has blocks 0-{model.n_layers - 1}")
        vector = self.value(model) * scale

        def add(stream: Tensor) -> Tensor:
            changed = stream.clone()
            changed[:, position] += vector.to(stream)
            return changed

        with hooks.edit(model, hooks.Point("resid_pre", layer), add):
            yield

    def save(self, path: str | Path) -> None:
        """As safetensors, with the model's mark."""
        Path(path).write_bytes(self.content())

    def content(self) -> bytes:
        """What `save` writes."""
        from safetensors.torch import save

        told = {"function": self.function, "heads": self.heads, "provenance": self.provenance}
        metadata = {"headscope_function_vector": json.dumps(told, sort_keys=True, default=str)}
        return bytes(save({"means": self.means.contiguous()}, metadata=metadata))

    @classmethod
    def load(cls, path: str | Path, model: HookedModel) -> FunctionVector:
        """A saved vector. Raises StoreError for a file that is none, UsageError for a vector of another model."""
        from safetensors import safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                told = json.loads((file.metadata() or {})["headscope_function_vector"])
                means = file.get_tensor("means")
        except Exception as error:  # safetensors raises errors of its own
            raise StoreError(
                f"{path} holds no function vector ({type(error).__name__}: {error}): save one with FunctionVector.save"
            ) from error
        refuse_other(model, told["provenance"])
        heads = tuple((int(layer), int(head)) for layer, head in told["heads"])
        return cls(told["function"], heads, means, told["provenance"])


def made_of(vectors: FunctionVectors, k: int | None, function: str | None) -> FunctionVector:
    """The vector of the FV heads, or of the top k, with the means of one function."""
    if function is None:
        if len(vectors.means) > 1:
            raise UsageError(f"there are {len(vectors.means)} functions: name one of {', '.join(vectors.means)}")
        (function,) = vectors.means
    if function not in vectors.means:
        raise UsageError(f"there is no function {function!r}; there are {', '.join(vectors.means)}")
    chosen = vectors.heads if k is None else tuple(vectors.scores.top(k))
    if not chosen:
        raise UsageError(
            "no head is an FV head here, so there is no vector of them: say how many of the highest heads to take, "
            "as in vector(10)"
        )
    heads = tuple((head.layer, head.head) for head in chosen)
    return FunctionVector(function, heads, vectors.means[function], {"model": vectors.provenance["model"]})


def refuse_other(model: HookedModel, provenance: Mapping[str, Any]) -> None:
    """Raises UsageError where the mark is another model's."""
    mark = provenance.get("model", {})
    if mark.get("weight_hash") != model.weight_hash.sha256:
        raise UsageError(
            f"this function vector was made on {mark.get('source') or mark.get('architecture')}, weights "
            f"{str(mark.get('weight_hash'))[:12]}, and this model is {model_mark(model).get('source')}, weights "
            f"{model.weight_hash.sha256[:12]}: a vector means nothing in another model; make it anew"
        )


def written(
    model: HookedModel, heads: Sequence[Head], means: Float[Tensor, "layer head d_value"]
) -> Float[Tensor, " d_model"]:
    """What heads add to the residual stream when their z is its mean."""
    model.refuse_inner_norm()
    total = torch.zeros(1, model.d_model, dtype=torch.float64)
    for layer in sorted({layer for layer, _ in heads}):
        z, w_o = means[layer].double(), model.w_o(layer).double().cpu()
        results = torch.einsum("hd,hdm->hm", z, w_o)
        part = results[[head for where, head in heads if where == layer]].sum(0, keepdim=True)
        behind = model.layout.inner(model.hf, layer, model.layout.ln1_post)
        if behind is not None:
            part = ScaledNorm.of(model, behind).part(part, results.sum(0, keepdim=True))
        total += part * model.layout.residual_scale
    return total[0].float()


# --- does it do what it is called for? -------------------------------------------------------------------------------


@one_line
@dataclass(frozen=True, eq=False)
class VectorTest:
    """What the vector raises `choice` by at one block, beside layer-matched heads' vectors; by query.

    tested: [query]. controls: [control query]. plain: choice without demonstrations and without a vector.
    """

    layer: int
    tested: Float[np.ndarray, "query"]
    controls: Float[np.ndarray, "control query"]
    plain: Float[np.ndarray, "query"]
    clusters: tuple[str, ...]

    @property
    def raised(self) -> ClusterEstimate:
        return cluster_mean(self.tested, self._labels)

    @property
    def more_than_controls(self) -> ClusterEstimate:
        """The tested vector's rise less the controls' mean rise, paired by query."""
        return cluster_mean(self.tested - self.controls.mean(0), self._labels)

    @property
    def rank(self) -> RankP:
        """How many controls raise as much."""
        return rank_p_value(float(self.tested.mean()), self.controls.mean(1))

    @property
    def _labels(self) -> np.ndarray:
        return np.unique(np.asarray(self.clusters), return_inverse=True)[1].astype(np.int64)


def vector_test(
    model: HookedModel,
    vectors: FunctionVectors,
    tasks: VectorTask | Sequence[VectorTask],
    *,
    k: int | None = None,
    controls: int = CONTROLS,
    seed: int = 0,
) -> tuple[VectorTest, ...]:
    """Add each function's vector to its queries without demonstrations, at three depths.

    Raises UsageError where no head is an FV head and no k is given.
    """
    held = [tasks] if isinstance(tasks, VectorTask) else list(tasks)
    some = made_of(vectors, k, next(iter(vectors.means)))
    exists = vectors.scores.mean.isfinite().numpy()
    matched = control_sets(some.heads, exists, kind="layer_matched", n=controls, seed=seed)
    sets = [some.heads, *(one.heads for one in matched)]
    layers = sorted({model.n_layers // depth for depth in DEPTHS})
    rows, plain, clusters = [], [], []
    for task in held:
        added = {name: [written(model, heads, vectors.means[name]) for heads in sets] for name in task.functions}
        for document, tokens in zip(task.plain.documents, task.plain.token_documents(model), strict=True):
            if problem_of(tokens, document.right) is not None or len(set(tokens.contexts)) > 1:
                continue
            without, raised = _raised(model, document, tokens, added[task.function_of(document)], layers)
            rows.append(raised)
            plain.append(without)
            clusters.append(f"{task.name}|{tokens.cluster}")
    found = np.stack(rows)  # query layer set
    return tuple(
        VectorTest(layer, found[:, n, 0], found[:, n, 1:].T, np.array(plain), tuple(clusters))
        for n, layer in enumerate(layers)
    )


def _raised(
    model: HookedModel, document: Any, tokens: Any, added: Sequence[Tensor], layers: Sequence[int]
) -> tuple[float, Float[np.ndarray, "layer set"]]:
    """What each vector raises the choice of one prompt by, at each block."""
    last = len(tokens.context) - 1
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([tokens.context]), [("resid_pre", layer) for layer in layers])
    patches = [
        Patch(streams={layer: (cache["resid_pre", layer][0, -1] + vector.to(cache["resid_pre", layer]))[None]})
        for layer in layers
        for vector in added
    ]
    rows = prepare(model, ScoredPaths.of_choices(tokens.context, tokens.choices), [last])
    choices = Choices.of([tokens], right=[document.right])
    found = torch.cat([rows.plain[None], rows.run(patches)])
    if not bool(found.isfinite().all()):
        raise broken(model, "the log-likelihood behind a vector", document=tokens.id, tokens=tokens.context)
    values = choices.values("choice", found[:, None])[:, 0]
    return float(values[0]), (values[1:] - values[0]).view(len(layers), len(added)).numpy()
