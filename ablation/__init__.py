"""Which heads and FFNs does a task need? Importance, knock-out, pruning, and the comparison of rankings (METHODS 3-6).

tasks/: documents and prompts. engine/, evaluation.py, outcomes.py: what a model scores. importance.py, knock_out.py:
what each component is worth. orders.py, pruning.py, export.py: the model without some of them. causal.py: without its
induction heads. statistics/: rankings against rankings.
Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import lazy

if TYPE_CHECKING:
    from ablation.causal import causal_check
    from ablation.control_sets import induction_sets
    from ablation.engine.likelihood import log_likelihoods
    from ablation.evaluation import Evaluation, evaluate
    from ablation.export import export
    from ablation.importance import ffn_importance, head_importance
    from ablation.iterative import iterative_order
    from ablation.knock_out import estimate_knock_out, knock_out
    from ablation.orders import Order, aggregate, by_scores, inverse, layer_matched_orders, random_orders
    from ablation.pruning import Pruning, prune
    from ablation.replacement import make_replacement
    from ablation.statistics import kendall, overlap, retention, spearman, spearman_within_layers
    from ablation.tasks import Task, expand_task_names, load_task

__all__ = [
    "Evaluation",
    "Order",
    "Pruning",
    "Task",
    "aggregate",
    "by_scores",
    "causal_check",
    "estimate_knock_out",
    "evaluate",
    "expand_task_names",
    "export",
    "ffn_importance",
    "head_importance",
    "induction_sets",
    "inverse",
    "iterative_order",
    "kendall",
    "knock_out",
    "layer_matched_orders",
    "load_task",
    "log_likelihoods",
    "make_replacement",
    "overlap",
    "prune",
    "random_orders",
    "retention",
    "spearman",
    "spearman_within_layers",
]

lazy(
    __name__,
    causal=("causal_check",),
    control_sets=("induction_sets",),
    evaluation=("Evaluation", "evaluate"),
    export=("export",),
    importance=("ffn_importance", "head_importance"),
    iterative=("iterative_order",),
    knock_out=("estimate_knock_out", "knock_out"),
    engine__likelihood=("log_likelihoods",),
    orders=("Order", "aggregate", "by_scores", "inverse", "layer_matched_orders", "random_orders"),
    pruning=("Pruning", "prune"),
    replacement=("make_replacement",),
    statistics=("kendall", "overlap", "retention", "spearman", "spearman_within_layers"),
    tasks=("Task", "expand_task_names", "load_task"),
)
