"""Comparing rankings and summarising pruning, as arithmetic on arrays: no model, no torch (Method 4-5)."""

from __future__ import annotations

from ablation.statistics.clusters import ClusteredScores, Resampled, resample
from ablation.statistics.correlation import (
    Correlation,
    Level,
    bansal_released,
    kendall,
    spearman,
    spearman_within_layers,
)
from ablation.statistics.curves import (
    ChanceCheck,
    PruningArea,
    RemovableShare,
    area_under_curve,
    chance_check,
    removable_share,
)
from ablation.statistics.intervals import ClusterEstimate, cluster_mean, cluster_ratio
from ablation.statistics.jackknife import Agreement, agreement, disattenuated
from ablation.statistics.overlap import Overlap, SetOverlap, overlap, overlap_distribution, set_overlap
from ablation.statistics.partial import PartialCorrelation, partial_spearman_within_layers
from ablation.statistics.permutation import (
    PermutationTable,
    PermutationTest,
    RankP,
    holm,
    permutation_count,
    permutation_matrix,
    permutation_table,
    permutation_test,
    rank_p_value,
)
from ablation.statistics.reliability import Reliability, reliability
from ablation.statistics.retention import Retention, retention

__all__ = [
    "Agreement",
    "ChanceCheck",
    "ClusterEstimate",
    "ClusteredScores",
    "Correlation",
    "Level",
    "Overlap",
    "PartialCorrelation",
    "PermutationTable",
    "PermutationTest",
    "PruningArea",
    "RankP",
    "Reliability",
    "RemovableShare",
    "Resampled",
    "Retention",
    "SetOverlap",
    "agreement",
    "area_under_curve",
    "bansal_released",
    "chance_check",
    "cluster_mean",
    "cluster_ratio",
    "disattenuated",
    "holm",
    "kendall",
    "overlap",
    "overlap_distribution",
    "partial_spearman_within_layers",
    "permutation_count",
    "permutation_matrix",
    "permutation_table",
    "permutation_test",
    "rank_p_value",
    "reliability",
    "removable_share",
    "resample",
    "retention",
    "set_overlap",
    "spearman",
    "spearman_within_layers",
]
