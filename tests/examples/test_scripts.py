"""The scripts of examples/ are executed: on tiny models in a folder, and once each on SmolLM2."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import interp
from tests.headscope.tiny import HEADS, LAYERS, write_model

if TYPE_CHECKING:
    from interp.model import HookedModel

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script as `python examples/NAME.py ARGUMENTS` would, in an empty folder; its names, and `printed`."""

    def running(name: str, *arguments: object) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return {**names, "printed": capsys.readouterr().out}

    return running


@pytest.fixture
def real(run: Run, smollm2: HookedModel, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same with the embedded model that the session has loaded already."""
    load = interp.load_model

    def loading(source: Any, **options: Any) -> Any:
        plain = source == "smollm2-135m" and not any(options.values())
        return smollm2 if plain else load(source, **options)

    monkeypatch.setattr(interp, "load_model", loading)
    return run


def requests_of(page: Path) -> list[str]:
    """What a page would load from elsewhere."""
    return re.findall(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](?:https?:)?//[^"']*""", page.read_text("utf-8"))


# ---- what they look like --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_short_and_says_what_it_does(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40
    makes_its_own_models = path.stem == "train_small_models"
    assert text.startswith('"""') and ("smollm2-135m" in text or makes_its_own_models)


def test_every_example_has_a_line_in_the_readme() -> None:
    listed = re.findall(r"\]\(([a-z_]+\.(?:py|ipynb))\)", README)
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb"))


def test_a_script_is_a_program_of_its_own(tiny: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "watch_attention.py"), str(tiny), "--head", "1.2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "head 1.2 is drawn in attention.html" in done.stdout and (tmp_path / "attention.html").is_file()


# ---- on tiny models -------------------------------------------------------------------------------------------------


def test_heads_are_scored(run: Run, tiny: Path, tmp_path: Path) -> None:
    found = run("score_heads", tiny, "--sequences", 2)
    best = found["prefix"].top(1)[0]
    first = found["printed"].splitlines()[1].split()
    assert first[:3] == [str(best.layer), str(best.head), f"{best.score:.4f}"]
    assert f"of {LAYERS * HEADS} heads" in found["printed"]
    assert requests_of(tmp_path / "prefix_matching.html") == []


def test_attention_is_watched(run: Run, tiny: Path, tmp_path: Path) -> None:
    found = run("watch_attention", tiny, "--text", "</script><script>alert(1)</script>abcdabcd", "--head", "2.1")
    tokens, pattern = found["view"].tokens, found["view"].patterns[0][:, 1:]
    lines = [line.rsplit(maxsplit=1) for line in found["printed"].splitlines()[:-1]]
    rows = [row for row in range(len(tokens)) if pattern[row].max() > 0.1]
    assert [float(value) for _, value in lines] == pytest.approx([pattern[row].max() for row in rows], abs=0.0051)
    assert rows and lines[0][0].split(" looks at ") == [
        f"{tokens[rows[0]]!r:>16}",
        repr(tokens[1 + pattern[rows[0]].argmax()]),
    ]
    page = (tmp_path / "attention.html").read_text("utf-8")
    assert page.count("</script>") == 1 and requests_of(tmp_path / "attention.html") == []


def test_heads_are_removed_from_a_text(run: Run, tiny: Path) -> None:
    found = run("remove_heads", tiny, "--text", "abcdabcd", "--heads", "1.2,2.1,0.3")
    model, answer = found["model"], found["answer"]
    lines = found["printed"].splitlines()
    assert lines[0] == "abcdabcd ..."
    for line, removed in zip(lines[1:], ([], [found["needed"]], [(1, 2), (2, 1), (0, 3)]), strict=True):
        mask = interp.HeadMask.keep_all(LAYERS, HEADS).without(removed)
        with model.gates(heads=mask):
            chance = float(model(model.to_tokens("abcdabcd"))[0, -1].softmax(-1)[answer])
        assert f" {chance:.0%}, " in line, line
    assert lines[1].startswith("with every head: ") and lines[3].startswith("without 1.2, 2.1, 0.3: ")


def test_without_a_head_the_strongest_is_watched(run: Run, tiny: Path) -> None:
    found = run("watch_attention", tiny, "--text", "abcdabcd")
    best = found["induction"].prefix_matching_score(found["model"], found["sequences"], draws=0).top(1)[0]
    assert f"head {best.layer}.{best.head} is drawn" in found["printed"]


def test_heads_are_of_two_kinds(run: Run, tiny: Path) -> None:
    found = run("which_kind_of_head", tiny, "--tasks", "probe_labels,probe_pattern", "--sequences", 2, "--top", 2)
    vectors, looking = found["vectors"], found["looking"]
    assert [task.task for task in vectors.tasks] == ["probe_labels", "probe_pattern"] and vectors.left_out == {}
    lines = [line.split() for line in found["printed"].splitlines()[1:]]
    best = [*vectors.scores.top(2), *looking.get("prefix_matching").top(2)]
    assert [line[0] for line in lines] == list(dict.fromkeys(f"{head.layer}.{head.head}" for head in best))
    assert lines[0][2] == f"{best[0].score:+.3f}" and {line[-1] for line in lines} <= {"-", "induction"}


def test_a_task_needs_heads(run: Run, tiny: Path) -> None:
    found = run("heads_for_a_task", tiny, "--limit", 4, "--shots", 1, "--percent", 20)
    best = [(head.layer, head.head) for head in found["needed"].top(2)]
    assert sorted(found["masks"]["without the most needed"].removed()) == sorted(best)
    matching = [(head.layer, head.head) for head in found["matching"].top(2)]
    assert sorted(found["masks"]["without the best matching"].removed()) == sorted(matching)
    whole = found["ablation"].evaluate(found["model"], found["validation"])
    assert f"with every head            acc {whole.metric:.3f}" in found["printed"]
    assert found["printed"].count("without ") == 5
    assert {document.id.split("/")[1] for document in found["train"].documents} == {"train"}


def test_a_pruned_model_is_exported(run: Run, tiny: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = run("prune_and_export", tiny, "--limit", 4, "--percent", 30)
    assert f"without 3 heads, loaded from pruned: {found['again'].metric:.3f}" in found["printed"]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    gone = found["order"].mask(30).removed()
    assert len(gone) == 3
    for layer, head in gone:
        columns = plain.model.layers[layer].self_attn.o_proj.weight.unflatten(1, (HEADS, -1))[:, head]
        assert not columns.any()
    record = json.loads((tmp_path / "pruned" / "pruned.json").read_text("utf-8"))
    assert record["removed_heads"] == [f"{layer}.{head}" for layer, head in gone]


def test_models_of_one_shape_are_compared_head_by_head(run: Run, tiny: Path, tmp_path: Path) -> None:
    same = run("compare_models", tiny, tiny, "--sequences", 2)
    assert "Spearman over all heads: 1.000" in same["printed"]
    assert "of the top 1 heads 1 are the same" in same["printed"]
    rounded = run("compare_models", tiny, "--sequences", 2)
    assert "(torch.float32)" in rounded["printed"] and "(torch.bfloat16)" in rounded["printed"]
    wider = write_model(tmp_path / "wider", heads=6)
    assert "Spearman" not in run("compare_models", tiny, wider, "--sequences", 2)["printed"]


def test_checkpoints_are_swept_in_the_order_of_their_numbers(run: Run, tmp_path: Path) -> None:
    folders = [write_model(tmp_path / f"step{step}", seed=step) for step in (1000, 200)]
    found = run("sweep_checkpoints", *folders, "--sequences", 2)
    assert list(found["table"]["checkpoint"]) == ["step200", "step1000"]
    last = found["induction"].in_context_learning_score(found["model"], found["sequences"]).repeat
    assert found["table"]["in-context learning"].iloc[-1] == pytest.approx(last)
    assert [trace.name for trace in found["curves"].data] and requests_of(tmp_path / "sweep.html") == []


# ---- on SmolLM2 -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smollm2s_heads_are_scored(real: Run) -> None:
    found = real("score_heads", "--sequences", 2)
    assert found["printed"].splitlines()[1].split()[:2] == ["18", "6"]
    assert found["table"]["kind"].iloc[0] == "copying"
    heads = {f"{layer}.{head}" for layer, head in found["found"].heads.heads}
    assert {"18.6", "17.3", "18.7", "23.2", "23.7"} <= heads


@pytest.mark.slow
def test_smollm2_forgets_a_word_without_its_induction_heads(real: Run) -> None:
    found = real("remove_heads")
    assert found["printed"].strip() in (EXAMPLES.parent / "README.md").read_text("utf-8")
    shares = [float(share) for share in re.findall(r" (\d+)%, ", found["printed"])]
    assert len(shares) == 3 and shares[0] > shares[1] > shares[2], found["printed"]


@pytest.mark.slow
def test_smollm2s_strongest_head_looks_at_what_followed(real: Run) -> None:
    found = real("watch_attention")
    assert "head 18.6 is drawn" in found["printed"]
    tokens, pattern = found["view"].tokens, found["view"].patterns[0]
    first, second = (place for place, text in enumerate(tokens) if text == " Ok")
    assert pattern[second].argmax() == first + 1 and pattern[second, first + 1] > 0.8
    assert "' Ok' looks at 'on'" in found["printed"]


@pytest.mark.slow
def test_smollm2_does_worse_without_the_heads_a_task_needs(real: Run) -> None:
    found = real("heads_for_a_task", "--limit", 6, "--shots", 2)
    whole, without = (
        found["ablation"].evaluate(found["model"], found["validation"], heads=found["masks"][name]).gold_log_likelihoods
        for name in ("with every head", "without the most needed")
    )
    assert without.mean() < whole.mean() - 0.1


@pytest.mark.slow
def test_smollm2_is_pruned_and_its_export_scores_the_same(real: Run) -> None:
    found = real("prune_and_export", "--limit", 3)
    (pruned,) = (step.evaluation for step in found["steps"] if step.percent_heads == found["args"].percent)
    assert (
        found["each"].name == "own" and found["again"].log_likelihoods != found["steps"][0].evaluation.log_likelihoods
    )
    np.testing.assert_allclose(found["again"].gold_log_likelihoods, pruned.gold_log_likelihoods, atol=2e-3)


@pytest.mark.slow
def test_rounding_leaves_smollm2s_induction_heads_where_they_are(real: Run) -> None:
    found = real("compare_models", "--sequences", 2)
    assert found["top"].k[0] == 14 and found["top"].overlap[0] >= 13


@pytest.mark.slow
def test_smollm2_alone_is_a_sweep_of_one(real: Run) -> None:
    found = real("sweep_checkpoints", "--sequences", 2)
    assert found["table"]["in-context learning"].iloc[0] < -3
    assert found["table"]["induction heads"].iloc[0] >= 8
