"""One head, one layer, one sequence: in the singular, wherever a page or a line says what a model has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

import interp
from headscope.cli import doctor
from headscope.inspector import layout
from headscope.inspector.bench import Bench
from headscope.report import summary
from headscope.stages.induction import _described
from induction import repeated_sequences


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    hf = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_layer=1, n_head=1, n_embd=8, n_positions=64))
    return interp.load_model(hf, check=False)


def test_a_model_of_one_head(
    model: interp.HookedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "1 layer x 1 head (1 kv head)" in repr(model)
    told: dict[str, Any] = {"layers": 1, "heads": 1, "kv": 1}
    assert summary.facts({}, told) == ["1 layer of 1 head"]
    assert summary.facts({}, {"layers": 2, "heads": 4, "kv": 1}) == ["2 layers of 4 heads", "1 key-value head a layer"]
    bench = mock.Mock(spec=Bench, scores=SimpleNamespace(**told), identity={}, model=model)
    assert layout.facts(bench) == ["1 layer of 1 head"]
    monkeypatch.setattr(doctor.opt, "load", lambda *_, **__: model)
    doctor.doctor.__wrapped__({}, "one", False)
    assert "GPT2LMHeadModel: 1 layer x 1 head, 1 kv head, " in capsys.readouterr().out


def test_one_sequence(model: interp.HookedModel) -> None:
    one = repeated_sequences(model, length=6, sequences=1, counts="uniform")
    assert _described("quick", one) == "protocol quick: 1 sequence, L = 6, 4 repeats"


def test_the_bar_of_the_doctor_ends_with_the_last_check(
    model: interp.HookedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int]] = []

    class Bar:
        def __enter__(self) -> Any:
            return lambda done, total, what: seen.append((done, total))

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(doctor.opt, "load", lambda *_, **__: model)
    monkeypatch.setattr(doctor, "progress", lambda title: Bar())
    doctor.doctor.__wrapped__({}, "one", False)
    assert seen == [(done, 14) for done in range(1, 15)]
