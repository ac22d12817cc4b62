"""Memory that runs out, as the libraries really say it: recognised, sized, and told when a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
import transformers
from safetensors import SafetensorError

import interp
from interp import cache, loading
from interp.errors import ModelLoadError
from interp.memory import out_of_memory
from tests.interp.saved import save

PETABYTE = 1 << 50  # more than any address space holds, whatever the machine promises


def mapped() -> None:
    raise RuntimeError("unable to mmap 217743616 bytes from file </m/model.safetensors>: Cannot allocate memory (12)")


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.77 GiB"
    )


def without_words() -> None:
    raise MemoryError


def opened() -> None:
    raise MemoryError("Cannot allocate memory (os error 12)")


def by_a_mapped_file() -> None:
    raise SystemError("<built-in function open> returned a result with error: error return without exception set")


REAL: dict[str, tuple[Callable[[], Any], str]] = {
    "torch": (lambda: torch.empty(PETABYTE // 4), ": the next 1.0 PiB could not be allocated"),
    "numpy": (lambda: np.empty(PETABYTE // 8), ": the next 1.00 PiB could not be allocated"),
    "arrow": (lambda: pyarrow.allocate_buffer(PETABYTE), ": the next 1.0 PiB could not be allocated"),
    "mapped": (mapped, ": the next 207.7 MiB could not be allocated"),
    "cuda": (on_a_gpu, ": the next 20.00 GiB could not be allocated"),
    "python": (without_words, ""),
    "safetensors": (opened, ""),
    "system": (by_a_mapped_file, ""),
}


@pytest.mark.parametrize("name", REAL)
def test_what_libraries_raise_is_recognised_and_sized(name: str) -> None:
    ask, wanted = REAL[name]
    with pytest.raises(Exception) as caught:  # each library has a class of its own
        ask()
    assert out_of_memory(caught.value) == f"there is not enough memory{wanted}"


@pytest.mark.parametrize(
    "error", [ValueError("memory"), RuntimeError("size mismatch"), KeyError("allocate 5"), OSError()]
)
def test_other_errors_are_not(error: Exception) -> None:
    assert out_of_memory(error) == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny-llama")


def fails(name: str) -> Callable[..., Any]:
    def ask(*_: object, **__: object) -> None:
        REAL[name][0]()

    return ask


@pytest.mark.parametrize("name", ["torch", "mapped", "python"])
@pytest.mark.parametrize(
    ("place", "what"),
    [
        ((transformers.AutoModelForCausalLM, "from_pretrained"), "weights of"),
        ((transformers.AutoTokenizer, "from_pretrained"), "tokenizer of"),
        ((transformers.LlamaForCausalLM, "to"), "model"),
        ((loading, "verify"), "model"),
    ],
)
def test_a_model_that_does_not_fit_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], what: str, name: str
) -> None:
    """How much was wanted, and what helps; not that a hub id needs a network."""
    monkeypatch.setattr(*place, fails(name))
    with pytest.raises(ModelLoadError) as caught:
        interp.load_model(folder, device="cpu")
    told = f"the {what} '{folder}' can't be loaded: there is not enough memory{REAL[name][1]}. Take a smaller dtype ("
    assert str(caught.value).startswith(told) and "--offload-folder FOLDER" in str(caught.value)


def test_a_conversion_without_memory_is_no_matter_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path))
    with pytest.raises(SafetensorError):
        cache.kept_folder("thing", short)
    assert not list((tmp_path / "models").glob("*thing*[!k]"))


def short(folder: Path) -> Any:
    (folder / "half").write_text("")
    raise SafetensorError("I/O error: Cannot allocate memory (os error 12)")
