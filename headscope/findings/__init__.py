"""Rows in, English out: one claim of the paper a file, each as lines of Markdown.

page.py puts them together. pruning.py: how much can go. knock_out.py: which FFNs matter. sharing.py: across tasks and
shots. induction_heads.py: against important heads. causal.py: without the induction heads. paper.py: all of it beside
the paper. models.py: several runs beside each other. A claim whose stage was not run says nothing.
"""
