"""A model's tokenizer, which it may not have: whatever needs one says so in one sentence. Loads nothing heavy."""

from __future__ import annotations

from typing import Any

from interp.errors import UsageError, quoted


def tokenizer_of(model: Any, what: str) -> Any:
    """The model's tokenizer. Raises UsageError where it has none: `what` needs it."""
    if model.tokenizer is None:
        raise UsageError(
            f"{what} must be turned into tokens, and this model has no tokenizer: give token ids where ids are taken, "
            "or a tokenizer, by interp.load_model(model, tokenizer=...) or by saving one into the model's folder"
        )
    return model.tokenizer


def read_text(tokenizer: Any, text: str | list[str], **options: Any) -> Any:
    """The ids of a text, or of each of several. Raises UsageError where the tokenizer can't read it.

    Some vocabularies have no token for what they do not know, and fail on it.
    """
    try:
        return tokenizer(text, **options)["input_ids"]
    except Exception as error:  # the Rust library raises plain exceptions
        first = text if isinstance(text, str) else text[0] if text else ""
        raise UsageError(
            f"this model's tokenizer can't read {quoted(first, longest=40)} ({error}): give texts of words that are in "
            "its vocabulary, or token ids where ids are taken"
        ) from error
