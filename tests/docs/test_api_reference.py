"""The page of the Python interface has every public name, with what the function takes and what its docstring says."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from tests.docs.scripts import script

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")

PACKAGES = ("interp", "induction", "ablation", "headscope")


@pytest.fixture(scope="module")
def entries() -> dict[str, str]:
    parts = re.split(r"^### (.+)$", script("hooks/api_reference.py").reference(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_has_every_public_name(entries: dict[str, str]) -> None:
    names = [f"{package}.{name}" for package in PACKAGES for name in importlib.import_module(package).__all__]
    assert list(entries) == names


def test_a_function_has_its_parameters_and_its_words(entries: dict[str, str]) -> None:
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            found = getattr(module, name)
            if not inspect.isfunction(found):
                continue
            text = entries[f"{package}.{name}"]
            missing = [parameter for parameter in inspect.signature(found).parameters if parameter not in text]
            first = str(found.__doc__).partition(".")[0].split()
            assert not missing and " ".join(first) in " ".join(text.replace("\\", "").split()), name


def test_defaults_stay_as_they_are_written(entries: dict[str, str]) -> None:
    assert "protocol: Protocol = 'quick'" in entries["induction.repeated_sequences"]
    assert "variant: Variant = ''" in entries["induction.retrieval_score"]
    assert "-> Bool[Tensor, 'layer head']" in entries["induction.retrieval_heads"]


def test_a_class_has_its_methods_and_properties(entries: dict[str, str]) -> None:
    for name in ("run_with_cache", "gates", "generate", "weight_hash", "attention_view"):
        assert f"- **`{name}`**" in entries["interp.HookedModel"], name
    assert "(tokens: Tokens | str, names" in entries["interp.HookedModel"]
