"""Export: plain transformers reads the pruned model and gives the gated model's logits; so does the harness."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ablation.tasks
from ablation.export import RECORD, export
from ablation.harness import NAME, harness_model
from ablation.importance import importance
from ablation.orders import even_over_layers, without_groups
from ablation.pruning import prune
from interp.errors import RefusedModelError, StoreError, UsageError
from interp.loading import load_model
from interp.masks import FFNMask, HeadMask
from interp.model import HookedModel
from tests.ablation.words import task, tokenizer
from tests.interp.families import FAMILIES, load, random_tokens
from tests.interp.full_disk import STEPS, fill

HEADS = HeadMask.keep_all(2, 4).without([(0, 1), (1, 0), (1, 3)])
FFNS = FFNMask.keep_all(2).without([1])


def plain(folder: Path) -> Any:
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_gives_the_gated_logits(family: str, tmp_path: Path) -> None:
    model, tokens = load(family), random_tokens()
    heads = HEADS if 0 in model.attention_layers else HeadMask.keep_all(2, 4).without([(1, 0), (1, 3)])
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    with torch.no_grad(), model.gates(heads=heads, ffns=FFNS):
        expected = model(tokens)
    folder = export(model, heads, FFNS, tmp_path / "pruned")
    with torch.no_grad():
        found = plain(folder)(input_ids=tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    with torch.no_grad():
        assert float((found - model(tokens)).abs().max()) > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in model.hf.state_dict().items())


def by_the_harness(folder: Path, held: Any) -> tuple[float, np.ndarray]:
    """Accuracy and gold log-likelihoods of a task's texts, from a checkpoint that HFLM loads by its path."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    peer, right, gold = HFLM(pretrained=str(folder), batch_size=4, device="cpu", dtype="float32"), [], []
    for document in held.documents:
        pairs = zip(document.contexts, document.continuations, strict=True)
        asked: list[Any] = [Instance("loglikelihood", {}, pair, n) for n, pair in enumerate(pairs)]  # type: ignore[arg-type]
        values = [value for value, _ in peer.loglikelihood(asked, disable_tqdm=True)]
        right.append(float(np.argmax(values) == document.gold))
        gold.append(values[document.gold])
    return float(np.mean(right)), np.array(gold)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
def test_the_harness_gives_the_exported_model_what_prune_reported(family: str, tmp_path: Path) -> None:
    model, held = load(family, tokenizer=tokenizer()), task(12)
    found = importance(model, held)
    heads, ffns = found.heads().ranking(), found.ffns().ranking()
    pruned = prune(model, held, (heads, ffns), component="both", percents=((0, 0), (50, 0), (25, 50)))
    golds = []
    for step in pruned.steps:
        masks = heads.mask(step.percent_heads), ffns.mask(step.percent_ffns)
        folder = export(model, *masks, tmp_path / f"{step.percent_heads:g}-{step.percent_ffns:g}")
        accuracy, gold = by_the_harness(folder, held)
        assert accuracy == step.evaluation.metric
        np.testing.assert_allclose(gold, step.evaluation.gold_log_likelihoods, atol=1e-4)
        golds.append(gold)
    assert np.abs(golds[1] - golds[0]).max() > 1e-2 and np.abs(golds[2] - golds[1]).max() > 1e-2


# Groups 0 of layer 0 and 1 of layer 1, so that what is cut stands in another place in each layer.
CUTS = ("llama", "mistral", "qwen2", "qwen3", "qwen3_next", "gemma", "gemma2", "gemma3", "phi", "starcoder2", "cohere")
CUTS += ("granite", "olmo_clipped", "glm4", "mixtral", "gpt_oss", "lfm2")
WHOLE = {
    "gpt2": "one projection",
    "opt": "no num_key_value_heads",
    "falcon_40b": "one projection",
    "deepseek_v3": "a latent one",
    "olmo2": "is not the model with removed components",
    "stablelm": "does not run with fewer",
    "bitnet": "does not run with fewer",
}


def uneven(model: HookedModel) -> HeadMask:
    layers = model.attention_layers
    return without_groups(model, [(layer, place % model.n_kv_heads) for place, layer in enumerate(layers)])


@pytest.mark.parametrize("family", CUTS)
def test_a_cut_checkpoint_is_smaller_and_gives_the_gated_logits(family: str, tmp_path: Path) -> None:
    model, tokens = load(family), random_tokens()
    mask, before = uneven(model), {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    with torch.no_grad(), model.gates(heads=mask, ffns=FFNS):
        expected = model(tokens)
    cut = export(model, mask, FFNS, tmp_path / "cut", cut=True)
    whole = export(model, mask, FFNS, tmp_path / "whole")
    with torch.no_grad():
        found = plain(cut)(input_ids=tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    assert all(torch.equal(weight, before[name]) for name, weight in model.hf.state_dict().items())
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (cut, whole)]
    record = json.loads((cut / RECORD).read_text())["cut"]
    assert sizes[0] < sizes[1] and record["parameters_left"] < record["parameters"]
    assert record["kv_heads_left"] == model.n_kv_heads - 1 and len(record["groups"]) == len(model.attention_layers)
    again = load_model(plain(cut), tokenizer=None, check=False)
    assert again.n_kv_heads == model.n_kv_heads - 1 and again.d_head == model.d_head


@pytest.mark.parametrize("family", WHOLE)
def test_a_family_that_can_not_be_cut_is_refused(family: str, tmp_path: Path) -> None:
    model = load(family)
    with pytest.raises(RefusedModelError, match=WHOLE[family]):
        export(model, uneven(model), None, tmp_path / "cut", cut=True)
    assert not list(tmp_path.iterdir())


def test_a_model_pruned_by_kv_group_keeps_its_log_likelihoods(tmp_path: Path) -> None:
    """Pruned evenly by the joint gate, exported, loaded by the harness: what prune reported, from fewer bytes."""
    model, held = load("llama", tokenizer=tokenizer()), task(12)
    order = even_over_layers(importance(model, held, objective="choice").kv_groups(positions="document"))
    pruned = prune(model, held, order, unit="group", percents=(0, 50))
    folder = export(model, order.mask(50), None, tmp_path / "cut", cut=True)
    accuracy, gold = by_the_harness(folder, held)
    assert accuracy == pruned.steps[1].evaluation.metric
    np.testing.assert_allclose(gold, pruned.gold_log_likelihoods()[1], atol=1e-4)
    assert np.abs(gold - pruned.gold_log_likelihoods()[0]).max() > 1e-2


def test_what_the_layers_have_not_lost_alike_stays_as_zeros(tmp_path: Path) -> None:
    model, tokens = load("llama", seed=1), random_tokens()
    mask = without_groups(model, [(0, 0), (1, 0)]).without([(1, 3)])
    folder = export(model, mask, None, tmp_path / "cut", cut=True)
    with torch.no_grad(), model.gates(heads=mask):
        expected = model(tokens)
    with torch.no_grad():
        found = plain(folder)(input_ids=tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    record = json.loads((folder / RECORD).read_text())
    assert record["cut"]["groups"] == ["0.0", "1.0"] and record["removed_heads"] == ["0.0", "0.1", "1.0", "1.1", "1.3"]


def test_a_number_of_heads_that_the_width_is_no_multiple_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama asks for it: of three groups gone from each of four, two are cut where three heads would not do."""
    name, options = FAMILIES["llama"]
    wide = {**options, "hidden_size": 32, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 8}
    monkeypatch.setitem(FAMILIES, "llama", (name, wide))
    model, tokens = load("llama"), random_tokens()
    mask = without_groups(model, [(layer, group) for layer in (0, 1) for group in range(5)])  # 6 heads left: 32 % 6
    folder = export(model, mask, None, tmp_path / "cut", cut=True)
    assert json.loads((folder / RECORD).read_text())["cut"]["heads_left"] == 8
    with torch.no_grad(), model.gates(heads=mask):
        expected = model(tokens)
    with torch.no_grad():
        found = plain(folder)(input_ids=tokens, use_cache=False).logits
    assert float((found - expected).abs().max() / expected.std()) < 1e-4
    none = without_groups(model, [(layer, 0) for layer in (0, 1)])
    with pytest.raises(RefusedModelError, match=r"no configuration with fewer key-value groups .*multiple"):
        export(model, none, None, tmp_path / "none", cut=True)


def test_groups_removed_from_some_layers_only_can_not_be_cut(tmp_path: Path) -> None:
    model = load("llama")
    for mask in (without_groups(model, [(1, 0)]), HEADS, None):
        with pytest.raises(UsageError, match=r"of 2 layers .*even_over_layers"):
            export(model, mask, None, tmp_path / "cut", cut=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_real_model_without_a_third_of_its_kv_groups(smollm2: HookedModel, tmp_path: Path) -> None:
    """One of three groups gone from every layer: a smaller file, the same log-likelihoods in plain transformers."""
    ranked = ablation.tasks.load_task("probe_pattern", shots=2, limit=4, split="train")
    held = ablation.tasks.load_task("probe_pattern", shots=2, limit=8)
    order = even_over_layers(importance(smollm2, ranked, objective="choice").kv_groups(positions="document"))
    pruned = prune(smollm2, held, order, unit="group", percents=(0, 100 / 3))
    assert pruned.steps[1].removed_heads == smollm2.n_layers
    folders = [
        export(smollm2, order.mask(100 / 3), None, tmp_path / name, cut=name == "cut") for name in ("cut", "whole")
    ]
    sizes = [sum(part.stat().st_size for part in folder.glob("*.safetensors")) for folder in folders]
    assert sizes[0] < 0.95 * sizes[1]
    hf, rows = plain(folders[0]), pruned.steps[1].evaluation.log_likelihoods
    for d, row in zip(held.token_documents(smollm2), rows, strict=True):
        for context, choice, value in zip(d.contexts, d.choices, row, strict=True):
            with torch.no_grad():
                log_p = hf(input_ids=torch.tensor([[*context, *choice]])).logits[0].double().log_softmax(-1)
            found = sum(float(log_p[len(context) + j - 1, token]) for j, token in enumerate(choice))
            assert value == pytest.approx(found, abs=1e-4)


@pytest.mark.longest
@pytest.mark.slow
def test_the_harness_runs_its_own_way_over_the_exported_model(smollm2: HookedModel, tmp_path: Path) -> None:
    """`simple_evaluate` with our YAML file builds the prompts and loads the folder itself, as `hf` and as ours."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    held = ablation.tasks.load_task("probe_capitals", shots=3, limit=24, seed=7)
    rows = [
        int(document.id.rpartition("/")[2]) for document in held.documents
    ]  # the harness's own limit takes the first
    heads = importance(smollm2, ablation.tasks.load_task("probe_capitals", shots=3, limit=8, split="train")).heads()
    pruned = prune(smollm2, held, heads, component="head", percents=(0, 20, 40))
    place = Path(ablation.tasks.__file__).parent / "probes"
    harness_model()  # known by its name from here on
    for step, name in ((pruned.steps[1], "hf"), (pruned.steps[2], "hf"), (pruned.steps[2], NAME)):
        folder = tmp_path / f"{step.percent_heads:g}"
        if not folder.exists():
            export(smollm2, heads.ranking().mask(step.percent_heads), None, folder)
        results = lm_eval.simple_evaluate(
            model=name,
            model_args={"pretrained": str(folder), "dtype": "float32"},
            tasks=["probe_capitals"],
            task_manager=TaskManager(include_path=str(place), include_defaults=False),
            num_fewshot=3,
            samples={"probe_capitals": rows},
            fewshot_random_seed=7,
            device="cpu",
            batch_size=4,
            bootstrap_iters=0,
            verbosity="ERROR",
        )
        assert results["results"]["probe_capitals"]["acc,none"] == pytest.approx(step.evaluation.metric)
    assert pruned.steps[2].evaluation.metric != pruned.steps[0].evaluation.metric


def test_what_was_removed_stands_beside_the_weights(tmp_path: Path) -> None:
    folder = export(load("llama"), HEADS, FFNS, tmp_path / "pruned")
    record = json.loads((folder / RECORD).read_text())
    assert record["removed_heads"] == ["0.1", "1.0", "1.3"] and record["removed_ffns"] == [1]
    assert record["model"]["weight_hash"]
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]


def test_nothing_removed_is_the_model_itself(tmp_path: Path) -> None:
    model = load("gpt2")
    hf = plain(export(model, None, None, tmp_path / "same"))
    assert all(torch.equal(weight, model.hf.state_dict()[name]) for name, weight in hf.state_dict().items())


@pytest.mark.parametrize(
    ("heads", "ffns", "options", "words"),
    [
        (torch.ones(3, 4), None, {}, "another model"),
        (None, torch.ones(3), {}, "another model"),
        (torch.full((2, 4), 0.5), None, {}, "1 .keep. or 0 .remove."),
        (HEADS, None, {"ablation": "mean"}, "can't be written"),
    ],
)
def test_bad_masks_and_other_ablations_are_refused(
    heads: Any, ffns: Any, options: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        export(load("gpt2"), heads, ffns, tmp_path / "pruned", **options)
    assert not list(tmp_path.iterdir())


def test_heads_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no attention heads"):
        export(load("lfm2"), HEADS, None, tmp_path / "pruned")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="already"):
        export(load("gpt2"), HEADS, None, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_no_half_of_a_checkpoint(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("llama")
    before = {name: weight.clone() for name, weight in model.hf.state_dict().items()}
    with monkeypatch.context() as patch:
        fill(patch, step)
        with pytest.raises(StoreError, match=r"pruned' can't be written \(.*No space left on device"):
            export(model, HEADS, FFNS, tmp_path / "pruned")
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(weight, before[name]) for name, weight in model.hf.state_dict().items())
    assert plain(export(model, HEADS, FFNS, tmp_path / "pruned")), "with room it is written"


def test_a_model_whose_zeroed_weights_are_not_its_gates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("gpt2")
    monkeypatch.setattr(sys.modules["ablation.export"], "ffn_weights", lambda model, layer: [])
    with pytest.raises(RefusedModelError, match="can't be exported"):
        export(model, None, FFNS, tmp_path / "pruned")
    assert not list(tmp_path.iterdir())
