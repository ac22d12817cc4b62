"""The names a user may rely on, and how they are called: one list, read against each package's `__all__`."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The parameters in order; those behind "*" are keyword-only. A function may have more, all optional. None: a class.
PUBLIC: dict[str, dict[str, str | None]] = {
    "interp": {
        "load_model": "source * dtype device revision trust_remote_code",
        "HookedModel": None,
        "HeadScores": None,
        "FFNScores": None,
        "Ranking": None,
        "HeadMask": None,
        "FFNMask": None,
    },
    "induction": {
        "repeated_sequences": "model * protocol length repeats sequences seed candidates counts",
        "prefix_matching_score": "model sequences",
        "copying_score": "model sequences variant",
        "ov_copying_score": "model * variant tokens seed candidates counts",
        "previous_token_score": "model sequences",
        "duplicate_token_score": "model sequences",
        "composition_scores": "model",
        "in_context_learning_score": "model",
        "sink_score": "model sequences",
        "natural_prompts": "model * texts length prompts seed",
        "retrieval_score": "model prompts variant",
        "retrieval_scores": "model prompts",
        "needle_prompts": "model * lengths depths each filler seed",
        "concept_score": "model prompts variant",
        "concept_scores": "model prompts",
        "entity_prompts": "model * prompts length entities seed",
    },
    "ablation": {
        "load_task": "name * shots limit seed data part",
        "Evaluation": None,
        "evaluate": "model task * heads ffns",
        "head_importance": "model task * positions normalise",
        "knock_out": "model task * component ablation",
        "prune": "model task order * component unit percents ablation evaluate",
        "causal_check": "model few none sets * shuffled references evaluate",
        "screen": "model tasks * evaluate",
        "load_screen": "names * shots limit seed",
        "check_by_knock_out": "model task scores * n outcome",
        "patch": "model clean corrupt * answer other at method component outcome",
        "direct_attribution": "model text answer other",
        "function_vectors": "model tasks * shots queries seed data",
        "vector_task": "name * shots seed data queries",
        "vector_test": "model vectors tasks * k controls",
        "label_heads": "model task * by_frequency draws seed",
        "backups": "model task removed * replacement candidates limit controls",
        "FunctionVector": None,
        "spearman": "",
        "overlap": "",
        "retention": "",
    },
    "headscope": {"study": "model", "open_run": ""},
}
MEMBERS = {
    (
        "interp",
        "HookedModel",
    ): "hf tokenizer n_layers n_heads n_kv_heads d_head run_with_cache edit gates patched bridge",
    ("ablation", "Evaluation"): "mass choice margin per_token metric outcome outcomes",
    ("interp", "HeadScores"): "mean std ci_low ci_high null_mean p per_item n name top to_frame figure",
}


# A name that is due from the moment its file is there.
HOMES = {("headscope", "study"): "headscope/plan/study.py"}


def due(package: str) -> list[str]:
    """The names that the package has to have now."""
    return [name for name in PUBLIC[package] if (ROOT / HOMES.get((package, name), "")).exists()]


def landed() -> list[str]:
    """The packages that declare public names."""
    return [name for name in PUBLIC if "__all__" in source(ROOT / name / "__init__.py")]


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def matches(wanted: str, given: inspect.Signature) -> str | None:
    """What is wrong with a signature, or None."""
    before, _, after = wanted.partition("*")
    kinds = inspect.Parameter
    by_place = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    positional = [p.name for p in given.parameters.values() if p.kind in by_place]
    keyword_only = {p.name for p in given.parameters.values() if p.kind == kinds.KEYWORD_ONLY}
    if positional[: len(before.split())] != before.split():
        return f"the first parameters are {positional}, not {before.split()}"
    if missing := set(after.split()) - keyword_only:
        return f"{sorted(missing)} are no keyword-only parameters"
    known = {*before.split(), *after.split()}
    taking_any = (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    others = [p for p in given.parameters.values() if p.name not in known and p.kind not in taking_any]
    forced = [p.name for p in others if p.default is kinds.empty]
    return f"{forced} have no default" if wanted and forced else None


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_declares_its_public_names(package: str) -> None:
    if package not in landed():
        pytest.skip(f"{package}/__init__.py declares no __all__")
    module = importlib.import_module(package)
    assert sorted(set(module.__all__)) == sorted(module.__all__), "a name is listed twice"
    assert set(due(package)) <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name, None) is not None, f"{package}.{name} is declared and not there"


@pytest.mark.parametrize(("package", "name"), [(p, n) for p in landed() for n in due(p)])
def test_a_public_name_is_called_as_promised(package: str, name: str) -> None:
    value, wanted = getattr(importlib.import_module(package), name), PUBLIC[package][name]
    assert inspect.isclass(value) if wanted is None else callable(value)
    assert inspect.getdoc(value), f"{package}.{name} has no docstring"
    if wanted is not None:
        assert matches(wanted, inspect.signature(value)) is None, matches(wanted, inspect.signature(value))


@pytest.mark.parametrize(("package", "name"), MEMBERS)
def test_a_public_class_has_its_members(package: str, name: str) -> None:
    if package not in landed():
        pytest.skip(f"{package}/__init__.py declares no __all__")
    cls = getattr(importlib.import_module(package), name)
    known = set(dir(cls)).union(*(getattr(parent, "__annotations__", {}) for parent in cls.__mro__))
    known |= set(re.findall(r"self\.(\w+)(?:: [^=]+)? = ", inspect.getsource(cls)))
    assert set(MEMBERS[package, name].split()) <= known


def test_signatures_are_told_apart() -> None:
    def good(model: int, task: int, *, seed: int = 0, extra: int = 0) -> None: ...

    def bad(model: int, seed: int, *, extra: int) -> None: ...

    assert matches("model task * seed", inspect.signature(good)) is None
    assert "first parameters" in (matches("model task * seed", inspect.signature(bad)) or "")
    assert "keyword-only" in (matches("model * seed", inspect.signature(bad)) or "")
    assert "no default" in (matches("model seed", inspect.signature(bad)) or "")
