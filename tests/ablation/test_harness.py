"""HeadscopeLM beside the harness's own HFLM: the same texts, the same weights, the same answers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ablation.tasks
from ablation.engine.likelihood import score_requests
from ablation.evaluation import evaluate
from ablation.harness import Scoring, harness_model
from interp.errors import UsageError
from interp.model import HookedModel
from tests.ablation.documents import SmallTask, documents
from tests.ablation.words import tokenizer, words
from tests.interp.families import build, load

PROBE_FILES = Path(ablation.tasks.__file__).parent / "probes"


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return load("llama", tokenizer=tokenizer())


@pytest.fixture(scope="module")
def ours(model: HookedModel) -> Any:
    return harness_model()(model)


@pytest.fixture(scope="module")
def theirs() -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=build("llama"), tokenizer=tokenizer(), batch_size=2)


def instances(kind: str, arguments: list[tuple[str, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]  # type: ignore[arg-type]


def texts() -> list[tuple[str, str]]:
    """Choices behind shared contexts, an empty context, white space at the end, and a prompt that is too long."""
    source = random.Random(3)
    contexts = [words(source, n) for n in (9, 14)]
    pairs = [(context, " " + words(source, n)) for context in contexts for n in (1, 1, 3, 5)]
    return [*pairs, ("", words(source, 4)), (words(source, 5) + "  ", words(source, 2)), (words(source, 90), " w5 w6")]


def agree(ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]], limit: float = 1e-4) -> None:
    np.testing.assert_allclose([value for value, _ in ours], [value for value, _ in theirs], atol=limit)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_log_likelihoods_are_those_of_the_harness(ours: Any, theirs: Any) -> None:
    asked = instances("loglikelihood", texts())
    agree(ours.loglikelihood(asked, disable_tqdm=True), theirs.loglikelihood(asked, disable_tqdm=True))


def test_rolling_log_likelihoods_are_those_of_the_harness(ours: Any, theirs: Any) -> None:
    source = random.Random(5)
    asked = instances("loglikelihood_rolling", [(words(source, n),) for n in (1, 40, 63, 64, 65, 200)])
    np.testing.assert_allclose(
        ours.loglikelihood_rolling(asked), theirs.loglikelihood_rolling(asked, disable_tqdm=True), rtol=1e-5
    )


def test_removed_heads_are_removed_in_the_harness(model: HookedModel, ours: Any) -> None:
    heads = torch.ones(2, 4)
    heads[0, 1] = heads[1] = 0
    asked = instances("loglikelihood", texts()[:8])
    gated = harness_model()(model, heads=heads, ffns=torch.tensor([1.0, 0.5])).loglikelihood(asked, disable_tqdm=True)
    pairs = [tuple(map(tuple, ours._encode_pair(*given))) for given in texts()[:8]]
    expected = score_requests(model, pairs, heads=heads, ffns=torch.tensor([1.0, 0.5])).log_likelihoods
    np.testing.assert_allclose([value for value, _ in gated], expected, atol=1e-5)
    whole = ours.loglikelihood(asked, disable_tqdm=True)
    assert max(abs(a - b) for (a, _), (b, _) in zip(whole, gated, strict=True)) > 1e-2


def test_generation_and_hopeless_prompts_are_refused(ours: Any) -> None:
    with pytest.raises(UsageError, match="does not generate text"):
        ours.generate_until([])
    with pytest.raises(UsageError, match="fills the model's context of 64 alone"):
        ours.loglikelihood(instances("loglikelihood", [("w3", " w4" * 70)]), disable_tqdm=True)
    with pytest.raises(UsageError, match="loaded already"):
        harness_model()(ours.hooked, dtype="float64")


def test_it_is_registered_and_runs_a_task_of_the_harness(ours: Any, theirs: Any) -> None:
    import lm_eval
    from lm_eval.api.registry import get_model
    from lm_eval.tasks import TaskManager

    assert get_model("headscope") is harness_model() and issubclass(harness_model(), Scoring)
    manager = TaskManager(include_path=str(PROBE_FILES), include_defaults=False)
    results = [
        lm_eval.simple_evaluate(
            model=lm, tasks=["probe_capitals"], task_manager=manager, limit=6, bootstrap_iters=0, verbosity="ERROR"
        )["results"]["probe_capitals"]["acc,none"]
        for lm in (ours, theirs)
    ]
    assert results[0] == results[1]


# --- evaluate ------------------------------------------------------------------------------------------------------


def test_an_evaluation_holds_what_every_document_got(model: HookedModel) -> None:
    task = SmallTask(tuple(documents(6)))
    found = evaluate(model, task)
    best = [int(np.argmax(row)) for row in found.log_likelihoods]
    right = [float(choice == d.gold) for choice, d in zip(best, task.documents, strict=True)]
    assert found.values.tolist() == found.per_document.tolist() == right
    assert found.metric == np.mean(right)
    np.testing.assert_allclose(found.stderr, np.std(right, ddof=1) / np.sqrt(6))
    assert found.gold_log_likelihoods.tolist() == [
        row[d.gold] for row, d in zip(found.log_likelihoods, task.documents, strict=True)
    ]
    assert found.target_lengths == tuple(len(d.target) for d in task.documents)
    assert found.clusters == found.document_clusters == tuple(d.cluster for d in task.documents)
    assert found.n_cut == 0


def test_clusters_are_the_unit_of_the_standard_error(model: HookedModel) -> None:
    docs = documents(6)
    pairs = SmallTask(tuple(replace(d, cluster=f"c{n // 2}") for n, d in enumerate(docs)))
    found = evaluate(model, pairs)
    sums = (found.values - found.metric).reshape(3, 2).sum(1)
    np.testing.assert_allclose(found.stderr, np.sqrt(3 / 2 * (sums**2).sum()) / 6)
    alone = evaluate(model, SmallTask(tuple(replace(d, cluster="one") for d in docs)))
    assert np.isnan(alone.stderr)


def test_cut_prompts_are_counted(model: HookedModel) -> None:
    docs = documents(4)
    task = SmallTask((replace(docs[0], dropped=2), replace(docs[1], trimmed=5), *docs[2:]))
    found = evaluate(model, task)
    assert (found.n_cut, found.dropped, found.trimmed) == (2, (2, 0, 0, 0), (0, 5, 0, 0))


# --- the real model --------------------------------------------------------------------------------------------------


def beside_the_harness(model: HookedModel, task: Any, *, limit: float = 1e-3) -> None:
    """Equal log-likelihoods; equal choices but where two lie within 2e-3."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(
        model.hf.config._name_or_path, dtype=torch.float32, attn_implementation="sdpa"
    )
    peer = HFLM(pretrained=plain, tokenizer=model.tokenizer, batch_size=4)
    rows = [zip(document.contexts, document.continuations, strict=True) for document in task.documents]
    expected = iter(peer.loglikelihood(instances("loglikelihood", [p for row in rows for p in row]), disable_tqdm=True))
    for row in evaluate(model, task).log_likelihoods:
        truth = [next(expected)[0] for _ in row]
        np.testing.assert_allclose(row, truth, atol=limit)
        best = sorted(truth)[-2:]
        assert np.argmax(row) == np.argmax(truth) or best[-1] - best[0] < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shots"), [("probe_capitals", 3), ("probe_past_tense", 0)])
def test_probes_on_the_real_model_are_those_of_the_harness(smollm2: HookedModel, name: str, shots: int) -> None:
    beside_the_harness(smollm2, ablation.tasks.load_task(name, shots=shots, limit=8))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shots"),
    [
        ("record", 0),
        ("multirc", 0),
        ("winogrande", 1),
        ("hellaswag", 0),
        ("arc_easy", 1),
        ("arc_challenge", 0),
        ("piqa", 1),
        ("openbookqa", 5),
        ("boolq", 0),
        ("wic", 1),
        ("rte", 1),
    ],
)
def test_real_documents_on_the_real_model_are_those_of_the_harness(
    smollm2: HookedModel, icl14: Path, name: str, shots: int
) -> None:
    beside_the_harness(smollm2, ablation.tasks.load_task(name, shots=shots, limit=2, data=icl14))
