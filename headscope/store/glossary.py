"""What each score is called on pages and in figures, and what it means in a sentence or two (Method 2 and 3)."""

from __future__ import annotations

from dataclasses import dataclass

from headscope.store.comparisons import ScoreName


@dataclass(frozen=True)
class Term:
    """A score's name, a short name for table heads, and its meaning."""

    label: str
    short: str
    meaning: str


# Prefix matching and the signed direct effect first: the classes rest on these two.
TERMS: dict[tuple[str, str], Term] = {
    ("prefix_matching", ""): Term(
        "Prefix matching",
        "Prefix",
        "Mean attention, from tokens that occurred before, to what followed their earlier copies. 0 to 1.",
    ),
    ("copying", "signed"): Term(
        "Copying (signed)",
        "Signed",
        "On the repeated sequence: the head's direct effect on the logit of the token that comes next, in standard "
        "deviations over the tokens of the block. Below the null: the head writes against that token (anti-copying).",
    ),
    ("copying", "argmax"): Term(
        "Copying (argmax)",
        "Copying",
        "On unrepeated tokens: the share of the head's positive direct effect on the logits of the tokens so far that "
        "falls on the token it attends to most. 0 to 1.",
    ),
    ("copying", "successor"): Term(
        "Copying (successor)",
        "Successor",
        "On the repeated sequence: the share of the head's positive direct effect that falls on the token that really "
        "comes next. Does not read the head's attention. Chance is one over the length of the block.",
    ),
    ("ov_copying", ""): Term(
        "OV copying",
        "OV",
        "From the weights alone: the sum of the eigenvalues of the head's OV circuit over the sum of their sizes, with "
        "the embedding as block 0 leaves it. -1 to 1; positive means that attending to a token raises that token.",
    ),
    ("previous_token", ""): Term(
        "Previous token", "Previous", "Mean attention to the token before, on unrepeated tokens. 0 to 1."
    ),
    ("duplicate_token", ""): Term(
        "Duplicate token", "Duplicate", "Mean attention to earlier copies of the current token. 0 to 1."
    ),
    ("prefix_matching", "olsson"): Term(
        "Prefix matching (Olsson)",
        "Prefix (Olsson)",
        "The same sum of attention, divided by the number of earlier copies: with four repeats, half the score above.",
    ),
    ("prefix_matching", "bansal_released"): Term(
        "Prefix matching (released code)",
        "Prefix (released)",
        "What the paper's released code computes. For comparison only.",
    ),
    ("copying", "signed_auc"): Term(
        "Copying (signed, by rank)",
        "Signed (rank)",
        "On the repeated sequence: how far the token that comes next is ranked above the other tokens of the block by "
        "the head's direct effect. 1: always first, 0: no better than chance, -1: always last.",
    ),
    ("copying", "attended"): Term(
        "Copying (attended)",
        "Copying (attended)",
        "The same share, weighted by the attention paid to each token instead of the most attended one alone.",
    ),
    ("copying", "bansal_released"): Term(
        "Copying (released code)", "Copying (released)", "What the paper's released code computes. For comparison only."
    ),
    ("ov_copying", "raw"): Term(
        "OV copying (raw embedding)",
        "OV (raw)",
        "The same with the embedding matrix itself; where embeddings are tied its sign can be wrong.",
    ),
    ("importance", "token"): Term(
        "Importance (token)",
        "Token",
        "By gradient: the size of the first-order effect of the head's output on the loss, summed over positions "
        "without signs. It measures magnitude, of helpful and harmful heads alike.",
    ),
    ("importance", "document"): Term(
        "Importance (document)",
        "Document",
        "By gradient: the size of the effect of gating the head, document by document, without its sign.",
    ),
    ("importance", "signed"): Term(
        "Importance (signed)",
        "Signed",
        "By gradient: the first-order rise of the loss when the head is removed. Positive means the head is needed.",
    ),
    ("fv", ""): Term(
        "Function vector",
        "FV",
        "What the head's mean over prompts with right labels adds to the choice where labels are wrong, in nats, less "
        "what its mean over wrong-label prompts adds.",
    ),
    ("fv_prob", ""): Term(
        "Function vector (probability)",
        "FV (prob.)",
        "What the head's mean over prompts with right labels adds to the probability of the answer's first token.",
    ),
    ("tr", ""): Term(
        "Task recognition",
        "TR",
        "At the end of a prompt: the length of what the head writes into the space that the labels' tokens span.",
    ),
    ("tr_share", ""): Term(
        "Task recognition (share)", "TR (share)", "The same as a share of all that the head writes. 0 to 1."
    ),
    ("tl", ""): Term(
        "Task learning",
        "TL",
        "How far what the head writes into the labels' space leans towards the right label, as against the others.",
    ),
    ("concept_induction", ""): Term(
        "Concept induction",
        "Concept",
        "What the head's output adds to the second token of a name that comes back, in nats, when it is taken from a "
        "prompt where the name stood before.",
    ),
    ("token_induction", ""): Term(
        "Token induction", "Token", "The same for the first of several random tokens that come back, in nats."
    ),
}
# Variants that stand behind the others.
FOLDED = (
    ("prefix_matching", "olsson"),
    ("prefix_matching", "bansal_released"),
    ("copying", "signed_auc"),
    ("copying", "attended"),
    ("copying", "bansal_released"),
    ("ov_copying", "raw"),
)


def term(score: str, variant: str) -> Term:
    """A score's entry; one that is not listed goes by its own name."""
    plain = score.replace("_", " ").capitalize()
    label = f"{plain} ({variant.replace('_', ' ')})" if variant else plain
    return TERMS.get((score, variant), Term(label, label, ""))


def label_of(name: str) -> str:
    """`copying/argmax`, as `comparisons` names a score, in words."""
    named = ScoreName.parse(name)
    return term(named.score, named.variant).label


def pair_label(first: str, other: str) -> str:
    """Two scores in words: `Prefix matching and importance (token)`."""
    second = label_of(other)
    return f"{label_of(first)} and {second if second[:2].isupper() else second[0].lower() + second[1:]}"
