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
    ("sink", ""): Term(
        "Sink",
        "Sink",
        "Mean attention to position 0, whatever stands there, on the random sequences. 0 to 1. A head with nearly all "
        "of it there, and on natural prompts too, rests: removing it changes little.",
    ),
    ("sink", "natural"): Term("Sink (natural prompts)", "Sink (natural)", "The same on ordinary sentences. 0 to 1."),
    ("retrieval", ""): Term(
        "Retrieval",
        "Retrieval",
        "On prompts that hide a value in filler text: the share of the value's tokens at whose prediction the head "
        "attends most to that token in the text. 0 to 1.",
    ),
    ("retrieval", "soft"): Term(
        "Retrieval (attention)", "Retrieval (soft)", "The attention on that token, in place of whether it is the most."
    ),
    ("retrieval", "right"): Term(
        "Retrieval (answered)", "Retrieval (right)", "Over the prompts that the model answers rightly only."
    ),
    ("retrieval", "soft_right"): Term(
        "Retrieval (attention, answered)",
        "Retrieval (soft, right)",
        "The attention on that token, over the prompts that the model answers rightly only.",
    ),
    ("concept_induction", ""): Term(
        "Concept induction",
        "Concept",
        "A name came before, and is due again: how far the head's output, put into a prompt without it, raises the "
        "name's second token, in nats. The head knows what name begins.",
    ),
    ("concept_induction", "first_token"): Term(
        "Concept induction (first token)", "Concept (first)", "The same for the name's first token, in nats."
    ),
    ("token_induction", ""): Term(
        "Token induction",
        "Token induction",
        "Random tokens came before, and are due again: how far the head's output, put into a prompt without them, "
        "raises the next token, in nats.",
    ),
    ("token_induction", "second_token"): Term(
        "Token induction (second token)", "Token (second)", "The same for the token after it, in nats."
    ),
    ("importance", "token/choice"): Term(
        "Importance to the choice (token)",
        "Token, choice",
        "As importance (token), of the choice of the right answer against the wrong ones.",
    ),
    ("importance", "document/choice"): Term(
        "Importance to the choice (document)",
        "Document, choice",
        "As importance (document), of the choice of the right answer against the wrong ones.",
    ),
    ("importance", "signed/choice"): Term(
        "Importance to the choice (signed)",
        "Signed, choice",
        "By gradient: how far the choice of the right answer against the wrong ones would fall without the head, to "
        "first order. Positive means the head is needed to choose.",
    ),
    **{
        ("importance", f"{positions}/choice/mean"): Term(
            f"Importance to the choice, by mean ({positions})",
            f"{positions.capitalize()}, choice (mean)",
            f"As importance to the choice ({positions}), with what sets the head's output apart from its mean.",
        )
        for positions in ("token", "document")
    },
    ("importance", "signed/choice/mean"): Term(
        "Importance to the choice, by mean (signed)",
        "Signed, choice (mean)",
        "By gradient: how far the choice of the right answer against the wrong ones would fall, to first order, were "
        "the head replaced by its mean. Positive means the head is needed to choose.",
    ),
    ("knock_out", "choice"): Term(
        "Knock-out (choice)",
        "Cost",
        "Exact: how far the choice of the right answer falls, in nats, when the head is replaced by zero.",
    ),
    ("knock_out_mean", "choice"): Term(
        "Knock-out by mean (choice)",
        "Cost (mean)",
        "Exact: how far the choice of the right answer falls, in nats, when the head is replaced by its mean.",
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
    **{
        ("importance_group", f"{positions}{objective}"): Term(
            f"Importance of kv groups ({positions}{words})",
            f"Group, {positions}{words}",
            "As importance, of all heads that share a key-value head, gated together: each shows its group's.",
        )
        for objective, words in (("", ""), ("/choice", ", choice"), ("/choice/mean", ", choice, mean"))
        for positions in ("token", "document", "signed")
    },
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
}
# Variants that stand behind the others.
FOLDED = (
    ("prefix_matching", "olsson"),
    ("prefix_matching", "bansal_released"),
    ("copying", "signed_auc"),
    ("copying", "attended"),
    ("copying", "bansal_released"),
    ("ov_copying", "raw"),
    ("retrieval", "right"),
    ("retrieval", "soft_right"),
    ("concept_induction", "first_token"),
    ("token_induction", "second_token"),
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
