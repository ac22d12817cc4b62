"""Do heads look back and copy? Scores that need no task (Method 1, 2).

vocabulary.py, sequences.py: random repeated tokens. One method a file: prefix_matching, copying (and direct_effect),
ov_circuit, positional, composition, in_context. null.py and classes.py: what is above chance, what an induction head
is. scoring.py: all of them in two forward passes.
"""

from induction.classes import InductionHeads, induction_heads
from induction.composition import Composition, composition_scores
from induction.copying import copying_score
from induction.in_context import InContextLearning, in_context_learning_score
from induction.ov_circuit import ov_copying_score
from induction.positional import duplicate_token_score, previous_token_score
from induction.prefix_matching import prefix_matching_score
from induction.scoring import InductionScores, induction_scores
from induction.sequences import RepeatedSequences, repeated_sequences
from induction.vocabulary import Candidates, candidate_tokens

__all__ = [
    "Candidates",
    "Composition",
    "InContextLearning",
    "InductionHeads",
    "InductionScores",
    "RepeatedSequences",
    "candidate_tokens",
    "composition_scores",
    "copying_score",
    "duplicate_token_score",
    "in_context_learning_score",
    "induction_heads",
    "induction_scores",
    "ov_copying_score",
    "prefix_matching_score",
    "previous_token_score",
    "repeated_sequences",
]
