"""The routes to attention probabilities answer alike, whatever stands in the mask, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.attention import chunked, door, flex, fused
from interp.attention.rows import AttentionRows, FactoredRows, blocks
from interp.hooks import dense_pattern
from tests.interp.conftest import family_named
from tests.interp.families import padded, random_tokens

BATCH, HEADS, GROUPS, LENGTH, WIDTH = 2, 6, 2, 37, 8
ROUTES = {"fused": fused, "flex": flex, "chunked": chunked}


def drawn(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Grouped heads: three query heads share a key head."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, heads, LENGTH, WIDTH) for heads in (HEADS, GROUPS, GROUPS)]
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return q.to(dtype), k.to(dtype), v.to(dtype)


def causal() -> Tensor:
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(BATCH, 1, -1, -1)


def masks() -> dict[str, Tensor | None]:
    window = causal() & ~causal().tril(-9)
    left, right = (causal().clone() for _ in range(2))
    left[0, :, :, :5] = False
    right[1, :, :, -5:] = False
    return {
        "causal": None,
        "written out": causal(),
        "window": window,
        "left": left,
        "right": right,
        "left in a window": window & left,
    }


def slow(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, scale: float, softcap: float | None) -> tuple[Tensor, ...]:
    """Output, log-sum-exp and probabilities by loops over heads and queries; rows that see nothing are 0."""
    output, lse = v.new_zeros(BATCH, HEADS, LENGTH, WIDTH), v.new_full((BATCH, HEADS, LENGTH), torch.inf)
    pattern = v.new_zeros(BATCH, HEADS, LENGTH, LENGTH)
    for b in range(BATCH):
        for h in range(HEADS):
            for i in range(LENGTH):
                seen = allowed[b, 0, i].nonzero().flatten()
                if not len(seen):
                    continue
                logits = (k[b, h // 3, seen] @ q[b, h, i]) * scale
                logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
                lse[b, h, i] = logits.logsumexp(0)
                pattern[b, h, i, seen] = torch.softmax(logits, 0)
                output[b, h, i] = pattern[b, h, i, seen] @ v[b, h // 3, seen]
    return output, lse, pattern


@pytest.mark.parametrize("kind", masks())
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_equals_loops(route: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "QUERY_BLOCK", 10)
    monkeypatch.setattr(fused, "MASKED_BLOCK", 10)
    q, k, v = drawn()
    given = masks()[kind]
    allowed = causal() if given is None else given
    output, lse = ROUTES[route].attend(q, k, v, given, 0.4)
    expected = slow(*drawn(torch.float64), allowed, 0.4, None)
    torch.testing.assert_close(output.double(), expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(lse.double(), expected[1], atol=1e-5, rtol=0)
    rows = FactoredRows(q, k, lse, 0.4, given)
    torch.testing.assert_close(dense_pattern(rows).double(), expected[2], atol=1e-5, rtol=0)
    queries, keys = torch.randint(LENGTH, (2, 300), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rows.at(queries, keys).double(), expected[2][:, :, queries, keys], atol=1e-5, rtol=0)
    assert torch.equal(rows.reachable(queries, keys), allowed[:, 0, queries, keys].all(0))


def test_chunked_caps_and_serves_other_value_widths() -> None:
    q, k, v = drawn()
    output, lse = chunked.attend(q, k, v, None, 0.4, softcap=1.5)
    expected = slow(*drawn(torch.float64), causal(), 0.4, 1.5)
    torch.testing.assert_close(output.double(), expected[0], atol=1e-5, rtol=0)
    rows = FactoredRows(q, k, lse, 0.4, None, 1.5)
    torch.testing.assert_close(dense_pattern(rows).double(), expected[2], atol=1e-5, rtol=0)
    narrow, _ = chunked.attend(q, k, v[..., :3], None, 0.4, softcap=1.5)
    torch.testing.assert_close(narrow, output[..., :3])


def test_float64_stays_float64() -> None:
    q, k, v = drawn(torch.float64)
    expected = slow(q, k, v, causal(), 0.4, None)
    for route in ("fused", "chunked"):
        output, lse = ROUTES[route].attend(q, k, v, None, 0.4)
        torch.testing.assert_close(output, expected[0], atol=1e-12, rtol=0)
        torch.testing.assert_close(dense_pattern(FactoredRows(q, k, lse, 0.4)), expected[2], atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_float32_rows(dtype: torch.dtype) -> None:
    q, k, v = drawn(dtype)
    expected = slow(q.double(), k.double(), v.double(), causal(), 0.4, None)
    for route in ("fused", "chunked"):
        output, lse = ROUTES[route].attend(q, k, v, None, 0.4)
        pattern = dense_pattern(FactoredRows(q, k, lse, 0.4))
        assert output.dtype == dtype and pattern.dtype == torch.float32
        torch.testing.assert_close(pattern.double(), expected[2], atol=2e-3, rtol=0)


@pytest.mark.parametrize("route", ROUTES)
def test_sinks_take_attention(route: str) -> None:
    """One more logit a head: rows sum to 1 minus the sink's share, and the output shrinks with them."""
    q, k, v = drawn()
    sink = torch.linspace(-2, 2, HEADS)
    output, lse = door.with_sink(*ROUTES[route].attend(q, k, v, None, 0.4), sink)
    pattern = dense_pattern(FactoredRows(q, k, lse, 0.4))
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k.repeat_interleave(3, 1)) * 0.4
    logits = logits.masked_fill(~causal(), -torch.inf)
    whole = torch.cat([logits, sink.view(1, -1, 1, 1).expand(BATCH, -1, LENGTH, 1)], -1).softmax(-1)
    torch.testing.assert_close(pattern, whole[..., :-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(output, whole[..., :-1] @ v.repeat_interleave(3, 1), atol=1e-5, rtol=0)


FAMILIES = ("llama", "mistral", "gemma3", "gpt_oss", "opt")


@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_gives_the_same_rows_and_outputs_by_each_route(name: str, side: str) -> None:
    model = family_named(name).model
    tokens, given = padded(random_tokens(length=30), side)
    real = torch.ones_like(tokens).bool() if given is None else given.bool()
    found: dict[str, tuple[list[Tensor], list[Tensor], Tensor]] = {}
    for route in ROUTES:
        patterns: list[Tensor] = []
        sums: list[Tensor] = []

        def note(layer: int, rows: FactoredRows, patterns: list[Tensor] = patterns, sums: list[Tensor] = sums) -> None:
            patterns.append(dense_pattern(rows).transpose(1, 2)[real])
            sums.append(rows.lse.transpose(1, 2)[real])

        with torch.no_grad(), model.watch_attention(note, route=route):
            found[route] = patterns, sums, model(tokens, given)[real]
    for route in ("flex", "chunked"):
        for mine, theirs in zip(found[route][0] + found[route][1], found["fused"][0] + found["fused"][1], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
        torch.testing.assert_close(found[route][2], found["fused"][2], atol=1e-5, rtol=0)


def test_a_window_leaves_pairs_out_of_reach() -> None:
    """Mistral's window of 8: key 3 is out of sight for query 11 and in sight for query 10."""
    seen = {}

    def note(layer: int, rows: AttentionRows) -> None:
        seen[layer] = rows.reachable(torch.tensor([10, 11]), torch.tensor([3, 3])).tolist()

    with family_named("mistral").model.watch_attention(note):
        family_named("mistral").model.run(random_tokens())
    assert seen == {0: [True, False], 1: [True, False]}


def test_blocks_cover_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.attention import rows as module

    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1)
    q, k, v = drawn()
    rows = FactoredRows(q, k, fused.attend(q, k, v, None, 0.4)[1], 0.4)
    parts = list(blocks(rows))
    assert [(first, last) for first, last, _ in parts] == [(0, 16), (16, 32), (32, 37)]
    assert [part.shape[-1] for _, _, part in parts] == [16, 32, 37]
    whole = dense_pattern(rows)
    for first, last, part in blocks(rows, start=20):
        torch.testing.assert_close(part, whole[:, :, first:last, :last])


def test_memory_grows_with_the_length_and_not_with_its_square() -> None:
    """What autograd keeps alive of one layer: measured as the largest tensor that any operation makes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            for part in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(part, Tensor):
                    Largest.elements = max(Largest.elements, part.untyped_storage().nbytes() // part.element_size())
            return result

    largest = {}
    for length in (1024, 2048):
        q = torch.randn(1, 2, length, 8)
        for route in ("fused", "chunked"):
            Largest.elements = 0
            with Largest():
                lse = ROUTES[route].attend(q, q, q, None, 0.4)[1]
                FactoredRows(q, q, lse, 0.4).at(torch.arange(1, length), torch.arange(length - 1))
            largest[route, length] = Largest.elements
    for route in ("fused", "chunked"):
        assert largest[route, 2048] <= 2.1 * largest[route, 1024], (route, largest)
        assert largest[route, 2048] < 2 * 2048 * 2048 / 3, (route, largest)
