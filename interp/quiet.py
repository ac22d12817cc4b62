"""Libraries that talk or change log levels where there is nothing the user can do about it."""

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


@contextmanager
def transformers_quietly() -> Iterator[None]:
    """Ask transformers for something it may not have without its warning that it does not."""
    with transformer_lens_quietly():
        logging.getLogger("transformers").setLevel(logging.ERROR)
        yield


@contextmanager
def without_bars() -> Iterator[None]:
    """Load without transformers' own progress bars, which a notebook keeps; those of a download stay."""
    from transformers.utils import logging as theirs

    shown = theirs._tqdm_active
    theirs._tqdm_active = False
    try:
        yield
    finally:
        theirs._tqdm_active = shown
