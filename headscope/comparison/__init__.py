"""Stored scores and evaluations in, rows out: no model is run, no file written; English in refusals alone.

scored.py reads a ranking with its documents. matrices.py: tasks and shots. induction_heads.py: are they the important
ones? overlap.py: top heads in common, and what pruning leaves. pruning_task.py, pruning_tasks.py: curves of one task,
of all. primary.py: tasks without the induction heads. contest.py: without heads of every kind. class_rank.py: do the
induction heads stand high in their layers? knock_out.py: scores beside exact removals. rise.py: does a score agree
better with one ranking than with another?
models.py, pair.py, protocols.py: several runs beside each other, two head by head, and which may be.
"""
