"""Names that stand in a run directory and that a person types, in a file that loads nothing."""

MANIFEST = "manifest.json"

AGGREGATE = "aggregate"
TRANSFER = "transfer"
DRAWN = ("random", "layer_matched")  # orders of removal that are drawn several times
ORDERS = (
    "own",
    AGGREGATE,
    TRANSFER,
    "signed",
    "signed_choice",
    "inverse",
    "even",
    *DRAWN,
    "iterative",
)  # besides the tasks, each by its name

PRUNABLE = ("head", "ffn", "both")
KNOCKED_OUT = ("ffn", "head")
FFN_RANKINGS = ("importance", "knock_out")
PROTOCOLS = ("quick", "paper")
ALSO = ("retrieval", "concept")  # further scores of `headscope induction`
FEWEST_MODELS = 5  # that a slope over models takes
