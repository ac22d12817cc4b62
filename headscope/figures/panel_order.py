"""The order of a figure's panels: what the primary test is about comes first (Method 5), with the most shots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Labels = Mapping[str, Any]

LEVELS = {
    "global": "Spearman's rho",
    "within_layer": "Rho within layers",
    "global_corrected": "Rho, disattenuated",
    "within_layer_corrected": "Rho within layers, disattenuated",
    "kendall": "Kendall's tau-b",
    "bansal_released": "As in the paper's released code",
}
VARIANTS = ("token", "signed", "document")
ORDERS: Mapping[str, tuple[str, ...]] = {
    "metric": ("choice_gain", "choice", "acc"),
    "score": ("prefix_matching",),
    "variant": ("", "argmax", *VARIANTS),
    "level": tuple(LEVELS),
    "b": tuple(f"importance/{variant}" for variant in VARIANTS),
    "ablation": ("mean", "zero"),
}


def primary_first(listed: Iterable[Labels], *names: str) -> list[Labels]:
    """Sorted by these labels, each in its own order, what that does not name behind it; shots downwards."""
    return sorted(listed, key=lambda labels: tuple(_rank(name, labels[name]) for name in names))


def _rank(name: str, value: Any) -> tuple[int, str]:
    if name == "shots":
        return -int(value), ""
    order = ORDERS.get(name, ())
    return order.index(value) if value in order else len(order), str(value)
