"""The only room that runs a model into a run directory: one topic a file, unit by unit.

induction.py (Method 1-2), importance.py (3.1), knock_out.py (3.2), vectors.py (3.5-3.6), screening.py, pruning.py (4),
primary.py, contest.py, comparison.py (5), export.py. cells.py: tasks and their shards. evaluation.py: evaluations as
units. A command and the study call the same function, which goes on where it was killed.
"""
