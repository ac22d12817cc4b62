"""The one table of the project: a value for every (layer, head), with its interval, null and provenance.

Axis names, used in every signature and einops pattern of this repository:

| axis | meaning |
|---|---|
| batch | sequences run together |
| query, key | positions in a sequence, counted from 0 |
| layer | blocks of the model, counted from 0 |
| head | query heads of a layer, counted from 0 |
| kv_head | key-value heads; query head h reads kv head h // (heads / kv_heads) |
| d_head, d_value, d_model, vocab | widths |
| item | what a score is averaged over: sequences (induction) or documents (ablation) |
| draw | draws of a null or of a bootstrap |

A layer without softmax attention has no heads: its row is NaN, never 0 (Method 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask
from interp.shown import one_line, ranking_line, score_line, score_table

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

BOOTSTRAP_DRAWS = 2000
FAMILY_LEVEL = 0.05
ROUNDED = 1e-6  # of a score: what float32 rounds away in sums of so many attended keys


class ScoredHead(NamedTuple):
    """One row of `HeadScores.top`."""

    layer: int
    head: int
    score: float

    @property
    def name(self) -> str:
        """18.6"""
        return f"{self.layer}.{self.head}"

    @property
    def place(self) -> tuple[int, int]:
        """(18, 6): where it stands in a table of scores."""
        return self.layer, self.head

    def __str__(self) -> str:
        return f"{self.name} {self.score:.3f}"


class ScoredFFN(NamedTuple):
    """One row of `FFNScores.top`."""

    layer: int
    score: float

    @property
    def name(self) -> str:
        """The layer."""
        return str(self.layer)

    @property
    def place(self) -> tuple[int]:
        """Where it stands in a table of scores."""
        return (self.layer,)


@one_line
@dataclass(frozen=True, eq=False)
class Null:
    """What a score looks like when there is nothing to find (Method 2.7).

    `mean` is the null's average; `p` = (1 + #{null >= score}) / (draws + 1) for each component alone, `p_family` the
    same against the maximum over all components.
    """

    name: str
    mean: Float[Tensor, "..."]
    p: Float[Tensor, "..."]
    p_family: Float[Tensor, "..."]

    @classmethod
    def from_draws(
        cls,
        name: str,
        observed: Float[Tensor, "*grid"],
        draws: Float[Tensor, "draw *grid"],
        *,
        two_sided: bool = False,
        partial: bool = False,
    ) -> Null:
        """p-values of `observed` against `draws` of the same statistic; two-sided counts distance from their mean.

        What differs by what float32 rounds away is a tie.
        partial: draws that do not exist for a component (NaN) do not count for it; otherwise they leave it without p.
        """
        there = ~draws.isnan()
        partly = partial and bool((there.any(0) & ~there.all(0)).any())
        centre = draws.double().nanmean(0) if partly else draws.double().mean(0)
        seen, null = observed.double(), draws.double()
        if two_sided:
            seen, null = (seen - centre).abs(), (null - centre).abs()
        seen = seen - ROUNDED * observed.double().abs()
        count = len(draws)
        p = (1 + (null >= seen).sum(0)) / ((there.sum(0) if partly else count) + 1)
        highest = null.flatten(1).masked_fill(null.flatten(1).isnan(), -torch.inf).amax(1)
        p_family = (1 + (highest.view(-1, *[1] * observed.dim()) >= seen).sum(0)) / (count + 1)
        missing = observed.isnan() | centre.isnan()
        p, p_family = (value.masked_fill(missing, torch.nan).float() for value in (p, p_family))
        return cls(name, centre.float(), p, p_family)


@dataclass(frozen=True, eq=False, repr=False)
class _Scores:
    """What head scores and FFN scores share; see `HeadScores` for the fields."""

    name: str
    mean: Float[Tensor, "..."]
    std: Float[Tensor, "..."]
    ci_low: Float[Tensor, "..."]
    ci_high: Float[Tensor, "..."]
    n: int
    variant: str = ""
    per_item: Float[Tensor, "item ..."] | None = None
    nulls: tuple[Null, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, place: int | tuple[int, ...]) -> float | Tensor:
        """`scores[18, 6]` is that head's value, `scores[18]` all values of the layer (of an FFN: its value).

        Raises UsageError for what the model does not have.
        """
        try:
            found = self.mean[place]
        except IndexError as error:
            size = " x ".join(map(str, self.mean.shape))
            raise UsageError(f"{self.name} has no value at {place}: there are {size}, counted from 0") from error
        return found if found.dim() else float(found)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(
            f"{type(self).__name__} is no sequence: .top(10) has the highest, .mean all, .to_frame() a table"
        )

    def __repr__(self) -> str:
        return score_line(self)  # type: ignore[arg-type]

    def _repr_html_(self) -> str:
        """What a notebook shows: the top ten."""
        return score_table(self)  # type: ignore[arg-type]

    @property
    def title(self) -> str:
        """Name and variant in words."""
        return self.name.replace("_", " ") + (f" ({self.variant.replace('_', ' ')})" if self.variant else "")

    @property
    def null_mean(self) -> Float[Tensor, "..."]:
        """The highest mean among the nulls; NaN where no null was drawn."""
        return self._over_nulls("mean")

    @property
    def p(self) -> Float[Tensor, "..."]:
        """The largest p among the nulls, each component alone; NaN where no null was drawn."""
        return self._over_nulls("p")

    @property
    def p_family(self) -> Float[Tensor, "..."]:
        """The largest family-wise p (against the maximum over components) among the nulls."""
        return self._over_nulls("p_family")

    def above_null(self, level: float = FAMILY_LEVEL) -> Tensor:
        """Which components beat every null at this family-wise level (Method 2.7); refuses when none was drawn."""
        if not self.nulls:
            raise UsageError(f"{self.name}: no null was drawn, so nothing can be called above it; score with draws > 0")
        return self.p_family <= level

    def with_nulls(self, *nulls: Null) -> Any:
        return replace(self, nulls=self.nulls + nulls)

    def _over_nulls(self, what: str) -> Tensor:
        if not self.nulls:
            return torch.full_like(self.mean, torch.nan)
        return torch.stack([getattr(null, what) for null in self.nulls]).amax(0)

    def _columns(self) -> dict[str, np.ndarray]:
        names = ("mean", "std", "ci_low", "ci_high", "null_mean", "p", "p_family")
        return {name: getattr(self, name).flatten().numpy() for name in names}


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores(_Scores):
    """A score for every head, float32 [layer head] on the CPU.

    mean, std, ci_low, ci_high: over items (sequences or documents), with a 95% percentile-bootstrap interval.
    per_item: [item layer head], kept so that any other summary can be made; n: how many items.
    nulls: what was drawn to compare with; null_mean, p and p_family read them.
    """

    n_kv_heads: int | None = None
    SUMMARY: ClassVar = ("mean", "std", "ci_low", "ci_high")

    @classmethod
    def from_items(
        cls,
        name: str,
        per_item: Float[Tensor, "item layer head"],
        *,
        seed: int = 0,
        partial: bool = False,
        **fields: Any,
    ) -> HeadScores:
        """Mean, standard deviation and marginal bootstrap interval over items.

        partial: items without a value (NaN) leave a head's mean; otherwise they make it NaN.
        """
        items = per_item.detach().float().cpu()
        summary: dict[str, Any] = {**bootstrap(items, seed=seed, partial=partial), **fields}
        return cls(name=name, n=len(items), per_item=items, **summary)

    def top(self, k: int = 10) -> list[ScoredHead]:
        """The k highest heads, best first; heads that do not exist (NaN) are left out."""
        n_heads = self.mean.shape[1]
        order = _descending(self.mean.flatten())[:k]
        return [ScoredHead(i // n_heads, i % n_heads, float(self.mean.flatten()[i])) for i in order]

    def ranking(self) -> Ranking:
        """Ascending order of the heads: the first is the first to be removed."""
        return Ranking(kind="head", name=self.name, scores=self.mean)

    def kv_group_max(self) -> Float[Tensor, "layer kv_head"]:
        """A kv group's score: the maximum over its query heads (Method 0)."""
        layers, heads = self.mean.shape
        groups = self.n_kv_heads or heads
        return self.mean.view(layers, groups, heads // groups).amax(-1)

    def to_frame(self) -> pd.DataFrame:
        """One row a head, in the columns of `head_scores.parquet`."""
        import pandas as pd

        layers, heads = self.mean.shape
        layer, head = np.divmod(np.arange(layers * heads), heads)
        group = heads // (self.n_kv_heads or heads)
        frame = {"layer": layer, "head": head, "kv_head": head // group, "score": self.name, "variant": self.variant}
        return pd.DataFrame({**frame, **self._columns(), "n": self.n})

    def figure(self, **options: Any) -> go.Figure:
        """The mosaic of heads as a plotly figure."""
        from interp.figure import mosaic

        return mosaic(self.mean.numpy(), title=self.title, **options)


@dataclass(frozen=True, eq=False, repr=False)
class FFNScores(_Scores):
    """A score for every FFN, float32 [layer]; fields as in `HeadScores`."""

    @classmethod
    def from_items(cls, name: str, per_item: Float[Tensor, "item layer"], *, seed: int = 0, **fields: Any) -> FFNScores:
        items = per_item.detach().float().cpu()
        summary: dict[str, Any] = {**bootstrap(items, seed=seed), **fields}
        return cls(name=name, n=len(items), per_item=items, **summary)

    def top(self, k: int = 10) -> list[ScoredFFN]:
        return [ScoredFFN(layer, float(self.mean[layer])) for layer in _descending(self.mean)[:k]]

    def ranking(self) -> Ranking:
        """Ascending order of the FFNs: the first is the first to be removed."""
        return Ranking(kind="ffn", name=self.name, scores=self.mean)

    def to_frame(self) -> pd.DataFrame:
        """One row an FFN, in the columns of `ffn_scores.parquet`."""
        import pandas as pd

        frame = {"layer": np.arange(len(self.mean)), "score": self.name, "variant": self.variant}
        return pd.DataFrame({**frame, **self._columns(), "n": self.n})

    def figure(self, **options: Any) -> go.Figure:
        """The scores by layer as a plotly figure."""
        from interp.figure import by_layer

        return by_layer(self.mean.numpy(), title=self.title, **options)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Components in the order of removal: ascending by score, ties by position, components without a score left out."""

    kind: Literal["head", "ffn"]
    name: str
    scores: Float[Tensor, "..."]

    def __repr__(self) -> str:
        return ranking_line(self)

    @property
    def order(self) -> Int[Tensor, " component"]:
        """Flat indices (layer * heads + head, or layer), least important first."""
        flat = self.scores.flatten()
        order = torch.sort(flat.nan_to_num(nan=torch.inf), stable=True).indices
        return order[~flat[order].isnan()]

    def removed(self, percent: int | float) -> int:
        """How many components `percent` removes: floor(percent n / 100) (Method 4).

        Raises UsageError where no component has a score: removing a share of nothing would pass for a success.
        """
        if not 0 <= percent <= 100:
            raise UsageError(f"percent must lie between 0 and 100, not {percent}")
        if not len(self.order):
            kind = {"head": "head", "ffn": "FFN"}[self.kind]
            raise UsageError(
                f"no {kind} has a score in the order {self.name!r}, so there is nothing to remove: the model has no "
                f"{kind}s that headscope can place, or every score is NaN"
            )
        return int(percent * len(self.order) / 100 + 1e-9)

    def mask(self, percent: int | float) -> HeadMask | FFNMask:
        """1 keeps, 0 removes the `percent` lowest components."""
        values = torch.ones_like(self.scores).flatten()
        values[self.order[: self.removed(percent)]] = 0.0
        values = values.view_as(self.scores)
        return HeadMask(values) if self.kind == "head" else FFNMask(values)

    def figure(self, **options: Any) -> go.Figure:
        """Each component's place in the order, 0 = removed first."""
        from interp.figure import by_layer, mosaic

        places = torch.full_like(self.scores, torch.nan).flatten()
        places[self.order] = torch.arange(len(self.order), dtype=places.dtype)
        draw = mosaic if self.kind == "head" else by_layer
        return draw(places.view_as(self.scores).numpy(), title=f"order of removal by {self.name}", **options)


def bootstrap(
    items: Float[Tensor, "item *grid"], *, seed: int = 0, draws: int = BOOTSTRAP_DRAWS, partial: bool = False
) -> dict[str, Tensor]:
    """mean, std (n - 1), and the 95% percentile interval of the mean over items; `partial`: over what is there."""
    n = len(items)
    if n == 0:
        raise UsageError("a score needs at least one item (sequence or document), got none")
    flat = items.double().flatten(1)
    there = ~flat.isnan()
    partial = partial and bool((there.any(0) & ~there.all(0)).any())
    mean = flat.nanmean(0) if partial else flat.mean(0)
    std = flat.std(0) if n > 1 else torch.full_like(mean, torch.nan)
    if partial:
        std = ((flat - mean).square().nansum(0) / (there.sum(0) - 1).clamp_min(0)).sqrt()
    low = high = torch.full_like(mean, torch.nan)
    if n > 1:
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
        weights = torch.from_numpy(counts).double() / n
        means = weights @ flat
        if partial:
            means = (weights @ flat.nan_to_num(nan=0.0)) / (weights @ there.double())
        quantiles = (np.nanquantile if partial else np.quantile)(means.numpy(), [0.025, 0.975], axis=0)
        low, high = (torch.from_numpy(q) for q in quantiles)
    shape = items.shape[1:]
    values = {"mean": mean, "std": std, "ci_low": low, "ci_high": high}
    return {name: value.view(shape).float() for name, value in values.items()}


def _descending(flat: Float[Tensor, " component"]) -> Sequence[int]:
    order = torch.sort(flat.nan_to_num(nan=-torch.inf), descending=True, stable=True).indices
    return order[~flat[order].isnan()].tolist()
