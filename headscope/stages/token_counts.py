"""How often tokens occur, as `--counts` gives it: what random sequences are drawn by where the tokenizer does not say.

`uniform` draws all tokens alike. A file is JSON: {"token id": occurrences}, or a list with a number an id (Method 1).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.store.manifest import Manifest
    from induction import Candidates

UNIFORM = "uniform"


def read_counts(given: str | None) -> Any:
    """As `induction.repeated_sequences` takes them. Raises UsageError for a file that does not hold them."""
    if given is None or given == UNIFORM:
        return given
    try:
        content = json.loads(Path(given).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the counts can't be read: {error}. Name a JSON file, or uniform (--counts)") from error
    except ValueError as error:
        raise UsageError(f"'{given}' is no JSON: {error}. {EXPECTED}") from error
    pairs = enumerate(content) if isinstance(content, list) else content.items() if isinstance(content, dict) else ()
    try:
        counts = {int(token): float(count) for token, count in pairs}
    except (TypeError, ValueError) as error:
        raise UsageError(f"'{given}' holds something else than counts of tokens: {error}. {EXPECTED}") from error
    if not any(count > 0 for count in counts.values()):
        raise UsageError(f"'{given}' counts no token at all. {EXPECTED}")
    return counts


def recorded_candidates(manifest: Manifest) -> Candidates | None:
    """What a run's random sequences were drawn from; None where it has none."""
    import torch

    import induction

    noted = manifest.recorded("candidates")
    return noted and induction.Candidates(torch.tensor(noted["ids"]), noted["rule"], len(noted["ids"]))


EXPECTED = 'Expected {"token id": occurrences, ...} or a list with a number an id (--counts)'


def mark_of(given: str | None) -> str | None:
    """What a manifest says of them: the word, or the hash of the file."""
    if given is None or given == UNIFORM:
        return given
    counts = read_counts(given)
    return hashlib.sha256(json.dumps(sorted(counts.items())).encode()).hexdigest()[:16]
