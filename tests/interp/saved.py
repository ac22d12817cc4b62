"""Folders as people have them: a tiny saved model with its tokenizer, and the hub's cache around it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.interp.families import VOCAB, build

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def save(folder: Path, family: str = "llama", *, tokenizer: bool = True, **options: Any) -> Path:
    """A random model of the family, as `save_pretrained` writes it."""
    build(family, **options).save_pretrained(folder)
    if tokenizer:
        save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """One token a word: t0, t1, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"t{n}": n for n in range(VOCAB)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="t1", eos_token="t2").save_pretrained(folder)


def as_hub_cache(folder: Path, cache: Path, name: str) -> Path:
    """Lay a saved model out as the hub's cache does; gives the snapshot's folder."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        blob = repository / "blobs" / f"{number:040x}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    return snapshot


def write_config(folder: Path, **values: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(values))
    return folder
