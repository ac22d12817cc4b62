"""The importance and knock-out stages beside what one call gives: draws, clusters, and what units are keyed by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import ablation
import interp
from ablation.importance import importance
from ablation.names import GRADIENT_RECHECKED, RECHECKED
from ablation.statistics.by_cluster import by_cluster
from headscope.findings.reading import left_out
from headscope.stages.cells import TaskChoice, by_task_and_shots, parse_shots
from headscope.stages.evaluation import StoredEvaluations, replacement_for
from headscope.stages.importance import measure_importance
from headscope.stages.knock_out import measure_knock_out
from headscope.store.run import open_run
from headscope.store.units import UnitStore
from interp.errors import StoreError, UsageError
from interp.masks import HeadMask
from interp.scores import FFNScores, HeadScores
from tests.headscope.commands import units
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model

TASK = "probe_pattern"


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


def choice(**values: object) -> TaskChoice:
    return replace(TaskChoice((TASK,), shots=(2,), limit=20), **values)  # type: ignore[arg-type]


# ---- importance -----------------------------------------------------------------------------------------------------


def test_draws_of_the_demonstrations_make_one_score(model: interp.HookedModel, tmp_path: Path) -> None:
    measure_importance(model, tmp_path / "run", choice(demo_seeds=2, limit=6))
    found = open_run(tmp_path / "run").head_score("importance", "token", task=TASK, shots=2)
    documents = [
        document
        for seed in (0, 1)
        for document in ablation.load_task(TASK, shots=2, limit=6, split="train", seed=seed).token_documents(model)
    ]
    wanted = ablation.head_importance(model, documents)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=2e-4)
    items = open_run(tmp_path / "run").items(f"head-importance-token-{TASK}-2shot")
    assert list(items["demo_seed"]) == [0] * 6 + [1] * 6 and found.n == 12


@pytest.mark.parametrize(("normalise", "variant"), [("paper", "token/paper"), ("layer_l2", "signed/layer_l2")])
def test_another_normalisation_stands_beside_the_uniform_one(
    model: interp.HookedModel, tmp_path: Path, normalise: str, variant: str
) -> None:
    measure_importance(model, tmp_path / "run", choice(limit=5), normalise=normalise)
    task = ablation.load_task(TASK, shots=2, limit=5, split="train")
    run = open_run(tmp_path / "run")
    for name, way in ((variant, normalise), (variant.partition("/")[0], "uniform")):
        wanted = ablation.head_importance(model, task, positions=name.partition("/")[0], normalise=way)
        np.testing.assert_allclose(run.head_score("importance", name, task=TASK, shots=2).mean, wanted.mean, rtol=2e-4)
    assert run.stages[0].record["running_check"] == f"{RECHECKED}; {GRADIENT_RECHECKED}"
    stored = set(run.ffn_scores["variant"])
    assert ("token/paper" in stored) == (normalise == "paper") and "token/layer_l2" not in stored


def test_norms_are_the_mean_lengths_of_what_heads_write(model: interp.HookedModel, tmp_path: Path) -> None:
    """|z W_O| from the cached z and the weights, one document at a time."""
    measure_importance(model, tmp_path / "run", choice(limit=4))
    found = open_run(tmp_path / "run").head_score("head_norm", task=TASK, shots=2)
    wanted = []
    for document in ablation.load_task(TASK, shots=2, limit=4, split="train").token_documents(model):
        tokens = torch.tensor([[*document.context, *document.target]])
        _, cache = model.run_with_cache(tokens, names=["z"])
        lengths = torch.stack(
            [
                torch.einsum("qhd,hdm->qhm", cache[f"blocks.{layer}.attn.hook_z"][0], model.w_o(layer))
                .norm(dim=-1)
                .mean(0)
                for layer in range(LAYERS)
            ]
        )
        wanted.append(lengths)
    assert found.per_item is not None
    torch.testing.assert_close(found.per_item, torch.stack(wanted), rtol=1e-4, atol=1e-5)


# ---- intervals by cluster -------------------------------------------------------------------------------------------


def test_intervals_are_over_clusters_of_documents() -> None:
    """Copies of a document add nothing: the interval is that of the documents themselves, drawn in the same way."""
    draw = torch.Generator().manual_seed(0)
    documents = torch.randn(30, 3, 2, generator=draw)
    alone = HeadScores.from_items("x", documents, n_kv_heads=2)
    copies = HeadScores.from_items("x", documents.repeat_interleave(5, dim=0), n_kv_heads=2)
    found = by_cluster(copies, [f"c{place // 5:02d}" for place in range(150)])
    assert ((copies.ci_high - copies.ci_low) < 0.7 * (alone.ci_high - alone.ci_low)).all()
    for name in ("mean", "ci_low", "ci_high"):
        torch.testing.assert_close(getattr(found, name), getattr(alone, name))


def test_a_cluster_of_its_own_for_every_document_changes_nothing() -> None:
    score = FFNScores.from_items("x", torch.randn(9, 3))
    assert by_cluster(score, [str(place) for place in range(9)]) is score


def test_one_cluster_has_no_interval() -> None:
    found = by_cluster(FFNScores.from_items("x", torch.randn(9, 3)), ["a"] * 9)
    assert found.ci_low.isnan().all() and found.ci_high.isnan().all() and not found.mean.isnan().any()


def test_the_stages_store_intervals_by_cluster(model: interp.HookedModel, tmp_path: Path) -> None:
    """A probe of 50 items under four rules: a limit of 60 takes two documents of some items."""
    task = "probe_capitals"
    asked = replace(choice(limit=60), names=(task,), shots=(0,))
    measure_importance(model, tmp_path / "run", asked)
    measure_knock_out(model, tmp_path / "run", asked, component="ffn")
    run = open_run(tmp_path / "run")
    for stored, name in (
        (run.head_score("importance", "token", task=task, shots=0), "head-importance-token"),
        (run.ffn_score("knock_out", "choice", task=task, shots=0), "ffn-knock_out-choice"),
    ):
        clusters = list(run.items(f"{name}-{task}-0shot")["cluster"])
        assert len(clusters) == 60 and len(set(clusters)) == 50
        plain = type(stored).from_items(stored.name, stored.per_item)
        torch.testing.assert_close(stored.ci_low, by_cluster(plain, clusters).ci_low)
        assert not torch.equal(stored.ci_low, plain.ci_low)


# ---- knock-outs and replacements ------------------------------------------------------------------------------------


def test_importance_for_removal_by_the_mean(model: interp.HookedModel, tmp_path: Path) -> None:
    """The mean is that of the knock-outs: 64 documents of the other split. Both kinds stand side by side."""
    measure_importance(model, tmp_path, choice(limit=3), objective="choice")
    measure_importance(model, tmp_path, choice(limit=3), objective="choice", ablation="mean")
    task = ablation.load_task(TASK, shots=2, limit=3, split="train")
    others = ablation.load_task(TASK, shots=2, limit=64, split="validation")
    means = ablation.make_replacement(model, "mean", list(others.token_documents(model)))
    for variant, replacement in (("signed/choice/mean", means), ("signed/choice", None)):
        wanted = importance(model, task, objective="choice", replacement=replacement)
        assert wanted.variant("signed") == variant
        for kind, table in (("head", wanted.heads(positions="signed")), ("ffn", wanted.ffns(positions="signed"))):
            found = getattr(open_run(tmp_path), f"{kind}_score")("importance", variant, task=TASK, shots=2)
            np.testing.assert_allclose(found.mean, table.mean, rtol=2e-4, atol=1e-7)
    assert [stage.options.get("ablation") for stage in open_run(tmp_path).stages] == [None, "mean"]
    with pytest.raises(UsageError, match="by zero or by mean, not by 'resample': `headscope knockout` measures it"):
        measure_importance(model, tmp_path, choice(limit=3), ablation="resample")


@pytest.mark.parametrize("ablation_name", ["mean", "resample"])
def test_knock_out_by_other_documents(model: interp.HookedModel, tmp_path: Path, ablation_name: str) -> None:
    """The stand-ins are 64 documents of the split that is not scored; the score has a name of its own."""
    measure_knock_out(model, tmp_path / "run", choice(limit=3), component="ffn", ablation=ablation_name)
    task = ablation.load_task(TASK, shots=2, limit=3, split="train")
    others = ablation.load_task(TASK, shots=2, limit=64, split="validation")
    assert not {d.id for d in task.documents} & {d.id for d in others.documents}
    replacement = ablation.make_replacement(model, ablation_name, list(others.token_documents(model)))
    wanted = ablation.knock_out(model, task, component="ffn", replacement=replacement).scores(outcome="choice")
    found = open_run(tmp_path / "run").ffn_score(f"knock_out_{ablation_name}", "choice", task=TASK, shots=2)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=2e-5)
    assert open_run(tmp_path / "run").stages[0].record["running_check"] == RECHECKED


# ---- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"labels": "shuffled"},
        {"shots": (1,)},
        {"bos": "always"},
        {"demos": "fixed"},
        {"names": ("probe_labels",)},
    ],
)
def test_units_of_other_prompts_are_other_units(
    model: interp.HookedModel, tmp_path: Path, other: dict[str, object]
) -> None:
    measure_importance(model, tmp_path / "one", choice(limit=3))
    measure_importance(model, tmp_path / "other", choice(limit=3, **other))
    assert not units(tmp_path / "one") & units(tmp_path / "other")


def test_a_norm_behind_the_heads_is_told_wherever_the_scores_are(
    model: interp.HookedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.importance.post_norm_layers", lambda model: (0, 1))
    measure_importance(model, tmp_path, choice(limit=2))
    run = open_run(tmp_path)
    assert run.stages[-1].record["post_norm"].startswith("2 layers have a norm behind the heads")
    assert any(line.startswith("Importance: 2 layers have a norm behind") for line in left_out(run.manifest))


def test_frozen_norms_and_ablations_are_part_of_the_key(model: interp.HookedModel, tmp_path: Path) -> None:
    first = choice(limit=2)
    measure_importance(model, tmp_path / "one", first)
    measure_importance(model, tmp_path / "other", first, frozen_norm=True)
    measure_importance(model, tmp_path / "third", first, ablation="mean")
    for other in ("other", "third"):
        assert len(units(tmp_path / "one") & units(tmp_path / other)) == 1  # the norms
    for name in ("zero", "mean"):
        measure_knock_out(model, tmp_path / name, first, component="ffn", ablation=name)
    assert not units(tmp_path / "zero") & units(tmp_path / "mean")


def test_equal_masks_are_evaluated_once_and_others_are_not(model: interp.HookedModel, tmp_path: Path) -> None:
    """Whatever order asks; a mask of heads is none of FFNs, and removal by zero is none by mean."""
    evaluate = StoredEvaluations(UnitStore(tmp_path))
    (task,) = choice(limit=3).tasks("validation")
    whole = HeadMask.keep_all(LAYERS, HEADS)
    full = evaluate(model, task)
    assert evaluate(model, task, heads=whole).log_likelihoods == full.log_likelihoods
    assert len(units_in(tmp_path)) == 1
    one = evaluate(model, task, heads=whole.without([(1, 2)]))
    assert len(units_in(tmp_path)) == 2
    with mock.patch("ablation.engine.likelihood.log_likelihoods", side_effect=AssertionError("run again")):
        again = evaluate(model, task, heads=whole.without([(1, 2)]).values)
    assert again.log_likelihoods == one.log_likelihoods != full.log_likelihoods
    evaluate(model, task, ffns=torch.tensor([1.0, 0.0, 1.0]))
    by_mean = evaluate(
        model, task, heads=whole.without([(1, 2)]), replacement=replacement_for(model, choice(limit=3), task, "mean")
    )
    assert len(units_in(tmp_path)) == 4 and by_mean.log_likelihoods != one.log_likelihoods


def units_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.unit"))


def test_the_full_model_needs_no_stand_ins(model: interp.HookedModel, tmp_path: Path) -> None:
    """It is one unit by every name, and the reference documents are not run for it."""
    (task,) = choice(limit=3).tasks("validation")
    means = replacement_for(model, choice(limit=3), task, "mean")
    with mock.patch("ablation.references.mean_of", side_effect=AssertionError("not needed")):
        StoredEvaluations(UnitStore(tmp_path))(model, task, replacement=means)
    StoredEvaluations(UnitStore(tmp_path))(model, task)
    assert len(units_in(tmp_path)) == 1


# ---- choices --------------------------------------------------------------------------------------------------------


def test_shots_are_read_from_text() -> None:
    assert parse_shots("0, 5,1,5") == (0, 1, 5)
    for text in ("", ",", "a", "-1", "1.5", "\u00b2"):
        with pytest.raises(UsageError, match="no list of numbers of shots"):
            parse_shots(text)


def test_no_shots_need_one_draw_only() -> None:
    cells = choice(shots=(0, 2), demo_seeds=3, limit=2).tasks("train")
    assert {key: len(group) for key, group in by_task_and_shots(cells).items()} == {(TASK, 0): 1, (TASK, 2): 3}
    assert len({cell.fingerprint for cell in cells}) == 4


def test_another_protocol_is_refused_before_anything_is_computed(model: interp.HookedModel, tmp_path: Path) -> None:
    measure_importance(model, tmp_path / "run", choice(limit=2))
    before = units(tmp_path / "run")
    with pytest.raises(StoreError, match=r"limit 2.*limit 3"):
        measure_importance(model, tmp_path / "run", choice(limit=3))
    assert units(tmp_path / "run") == before
