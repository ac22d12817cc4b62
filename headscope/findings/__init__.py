"""The paper's claims, one a file, each as lines of Markdown computed from the tables of a run.

removable.py (how much can go), knockouts.py (which FFNs matter), sharing.py (across tasks and shots), matching.py
(induction heads against important heads), causal.py (the tasks without the induction heads), contrast.py (all of it
beside the paper's figures). A claim whose stage was not run says nothing.
"""
