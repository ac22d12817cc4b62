"""The checks of selfcheck.py, each two independent ways to one result on a short input.

result.py      what a check answers, and how differences are measured
reading.py     logits, attention rows and padding
thresholds.py  the same beyond every length that the configuration names
changing.py    gates, their gradient, and runs resumed at a block
"""
