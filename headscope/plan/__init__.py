"""What is run, how much of it, in which order, at what price, with what power.

budget.py: documents and structure. cost.py: tokens, memory. study.py: the stages in their order.
"""
