"""How fast this machine's CPU is with a model of some shape, by matrix products that are timed; no weights.

A forward pass of a batch is products with matrices of the model's width. They are timed on random numbers, and a token
costs two operations a parameter that is multiplied. What lies between the products takes time too: `PRODUCTS`, the
share of a forward pass that they are, is an assumption.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headscope.plan.shapes import Shape

PRODUCTS = 0.7
ROWS = 256
SECONDS = 2.0


def measured_speed(shape: Shape, dtype: str) -> float:
    """Tokens a second of a forward pass, by the time of matrix products."""
    operations = 2.0 * (shape.parameters - shape.embedding_parameters)
    return PRODUCTS * measured_flops(shape.d_model, dtype) / operations


def measured_flops(width: int, dtype: str, *, rows: int = ROWS, seconds: float = SECONDS) -> float:
    """Operations a second of a product with a matrix of width x 4 width, and back: the fastest of several."""
    import torch

    kind = getattr(torch, dtype)
    batch = torch.randn(rows, width).to(kind)
    up, down = (torch.randn(*shape).mul_(width**-0.5).to(kind) for shape in ((width, 4 * width), (4 * width, width)))
    best, end = float("inf"), time.perf_counter() + seconds
    with torch.no_grad():
        while best == float("inf") or time.perf_counter() < end:
            start = time.perf_counter()
            (batch @ up) @ down
            best = min(best, time.perf_counter() - start)
    return 2.0 * rows * 8 * width**2 / best
