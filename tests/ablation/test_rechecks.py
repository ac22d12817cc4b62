"""The running checks: what is sound passes when all of it is computed again, and what goes wrong is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest import mock

import pytest
import torch

from ablation import gate_gradients, gradient_recheck
from ablation.engine import removals
from ablation.engine.likelihood import _Run, log_likelihoods
from ablation.engine.prefix_plan import Request
from ablation.engine.recheck import Case, recheck
from ablation.gradient_recheck import told_of
from ablation.importance import importance
from ablation.knock_out import knock_out
from ablation.last_position import without_at_last
from ablation.names import GRADIENT_RECHECKED, RECHECKED
from ablation.patching import patch
from ablation.references import make_replacement
from interp.errors import HeadscopeError
from interp.model import HookedModel
from interp.prompt_rows import PromptRows
from interp.rechecks import due
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load

FAMILIES = ("llama", "gemma2", "olmo2", "mixtral")  # grouped heads; windows and soft-capping; norms behind; experts


@pytest.fixture
def all_of_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything is computed again; what was, by kind."""
    done: list[str] = []

    def every(model: HookedModel, kind: str, count: int, every: int) -> list[int]:
        done.extend([kind] * count)
        return list(range(count))

    for place in ("ablation.engine.recheck", "ablation.importance", "interp.prompt_rows"):
        monkeypatch.setattr(f"{place}.due", every)
    yield done
    assert done


def test_the_first_and_every_so_manieth_are_due_for_each_kind() -> None:
    model = load("llama")
    assert [due(model, "a", 700, 1000) for _ in range(3)] == [[0], [300], [600]]
    assert due(model, "b", 5, 2) == [0, 2, 4]
    assert due(model, "b", 3, 2) == [1]


def test_requests_are_counted_over_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.engine.recheck.plain_log_likelihood", lambda model, request: torch.tensor(-1.0))
    model, case = load("llama"), Case("d", Request((3, 4, 5), (6,)), nullcontext())
    assert [recheck(model, torch.full((700,), -1.0), lambda _: case) for _ in range(3)] == [[0], [300], [600]]


@pytest.mark.parametrize("removed", ["nothing", "zero", "mean", "resample"])
def test_a_shared_run_that_goes_wrong_is_noticed(
    all_of_it: list[str], monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    """As where a mask is lost beyond some length that no check at load reaches."""
    chosen: dict[str, Any] = {} if removed == "nothing" else {"heads": [(0, 1), (1, 2)]}

    def scored() -> list[list[float]]:
        model = load("llama")
        stand_in = make_replacement(model, removed, documents(3, seed=9, name="ref"), minimum=3) if chosen else None
        return log_likelihoods(model, documents(3), **chosen, replacement=stand_in)

    scored()
    real = _Run.forward

    def wrong(self: Any, batch: Any, cache: Any) -> None:
        real(self, batch, cache)
        if self.strict:
            self.scores.sub_(0.05)

    monkeypatch.setattr(_Run, "forward", wrong)
    with pytest.raises(HeadscopeError, match=r"document t/0 is -.* where prefixes are shared and -.* by itself"):
        scored()


@pytest.mark.parametrize(
    ("component", "ablation"), [("head", "zero"), ("head", "mean"), ("ffn", "zero"), ("ffn", "mean")]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_knock_out_that_goes_wrong_is_noticed(
    all_of_it: list[str], monkeypatch: pytest.MonkeyPatch, family: str, component: str, ablation: str
) -> None:
    """Removed at all positions, and with position 0 spared."""
    model = load(family)
    stand_in = make_replacement(model, ablation, documents(3, seed=9, name="ref"), minimum=3)

    def knocked() -> Any:
        return knock_out(
            model, documents(2), component=component, replacement=stand_in, positions=("all", "later"), limit=2
        )

    found = knocked()
    assert len(all_of_it) == found.plain.size + found.removed.size
    real = removals.run_removed

    def wrong(model: HookedModel, batch: Any, residual: Any, parts: Any, reference: Any = None) -> Any:
        return real(model, batch, residual, parts, reference) - 0.05

    monkeypatch.setattr(removals, "run_removed", wrong)
    part = r"head \d\.\d" if component == "head" else r"the FFN of layer \d"
    told = rf"document t/0 without {part} is -.* where removals share their prompt and -.* by itself"
    with pytest.raises(HeadscopeError, match=told):
        knocked()


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("objective", ["sum", "choice"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_that_goes_wrong_is_noticed(
    all_of_it: list[str], monkeypatch: pytest.MonkeyPatch, family: str, objective: str, ablation: str
) -> None:
    model = load(family, dtype=torch.float32 if family == "mixtral" else torch.float64)
    real = gate_gradients._dots
    stand_in = make_replacement(model, ablation, documents(3, seed=9, name="ref"), minimum=3)

    def ranked() -> Any:
        return importance(model, SmallTask(tuple(documents(3))), objective=objective, replacement=stand_in)

    follow = gradient_recheck._refuse_unlike_slope
    with mock.patch.object(gradient_recheck, "_refuse_unlike_slope", wraps=follow) as seen:
        ranked()
    assert seen.call_count == (0 if family == "mixtral" else 3)
    monkeypatch.setattr(gate_gradients, "_dots", lambda a, b: 1.1 * real(a, b))
    told = r"the loss on document t/0 changes by .* along the gradient of all gates, which says"
    with nullcontext() if family == "mixtral" else pytest.raises(HeadscopeError, match=told):
        ranked()


def test_a_log_likelihood_beside_its_gradient_is_computed_again(
    all_of_it: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_recheck, "plain_log_likelihood", lambda model, request: torch.tensor(-1.0))
    with pytest.raises(HeadscopeError, match=r"t/0 is -.* where its gradient is taken and -1\.0+ when"):
        importance(load("llama"), documents(2))


def test_what_half_precision_experts_and_a_fixed_norm_leave_out_is_not_claimed() -> None:
    whole = f"{RECHECKED}; {GRADIENT_RECHECKED}"
    assert told_of(load("llama"), frozen_norm=False) == whole
    for model, frozen in (
        (load("llama", dtype=torch.bfloat16), False),
        (load("mixtral"), False),
        (load("olmo2"), True),
    ):
        assert told_of(model, frozen_norm=frozen) == RECHECKED


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_that_goes_wrong_is_noticed(all_of_it: list[str], monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Patches of a prompt pair, and sets of heads removed at the last position."""
    model = load(family)

    def patched() -> Any:
        return patch(model, [3, 4, 5, 6], [3, 4, 7, 6], answer=[8], other=[9])

    def removed() -> Any:
        return without_at_last(model, documents(2), [[(0, 1)], [(0, 0), (1, 1)]])

    assert patched().route != "whole runs, one a patch"
    removed()
    real = PromptRows._sweep
    monkeypatch.setattr(PromptRows, "_sweep", lambda self, patches: _bent(real(self, patches)))
    for use in (patched, removed):
        with pytest.raises(HeadscopeError, match=r"under a patch is -.* where rows are shared and -.* by itself"):
            use()


def _bent(logits: torch.Tensor) -> torch.Tensor:
    """All tokens but one in sixteen are less likely."""
    bent = logits.clone()
    bent[..., ::16] += 0.5
    return bent


def test_another_patch_is_run_again_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = load("llama"), list[list[Any]]()
    real = PromptRows._one_by_one
    monkeypatch.setattr("interp.prompt_rows.PROMPTS_EVERY", 1)

    def noted(self: Any, patches: Any) -> Any:
        seen.append([head for patch in patches for head in patch.heads])
        return real(self, patches)

    monkeypatch.setattr(PromptRows, "_one_by_one", noted)
    for _ in range(3):
        patch(model, [3, 4, 5, 6], [3, 4, 7, 6], answer=[8], other=[9])
    assert len({head for (head,) in seen[-3:]}) == 3  # those before are of the search for a route


def test_gates_that_are_held_around_importance_are_part_of_its_check(all_of_it: list[str]) -> None:
    model = load("llama", dtype=torch.float64)
    with model.gates(heads=[(0, 1)], ffns=[1]):
        importance(model, SmallTask(tuple(documents(2))), objective="choice")
