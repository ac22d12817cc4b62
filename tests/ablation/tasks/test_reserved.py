"""Documents kept for the screen: whole clusters, a third at most, whatever is asked of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablation.tasks import load_task
from ablation.tasks.reserved import divided, reserved_clusters
from interp.errors import UsageError


def rows(sizes: list[int], *, split: str = "train") -> list[dict[str, Any]]:
    """One cluster of each size, every document a unit of its own."""
    return [
        {"document_id": f"{split}/{c}-{n}", "cluster_id": f"c{c}", "unit_id": f"{split}/{c}-{n}"}
        for c, size in enumerate(sizes)
        for n in range(size)
    ]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=80))
def test_as_many_units_as_wanted_in_whole_clusters(sizes: list[int]) -> None:
    held = rows(sizes)
    chosen = reserved_clusters(held)
    wanted = min(60, len(held) // 3)
    counts = sorted(sizes[int(cluster[1:])] for cluster in chosen)
    assert sum(counts) >= wanted and (not counts or sum(counts) - counts[-1] < wanted)
    assert chosen == reserved_clusters(held[::-1])


def test_the_parts_share_no_cluster_and_show_only_the_rest() -> None:
    held, shared = rows([3] * 90), rows([1] * 90, split="validation")
    screen, shown = divided(held, held, held, "screen", "t")
    rest, shown_too = divided(held, held, held, "rest", "t")
    assert {r["cluster_id"] for r in screen}.isdisjoint({r["cluster_id"] for r in rest})
    assert len(screen) + len(rest) == len(held) and len(screen) == 60
    assert shown == shown_too == rest
    kept, _ = divided(shared, held, held, "rest", "t")  # a passage of both splits
    assert {r["cluster_id"] for r in kept}.isdisjoint({r["cluster_id"] for r in screen}) and len(kept) == 70
    assert divided(held, held, None, "all", "t") == (held, held)


def test_a_task_without_enough_training_documents_is_refused() -> None:
    with pytest.raises(UsageError, match="t has no train documents"):
        divided(rows([1]), rows([1]), None, "rest", "t")
    with pytest.raises(UsageError, match="t has 2 train documents: too few"):
        divided(rows([1, 1]), [], rows([1, 1]), "screen", "t")
    with pytest.raises(UsageError, match="load them with split='train'"):
        load_task("probe_labels", part="screen")
    with pytest.raises(UsageError, match=r"part is 'half'\. Expected one of: all, screen, rest"):
        load_task("probe_labels", part="half")


def test_a_loaded_task_is_cut_before_the_limit() -> None:
    """Neither the limit, the shots nor the seed decides which documents are kept."""
    kept = load_task("probe_labels", split="train", part="screen", shots=2)
    rest = load_task("probe_labels", split="train", part="rest", shots=4, seed=3)
    assert (len(kept.documents), len(rest.documents)) == (60, 140)
    few = load_task("probe_labels", split="train", part="screen", limit=20, seed=5)
    ids = {document.id for document in kept.documents}
    assert {document.id for document in few.documents} < ids and len({d.cluster for d in few.documents}) == 20
    for task in (kept, rest, load_task("probe_labels", part="rest", shots=3, limit=9)):
        shown = {demonstration.id for document in task.documents for demonstration in document.demonstrations}
        assert shown and shown.isdisjoint(ids)
