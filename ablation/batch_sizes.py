"""How many tokens run together, in a file that loads nothing: the engine runs such batches, and a plan counts on them.

Sizes change speed and memory, not numbers.
"""

GRADIENT_TOKENS = 1024  # importance.py, wherever the model stands
EVALUATION_TOKENS = {  # what one core's cache likes, more where passes have a price of their own
    "cpu": 1024,
    "gpu": 8192,
    "offloaded": 16_384,
}
LOGIT_ELEMENTS = 1 << 27
FEWEST_TOKENS = 256


def evaluation_tokens(where: str, vocabulary: int) -> int:
    """Tokens in a forward pass of an evaluation or a knock-out. where: `cpu`, `gpu` or `offloaded`."""
    return max(FEWEST_TOKENS, min(EVALUATION_TOKENS[where], LOGIT_ELEMENTS // vocabulary))
