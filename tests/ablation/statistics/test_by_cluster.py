"""Intervals of scores by cluster: copies of a document add nothing, and neither do documents of one passage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ablation.importance import importance
from ablation.knock_out import knock_out
from ablation.statistics.by_cluster import by_cluster
from interp.scores import FFNScores, HeadScores
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load

NAMES = [f"c{n:02d}" for n in range(30)]


def test_copies_of_documents_add_nothing_to_an_interval() -> None:
    items = torch.randn(30, 2, 3, generator=torch.Generator().manual_seed(0))
    once = HeadScores.from_items("importance", items)
    copied = HeadScores.from_items("importance", items.repeat_interleave(4, 0))
    found = by_cluster(copied, [name for name in NAMES for _ in range(4)])
    torch.testing.assert_close((found.ci_low, found.ci_high), (once.ci_low, once.ci_high))
    assert float(((copied.ci_high - copied.ci_low) / (found.ci_high - found.ci_low)).max()) < 0.6
    torch.testing.assert_close((found.mean, found.std), (copied.mean, copied.std))
    assert by_cluster(once, NAMES) is once


def test_the_interval_covers_the_mean_of_clustered_documents() -> None:
    """Clusters of 1 to 6 documents that share most of their deviation; 400 FFNs are as many experiments."""
    draw = np.random.default_rng(1)
    labels = np.repeat(np.arange(60), draw.integers(1, 7, 60))
    items = torch.from_numpy(draw.standard_normal((60, 400))[labels] + 0.5 * draw.standard_normal((labels.size, 400)))
    scores = FFNScores.from_items("knock_out", items)
    found = by_cluster(scores, [f"c{label}" for label in labels])
    covered = [float(((one.ci_low <= 0) & (one.ci_high >= 0)).float().mean()) for one in (scores, found)]
    assert covered[0] < 0.8 and 0.9 <= covered[1] <= 0.98


def test_a_single_cluster_has_no_interval() -> None:
    found = by_cluster(FFNScores.from_items("knock_out", torch.randn(8, 3)), ["one"] * 8)
    assert bool(found.ci_low.isnan().all() and found.ci_high.isnan().all() and found.mean.isfinite().all())


def test_importance_and_knock_out_know_the_clusters_of_their_documents() -> None:
    model, docs = load("gpt2"), documents(8)
    paired = [replace(document, cluster=f"p{place // 2}") for place, document in enumerate(docs)]
    names = [document.cluster for document in paired]
    found = importance(model, paired)
    assert found.clusters == tuple(names)
    knocked = knock_out(model, SmallTask(tuple(paired)), component="ffn")
    scores = (found.heads(), found.ffns(positions="signed"), knocked.scores(), knocked.scores(outcome="metric"))
    for one in scores:
        plain = type(one).from_items(one.name, one.per_item)
        expected = by_cluster(plain, names)
        torch.testing.assert_close((one.ci_low, one.ci_high), (expected.ci_low, expected.ci_high))
    assert not torch.allclose(scores[0].ci_low, HeadScores.from_items("importance", scores[0].per_item).ci_low)
