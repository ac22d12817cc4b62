"""Do heads look back and copy? Scores that need no task (Method 1, 2).

vocabulary.py, sequences.py: random repeated tokens; texts.py, needles.py, entities.py: prompts in words. One method a
file: prefix_matching, copying (and direct_effect), ov_circuit, positional, composition, in_context, sinks, retrieval,
concept. null.py and classes.py: what is above chance, what an induction head is. definitions.py: the list of all
scores. scoring.py: those on random sequences in two forward passes.
"""

from induction.classes import InductionHeads, induction_heads
from induction.composition import Composition, composition_scores
from induction.concept import concept_score, concept_scores
from induction.copying import copying_score
from induction.definitions import DEFINITIONS, Definition
from induction.entities import EntityPrompts, entity_prompts
from induction.in_context import InContextLearning, in_context_learning_score
from induction.needles import NeedlePrompts, needle_prompts
from induction.ov_circuit import ov_copying_score
from induction.positional import duplicate_token_score, previous_token_score
from induction.prefix_matching import prefix_matching_score
from induction.retrieval import retrieval_heads, retrieval_score, retrieval_scores
from induction.scoring import InductionScores, induction_scores
from induction.sequences import RepeatedSequences, repeated_sequences
from induction.sinks import dormant_heads, sink_score
from induction.texts import NaturalPrompts, natural_prompts
from induction.vocabulary import Candidates, candidate_tokens

__all__ = [
    "DEFINITIONS",
    "Candidates",
    "Composition",
    "Definition",
    "EntityPrompts",
    "InContextLearning",
    "InductionHeads",
    "InductionScores",
    "NaturalPrompts",
    "NeedlePrompts",
    "RepeatedSequences",
    "candidate_tokens",
    "composition_scores",
    "concept_score",
    "concept_scores",
    "copying_score",
    "dormant_heads",
    "duplicate_token_score",
    "entity_prompts",
    "in_context_learning_score",
    "induction_heads",
    "induction_scores",
    "natural_prompts",
    "needle_prompts",
    "ov_copying_score",
    "prefix_matching_score",
    "previous_token_score",
    "repeated_sequences",
    "retrieval_heads",
    "retrieval_score",
    "retrieval_scores",
    "sink_score",
]
