"""Every command in half precision on the CPU: it ends well, and its scores are near those of float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headscope.store.run import open_run
from tests.headscope import tiny
from tests.headscope.commands import done

pytestmark = pytest.mark.slow
COMMON = ("--tasks", "probe_pattern,probe_labels", "--shots", "0,2", "--limit", "6")
PRUNE = ("--order", "own", "--percents", "0,50", "--limit", "6", "--tasks", "probe_pattern,probe_labels")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


def measured(model: Path, folder: Path, dtype: str) -> Path:
    where = ("--dtype", dtype, "-o", folder)
    done("induction", model, "--sequences", 3, "--length", 12, *where)
    done("importance", model, *COMMON, *where)
    done("knockout", model, "--component", "ffn", *COMMON, *where)
    done("prune", model, "--shots", "2", *PRUNE, *where)
    done("compare", folder)
    return folder


@pytest.fixture(scope="module")
def exact(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured(model_folder, tmp_path_factory.mktemp("exact") / "run", "float32")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_command(model_folder: Path, exact: Path, tmp_path: Path, dtype: str) -> None:
    first, second = open_run(exact), open_run(measured(model_folder, tmp_path / "run", dtype))
    assert second.identity["dtype"] == dtype
    for name in ("prefix_matching", "previous_token"):
        a, b = (run.head_score(name).mean.numpy() for run in (first, second))
        assert np.isfinite(b).all() and np.abs(a - b).max() < 0.02
    a, b = (
        run.head_score("importance", "signed", task="probe_pattern", shots=2).mean.numpy() for run in (first, second)
    )
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.95
    likelihoods = [run.metrics.query("metric == 'choice'")["value"].to_numpy() for run in (first, second)]
    assert np.isfinite(likelihoods[1]).all() and np.abs(likelihoods[0] - likelihoods[1]).max() < 0.5
