"""Comparing the rankings of a run (Method 5): from its stored scores to rows of `comparisons`; no model is needed.

scored.py reads a ranking with its documents; matrices.py compares tasks and shots; induction_heads.py asks whether
induction heads are the important ones (the primary test, then the exploratory ones); overlaps.py, retentions.py;
sentences.py says in words what the rows say.
"""
