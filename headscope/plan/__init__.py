"""What is run, how much of it, in which order, at what price, with what power.

budget.py: documents and structure. cost.py: tokens. hours.py: what hours buy. study_plan.py: the choices that follow.
study.py: the stages in their order; runners.py: each of them. power.py: what can be shown. placement.py: where it fits.
"""
