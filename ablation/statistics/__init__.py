"""Comparing rankings, deciding claims, planning documents: arithmetic on arrays, no model, no torch (Method 4-5)."""

from __future__ import annotations

from ablation.statistics.aggregate import TasksAggregate, aggregate_tables, tasks_aggregate
from ablation.statistics.class_rank import ClassRank, class_rank
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
from ablation.statistics.intervals import (
    ClusterEstimate,
    Estimate,
    TasksMean,
    cluster_mean,
    cluster_numbers,
    cluster_ratio,
    mean_over_random_tasks,
    mean_over_tasks,
)
from ablation.statistics.jackknife import Agreement, agreement, disattenuated
from ablation.statistics.kv_groups import kv_groups
from ablation.statistics.looks import Looks, obrien_fleming_looks, verdict_at_look
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
from ablation.statistics.power import (
    documents_for,
    documents_for_equivalence,
    equivalence_bound,
    planned_estimate,
    power_of,
    smallest_effect,
)
from ablation.statistics.primary import Primary, primary
from ablation.statistics.reliability import Reliability, documents_for_reliability, reliability
from ablation.statistics.retention import Retention, retention
from ablation.statistics.spread_controls import SpreadControls, spread_controls
from ablation.statistics.standardised import StandardisedEffect, TaskDrops, exchangeable_p, standardised_effect
from ablation.statistics.verdict import EffectVerdict, RemovableVerdict, TaskChange, effect_verdict, removable_verdict

__all__ = [
    "Agreement",
    "ChanceCheck",
    "ClassRank",
    "ClusterEstimate",
    "ClusteredScores",
    "Correlation",
    "EffectVerdict",
    "Estimate",
    "Level",
    "Looks",
    "Overlap",
    "PartialCorrelation",
    "PermutationTable",
    "PermutationTest",
    "Primary",
    "PruningArea",
    "RankP",
    "Reliability",
    "RemovableShare",
    "RemovableVerdict",
    "Resampled",
    "Retention",
    "SetOverlap",
    "SpreadControls",
    "StandardisedEffect",
    "TaskChange",
    "TaskDrops",
    "TasksAggregate",
    "TasksMean",
    "aggregate_tables",
    "agreement",
    "area_under_curve",
    "bansal_released",
    "chance_check",
    "class_rank",
    "cluster_mean",
    "cluster_numbers",
    "cluster_ratio",
    "disattenuated",
    "documents_for",
    "documents_for_equivalence",
    "documents_for_reliability",
    "effect_verdict",
    "equivalence_bound",
    "exchangeable_p",
    "holm",
    "kendall",
    "kv_groups",
    "mean_over_random_tasks",
    "mean_over_tasks",
    "obrien_fleming_looks",
    "overlap",
    "overlap_distribution",
    "partial_spearman_within_layers",
    "permutation_count",
    "permutation_matrix",
    "permutation_table",
    "permutation_test",
    "planned_estimate",
    "power_of",
    "primary",
    "rank_p_value",
    "reliability",
    "removable_share",
    "removable_verdict",
    "resample",
    "retention",
    "set_overlap",
    "smallest_effect",
    "spearman",
    "spearman_within_layers",
    "spread_controls",
    "standardised_effect",
    "tasks_aggregate",
    "verdict_at_look",
]
