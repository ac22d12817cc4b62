"""Which heads and FFNs does a task need? Importance, knock-out, pruning, and the comparison of rankings (Method 3-6).

tasks/: documents and prompts. engine/, evaluation.py, outcomes.py: what a model scores. gains.py, screening.py: what
demonstrations are worth to it. importance.py, knock_out.py: what each component is worth. orders.py, pruning.py,
export.py: the model without some of them. causal.py: without its induction heads. statistics/: what is shown by it.
Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import lazy

if TYPE_CHECKING:
    from ablation.attribution import direct_attribution
    from ablation.backups import backups
    from ablation.causal import causal_check
    from ablation.contest import contest
    from ablation.control_sets import induction_sets
    from ablation.engine.likelihood import log_likelihoods
    from ablation.evaluation import Evaluation, evaluate
    from ablation.export import export
    from ablation.function_vector import FunctionVector, vector_test
    from ablation.function_vectors import function_vectors
    from ablation.importance import ffn_importance, head_importance
    from ablation.knock_out import estimate_knock_out, knock_out
    from ablation.label_heads import label_heads
    from ablation.orders import (
        Order,
        aggregate,
        by_scores,
        even_over_layers,
        inverse,
        iterative_order,
        layer_matched_orders,
        random_orders,
    )
    from ablation.patching import patch
    from ablation.pruning import Pruning, prune, removable_gain
    from ablation.references import make_replacement
    from ablation.screening import load_screen, screen
    from ablation.statistics import kendall, overlap, retention, spearman, spearman_within_layers
    from ablation.stratified import check_by_knock_out
    from ablation.tasks import Task, expand_task_names, load_task
    from ablation.vector_tasks import vector_task

__all__ = [
    "Evaluation",
    "FunctionVector",
    "Order",
    "Pruning",
    "Task",
    "aggregate",
    "backups",
    "by_scores",
    "causal_check",
    "check_by_knock_out",
    "contest",
    "direct_attribution",
    "estimate_knock_out",
    "evaluate",
    "even_over_layers",
    "expand_task_names",
    "export",
    "ffn_importance",
    "function_vectors",
    "head_importance",
    "induction_sets",
    "inverse",
    "iterative_order",
    "kendall",
    "knock_out",
    "label_heads",
    "layer_matched_orders",
    "load_screen",
    "load_task",
    "log_likelihoods",
    "make_replacement",
    "overlap",
    "patch",
    "prune",
    "random_orders",
    "removable_gain",
    "retention",
    "screen",
    "spearman",
    "spearman_within_layers",
    "vector_task",
    "vector_test",
]

lazy(
    __name__,
    attribution=("direct_attribution",),
    backups=("backups",),
    causal=("causal_check",),
    contest=("contest",),
    control_sets=("induction_sets",),
    evaluation=("Evaluation", "evaluate"),
    export=("export",),
    function_vector=("FunctionVector", "vector_test"),
    function_vectors=("function_vectors",),
    importance=("ffn_importance", "head_importance"),
    knock_out=("estimate_knock_out", "knock_out"),
    label_heads=("label_heads",),
    engine__likelihood=("log_likelihoods",),
    orders=(
        "Order",
        "aggregate",
        "by_scores",
        "even_over_layers",
        "inverse",
        "iterative_order",
        "layer_matched_orders",
        "random_orders",
    ),
    patching=("patch",),
    pruning=("Pruning", "prune", "removable_gain"),
    references=("make_replacement",),
    screening=("load_screen", "screen"),
    stratified=("check_by_knock_out",),
    statistics=("kendall", "overlap", "retention", "spearman", "spearman_within_layers"),
    tasks=("Task", "expand_task_names", "load_task"),
    vector_tasks=("vector_task",),
)
