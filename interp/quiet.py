"""Importing TransformerLens sets transformers' logger to ERROR; here the user's level is put back."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transformer_lens_quietly() -> Iterator[None]:
    """Import and use TransformerLens without touching the user's log levels or printing its warnings."""
    logger = logging.getLogger("transformers")
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
