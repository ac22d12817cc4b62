"""How fast this machine is with a model of some shape, by matrix products that are timed; no weights.

A forward pass of a batch is products with matrices of the model's width. They are timed on random numbers, and a token
costs two operations a parameter that is multiplied. What lies between the products takes time too: `PRODUCTS`, the
share of a forward pass that they are, is an assumption. On the CPU all threads of torch work at a product, and a core
has its share of them: workers have some cores each, and together no more than the machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from headscope.plan.placement import devices

if TYPE_CHECKING:
    from headscope.plan.shapes import Shape

PRODUCTS = 0.7
ROWS = {"cpu": 256, "cuda": 8192}
SECONDS = 2.0


def measured_speed(shape: Shape, dtype: str) -> float:
    """Tokens a second of a forward pass with all threads, by the time of matrix products on the CPU."""
    operations = 2.0 * (shape.parameters - shape.embedding_parameters)
    return PRODUCTS * measured_flops(shape.d_model, dtype) / operations


def reached_flops(width: int, dtype: str, device: str = "cpu") -> float:
    """Operations a second of one core, or of the GPU, in a forward pass."""
    import torch

    cores = torch.get_num_threads() if device == "cpu" else 1
    return PRODUCTS * measured_flops(width, dtype, device) / cores


def device_here() -> str | None:
    """The known name of the first GPU of this machine."""
    import torch

    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name(0).lower().replace(" ", "")
    return next((known for known in devices() if known in name), None)


def measured_flops(
    width: int, dtype: str, device: str = "cpu", *, rows: int | None = None, seconds: float = SECONDS
) -> float:
    """Operations a second of a product with a matrix of width x 4 width, and back: the fastest of several."""
    import torch

    count = rows or ROWS[device]
    kind: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
    batch = torch.randn(count, width).to(**kind)
    up, down = (torch.randn(*shape).mul_(width**-0.5).to(**kind) for shape in ((width, 4 * width), (4 * width, width)))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    best, end = float("inf"), time.perf_counter() + seconds
    with torch.no_grad():
        while best == float("inf") or time.perf_counter() < end:
            wait()
            start = time.perf_counter()
            (batch @ up) @ down
            wait()
            best = min(best, time.perf_counter() - start)
    return 2.0 * count * 8 * width**2 / best
