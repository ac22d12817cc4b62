"""The words for a way of measuring or of removing, in a file that loads nothing.

The functions that take them and the command line read the same lists, so that a wrong word is refused at once.
"""

from interp.rechecks import EVERY, PROMPTS_EVERY

ABLATIONS = ("zero", "mean", "resample")  # references.py
ESTIMATED = ("zero", "mean")  # importance.py: the removals whose cost a gradient estimates
POSITIONS = ("token", "document", "signed")  # importance.py: how gradients are summed over positions
NORMALISATIONS = ("uniform", "paper", "layer_l2")  # importance.py: how documents and layers are made comparable
OBJECTIVES = ("sum", "choice")  # importance.py: what is differentiated
UNITS = ("head", "group")  # pruning.py: what an order of heads removes, single ones or whole kv groups
DEMO_DRAWS = 3  # gains.py: so many sets of demonstrations share out a task's documents
MINIMUM_DOCUMENTS = 64  # references.py: so many reference documents make a mean
COPIES = 4  # headscope/stages/evaluation.py: so many of them may be copies of evaluated ones, and are left out
SAMPLED = 48  # stratified.py: so many heads stand for all, where all are too dear
# The running checks, as the manifest tells them: engine/recheck.py, gradient_recheck.py, interp/prompt_rows.py.
RECHECKED = f"the first log-likelihood and every {EVERY}th after it agreed with one computed by itself"
GRADIENT_RECHECKED = f"the first document's gradient and every {EVERY}th agreed with a small step along it"
PATCH_RECHECKED = f"of the first prompt and every {PROMPTS_EVERY}th after it, a patch agreed with a whole run"
HEADS_PER_GROUP = "heads_per_group"  # in the provenance of scores of kv groups
