"""The stages of a study, one a file: each computes unit by unit into a run directory and goes on where it was killed.

induction.py (METHODS 1-2), importance.py (3.1), knockout.py (3.2), pruning.py (4), comparison.py (5), causal.py (5).
A command and `headscope.plan.study` call the same function; nothing here prints.
"""
