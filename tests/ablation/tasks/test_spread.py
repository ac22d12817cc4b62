"""Which documents a limit takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.tasks import load_task
from ablation.tasks.spread import spread, spread_places

UNITS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=40).map(
    lambda pairs: [(f"u{unit}", f"c{unit % 6}") for unit, _ in pairs]
)


@given(units=UNITS, limit=st.integers(0, 45))
def test_a_limit_goes_round_the_clusters_and_is_part_of_every_larger_one(
    units: list[tuple[str, str]], limit: int
) -> None:
    cluster, whole = dict(units), spread(units)
    assert sorted(whole) == sorted(cluster)
    taken = spread(units, limit)
    assert taken == whole[:limit] == spread(list(reversed(units)), limit)
    counts, sizes = Counter(cluster[unit] for unit in taken), Counter(cluster.values())
    full = max(counts.values(), default=0)
    assert all(counts[name] >= min(full - 1, size) for name, size in sizes.items())


def test_a_units_items_stay_together_in_their_own_order() -> None:
    units, clusters = ["q1", "q2", "q1", "q2", "q3"], ["p", "p", "p", "p", "r"]
    places = spread_places(units, clusters)
    order = spread(zip(units, clusters, strict=True))
    assert places == [n for unit in order for n in range(5) if units[n] == unit]
    assert spread_places(units, clusters, 1) == places[: len(places) - sum(units[n] in order[1:] for n in places)]
    assert {clusters[n] for n in spread_places(units, clusters, 2)} == {"p", "r"}


@pytest.mark.parametrize("name", ["probe_plurals", "probe_labels"])
def test_a_limit_takes_one_document_of_every_item_first(name: str) -> None:
    documents = load_task(name, limit=20).documents
    assert len({document.cluster for document in documents}) == 20
    assert len({document.gold for document in documents}) > 1
    assert [d.id for d in load_task(name, limit=7).documents] == [d.id for d in documents[:7]]


@pytest.mark.data
@pytest.mark.parametrize("split", ["train", "validation"])
def test_sixteen_documents_hold_more_than_one_label(icl14: Path, split: str) -> None:
    """The first 23 training documents of CB have one label."""
    for name in ("cb", "boolq", "rte", "wic", "wsc", "copa"):
        documents = load_task(name, data=icl14, limit=16, split=split).documents
        assert len({document.gold for document in documents}) > 1, name
    passages = {document.cluster for document in load_task("multirc", data=icl14, limit=16, split=split).documents}
    assert len(passages) == 16
