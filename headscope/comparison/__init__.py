"""Stored scores and evaluations in, rows out: no model, no file, no English.

scored.py reads a ranking with its documents. matrices.py: tasks and shots. induction_heads.py: are they the important
ones? overlap.py: top heads in common, and what pruning leaves. pruning_task.py, pruning_tasks.py: curves of one task,
of all. primary.py: tasks without the induction heads. contest.py: without heads of every kind. controls.py: what both
have in common. class_rank.py: do induction heads stand high in their layers? knock_out.py: scores beside exact
removals. gain.py: agreement with and without demonstrations.
models.py, protocols.py: several runs beside each other, and which may be.
"""
