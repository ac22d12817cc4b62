"""`headscope induction` as a person meets it: what it prints and writes, and a clear sentence for each bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from headscope.cli import main, options
from headscope.cli.induction import dormant, retrieving
from headscope.store.run import open_run
from interp.levels import LEVELS
from interp.scores import HeadScores, Null

LAYERS, HEADS = 2, 4
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
TEXT = "the attention of a head goes back to the token that followed an earlier copy of this one " * 40


class Outcome(NamedTuple):
    status: int
    out: str
    error: str


@pytest.fixture
def headscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headscope", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens, trained on a sentence."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in "klmnprst"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    found.train_from_iterator([TEXT, " ".join(words)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>", eos_token="</s>")


def tiny_llama(vocabulary: int, *, positions: int = 512) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=2,
            intermediate_size=64,
            vocab_size=vocabulary,
            max_position_embeddings=positions,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def saved(folder: Path, model: Any, tokenizer: Any | None) -> Path:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    return saved(tmp_path / "tiny", tiny_llama(len(tokenizer)), tokenizer)


def test_prints_the_heads_and_writes_a_run_directory(
    headscope: Callable[..., Outcome], model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    found = headscope("induction", model, "-o", folder, "--sequences", 3, "--length", 10)
    assert found.status == 0, found.error
    assert f"report: {folder / 'report.html'}" in found.out.splitlines()[-1]
    assert f"of {LAYERS * HEADS} heads are induction heads" in found.out
    assert "protocol quick: 3 sequences, L = 10" in found.out
    written = {path.name for path in folder.iterdir()}
    assert {"manifest.json", "head_scores.parquet", "items", "units", "report.html"} <= written
    assert not list(folder.rglob("*.pkl")) and not list(folder.rglob("*.pt"))


def test_json_is_json_and_the_second_time_costs_nothing(
    headscope: Callable[..., Outcome], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("induction", model, "-o", tmp_path / "run", "--sequences", 3, "--length", 10, "--json", "--top", 8)
    first = json.loads(headscope(*arguments).out)
    heads = {(head["layer"], head["head"]) for head in first["heads"]}
    assert heads == {(layer, head) for layer in range(LAYERS) for head in range(HEADS)}
    score = first["heads"][0]["scores"]["prefix_matching"]
    assert 0 <= score["ci_low"] <= score["mean"] <= score["ci_high"] <= 1
    assert 0 < score["p"] <= score["p_family"] <= 1

    import induction.reading

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished unit was run again")

    monkeypatch.setattr(induction.reading, "_listening", never)
    assert json.loads(headscope(*arguments).out)["heads"] == first["heads"]


@pytest.mark.parametrize(("columns", "shown"), [(80, 2), (100, 3), (168, 6)])
def test_the_table_fits_the_terminal(
    headscope: Callable[..., Outcome],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    shown: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(Console, "is_terminal", True)
    folder = tmp_path / "run"
    found = headscope("induction", model, "-o", folder, "--sequences", 2, "--length", 8)
    assert found.status == 0, found.error
    lines = ANSI.sub("", found.out).splitlines()
    assert all(len(line) <= columns for line in lines if not line.startswith("report: "))
    table = "\n".join(lines)
    heading = table.split("────")[0]
    headings = ["class", "(signed, sd)", "matching", "(successor)", "previous", "duplicate", "(argmax)"]
    places = [heading.find(name) for name in headings]
    assert [place >= 0 for place in places] == [True] * (1 + shown) + [False] * (6 - shown)
    assert ("A wider terminal shows" in table) == (shown < 6)
    second = next(line for line in heading.splitlines() if "(signed" in line)
    assert second.index("class") < second.index("(signed, sd)") < second.index("matching"), "the class rests on it"
    assert re.search(r"null -?\d\.\d{3}, p \d\.\d{4}", table), "three decimals: the null is small"


def measured(**scores: list[list[float]]) -> Any:
    """Scores of two layers of two heads, those of `retrieval` beside a null that all but 1.1 are above."""
    found = []
    for name, values in scores.items():
        base, _, variant = name.partition("_")
        score = HeadScores.from_items(base, torch.tensor([values, values]), variant=variant, n_kv_heads=2)
        above = torch.tensor([[0.01, 0.01], [0.01, 0.9]])
        found.append(score.with_nulls(Null("n", torch.zeros(2, 2), above, above)) if base == "retrieval" else score)
    return SimpleNamespace(further=found, scores=SimpleNamespace(scores=found))


def test_retrieval_heads_are_named_where_they_are_above_the_null() -> None:
    looks = "most at the very token to be fetched, for a share of 0.1 or more of the tokens and above the null"
    (told,) = retrieving(measured(retrieval=[[0.2, 0.05], [0.3, 0.9]], retrieval_soft=[[1.0, 1.0], [1.0, 1.0]]))
    assert told == f"2 heads (0.0, 1.0) look {looks}: retrieval heads."
    (one,) = retrieving(measured(retrieval=[[0.05, 0.05], [0.3, 0.9]]))
    (none,) = retrieving(measured(retrieval=[[0.0, 0.0], [0.0, 0.9]]))
    assert one.startswith("1 head (1.0) looks ") and none.startswith("No head looks ")
    assert retrieving(measured(retrieval_soft=[[0.9, 0.9], [0.9, 0.9]])) == []


def test_dormant_heads_rest_on_random_sequences_and_on_texts_alike() -> None:
    (told,) = dormant(measured(sink=[[0.95, 0.95], [0.5, 0.95]], sink_natural=[[0.95, 0.2], [0.95, 0.91]]))
    rest = "more than 0.9 of the attention on position 0, in random sequences and in texts: dormant."
    assert told == f"2 heads (0.0, 1.1) leave {rest}"
    assert dormant(measured(sink=[[0.95, 0.95], [0.95, 0.95]])) == [], "a model that reads no English"


def test_many_names_are_cut() -> None:
    wide = [[0.95] * 6, [0.95] * 6]
    (told,) = dormant(measured(sink=wide, sink_natural=wide))
    assert told.startswith("12 heads (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.1, 1.2, 1.3 and 2 more) leave ")


def test_a_single_sequence_has_no_interval(headscope: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    found = headscope("induction", model, "-o", tmp_path / "run", "--sequences", 1, "--length", 8)
    assert found.status == 0 and "nan" not in found.out
    nulls = open_run(tmp_path / "run").head_nulls.query("score == 'prefix_matching' and null == 'N2 position only'")
    assert set(nulls["p"]) <= {0.5, 1.0}, "one comparison is no more than one"


@pytest.mark.parametrize(("value", "shown"), [(-0.001, "0.00"), (-0.006, "-0.01"), (2.346, "2.35"), (0.0, "0.00")])
def test_zero_has_no_sign(value: float, shown: str) -> None:
    from headscope.cli.induction import fixed

    assert fixed(value, 2) == shown


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on(
    headscope: Callable[..., Outcome],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: signal.Signals,
) -> None:
    import induction

    before = signal.getsignal(signal.SIGTERM)

    def pressed(*_: Any, **__: Any) -> None:
        signal.raise_signal(sent)

    monkeypatch.setattr(induction, "in_context_learning_score", pressed)
    arguments = ("induction", model, "-o", tmp_path / "run", "--sequences", 2, "--length", 8)
    found = headscope(*arguments)
    assert found.status == 130 and found.error.splitlines()[-1] == (
        "headscope: interrupted; the same command goes on from the last finished unit"
    )
    assert "Traceback" not in found.error and not (tmp_path / "run" / "head_scores.parquet").exists()
    monkeypatch.undo()
    assert headscope(*arguments).status == 0 and signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_promises_nothing_where_nothing_is_kept(
    headscope: Callable[..., Outcome], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "load", pressed)
    for arguments in (("doctor", model), ("attention", model, "--text", "a", "--layer", 0, "-o", tmp_path / "a.html")):
        found = headscope(*arguments)
        assert (found.status, found.out, found.error) == (130, "", "\nheadscope: interrupted\n")
    found = headscope("importance", model, "--tasks", "probe_antonyms", "--limit", 4, "-o", tmp_path / "run")
    assert found.status == 130 and found.error.endswith("goes on from the last finished unit\n")


def test_windows_that_do_not_reach_back_are_told(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    windows = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True}
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**{**tiny_llama(len(tokenizer)).config.to_dict(), **windows}))
    folder = saved(tmp_path / "window", model, tokenizer)
    found = headscope("induction", folder, "-o", tmp_path / "run", "--sequences", 2, "--length", 10)
    assert found.status == 0, found.error
    assert "Layers that see no look-back target, and have no such score: 0." in found.out
    found = headscope("induction", folder, "-o", tmp_path / "near", "--sequences", 2, "--length", 7)
    assert "targets, and are scored on that part: 0 (50% of the targets, 2 of 2 sequences)." in found.out


def refused(outcome: Outcome, *words: str) -> None:
    """A non-zero status and a sentence with these words, no traceback."""
    assert outcome.status != 0
    assert outcome.error.startswith("headscope: ") and "Traceback" not in outcome.error, outcome.error
    for word in words:
        assert word in outcome.error, outcome.error
    assert not outcome.out


def test_unknown_models_are_refused(headscope: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    refused(headscope("induction", "nobody/no-such-model", "-o", folder), "nobody/no-such-model", "network")
    refused(headscope("induction", tmp_path / "nothing", "-o", folder), "no folder")
    refused(headscope("induction", tmp_path / "a.gguf", "-o", folder), "a.gguf")
    refused(headscope("induction", __file__, "-o", folder), "is a file", ".gguf")
    assert not folder.exists()


def test_a_folder_without_a_tokenizer(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    bare = saved(tmp_path / "bare", tiny_llama(len(tokenizer)), None)
    refused(headscope("induction", bare, "-o", tmp_path / "run"), "tokenizer")


def test_encoders_and_state_space_models(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": len(tokenizer)}
    bert = BertForMaskedLM(BertConfig(**sizes, num_attention_heads=4, intermediate_size=64))
    mamba = MambaForCausalLM(MambaConfig(**sizes, state_size=4))
    refused(headscope("induction", saved(tmp_path / "bert", bert, tokenizer), "-o", tmp_path / "run"), "encoder")
    refused(headscope("induction", saved(tmp_path / "mamba", mamba, tokenizer), "-o", tmp_path / "run"), "state-space")


def test_sequences_that_do_not_fit(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast, model: Path
) -> None:
    short = saved(tmp_path / "short", tiny_llama(len(tokenizer), positions=64), tokenizer)
    asked = ("study", short, "--tasks", "probe_antonyms", "--shots", "0", "--only", "induction", "-o", tmp_path / "run")
    refused(headscope(*asked, "--length", 16), "context", "64", "--length 15")
    assert not (tmp_path / "run").exists()
    assert headscope(*asked, "--length", 14).status == 0, "what was refused does not bind the folder"
    assert set(open_run(tmp_path / "run").items("head-prefix_matching")["length"]) == {14}
    too_many = headscope("induction", model, "-o", tmp_path / "many", "--protocol", "paper", "--sequences", 101)
    refused(too_many, "1 to 100")
    assert not (tmp_path / "many").exists()


@pytest.mark.parametrize("name", ["induction", "study"])
def test_a_protocol_fits_itself_to_a_short_context(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    short = saved(tmp_path / "short", tiny_llama(len(tokenizer), positions=64), tokenizer)
    more = {"induction": (), "study": ("--tasks", "probe_antonyms", "--shots", "0", "--only", "induction")}[name]
    for _ in range(2):  # and the same command goes on
        found = headscope(name, short, *more, "-o", tmp_path / "run")
        assert found.status == 0, found.error
    run = open_run(tmp_path / "run")
    assert set(run.items("head-prefix_matching")["length"]) == {15}, "1 + 4 x 15 = 61 of 64 tokens, 65 with 16"
    (stage,) = (stage for stage in run.stages if stage.command == "induction")
    assert stage.record["fitted_length"] == 15 and "length" not in stage.protocol
    assert name == "study" or "as long as the model's context of 64 tokens allows" in found.out


@pytest.mark.parametrize(
    ("option", "value"), [("--length", 2), ("--sequences", 0), ("--seed", -1), ("--top", 0), ("--protocol", "slow")]
)
def test_options_out_of_range(headscope: Callable[..., Outcome], tmp_path: Path, option: str, value: object) -> None:
    found = headscope("induction", "any-model", "-o", tmp_path / "run", option, value)
    assert found.status == 2
    refused(found, f"{str(value)!r} is not a value of {option}: give ")
    assert not (tmp_path / "run").exists()


def test_more_distinct_tokens_than_the_vocabulary_gives(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    wide = saved(tmp_path / "wide", tiny_llama(len(tokenizer), positions=9000), tokenizer)
    refused(headscope("induction", wide, "-o", tmp_path / "run", "--length", 2000), "distinct tokens", "vocabulary")
    # enough for the repeated sequences, too few for the ones without repeats: still nothing is written
    for length in (90, 200):
        told = headscope("induction", wide, "-o", tmp_path / "run", "--length", length)
        refused(told, f"needs {4 * length} distinct tokens", "--length 79")
    assert not (tmp_path / "run").exists()


def test_damaged_weights(headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    broken = tiny_llama(len(tokenizer))
    broken.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    refused(headscope("induction", saved(tmp_path / "nan", broken, tokenizer), "-o", tmp_path / "run"), "NaN")


def test_missing_weights(headscope: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    refused(headscope("induction", model, "-o", tmp_path / "run"), "incomplete", "layers.1.self_attn.q_proj")


def test_pickled_weights_only_when_asked_for(
    headscope: Callable[..., Outcome], tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = tiny_llama(len(tokenizer))
    folder = saved(tmp_path / "pickled", model, tokenizer)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    arguments = ("induction", folder, "-o", tmp_path / "run", "--sequences", 2, "--length", 8)
    refused(headscope(*arguments), "ickled", "--allow-pickle")
    assert headscope(*arguments, "--allow-pickle").status == 0


def test_remote_code_only_when_asked_for(headscope: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": "homemade",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    }
    (model / "config.json").write_text(json.dumps(config))
    (model / "code.py").write_text("raise SystemExit('ran')\n")
    refused(headscope("induction", model, "-o", tmp_path / "run"), "--trust-remote-code")


def test_another_models_or_protocols_folder(
    headscope: Callable[..., Outcome], model: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = tmp_path / "run"
    short = ("--sequences", 2, "--length", 8)
    assert headscope("induction", model, "-o", folder, *short).status == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = tiny_llama(len(tokenizer))
    other.lm_head.weight.data += 1
    refused(headscope("induction", saved(tmp_path / "other", other, tokenizer), "-o", folder, *short), "another model")
    refused(headscope("induction", model, "-o", folder, "--sequences", 2, "--length", 9), "protocol")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written(headscope: Callable[..., Outcome], model: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    refused(headscope("induction", model, "-o", occupied / "run"), str(occupied))
    if os.geteuid():  # root may write anywhere
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        refused(headscope("induction", model, "-o", closed / "run"), "closed")


def test_doctor_says_ok(headscope: Callable[..., Outcome], model: Path) -> None:
    found = headscope("doctor", model)
    assert found.status == 0, found.out
    assert "FAIL" not in found.out and "checks hold" in found.out


def test_doctor_tells_the_worst_of_what_holds_and_all_that_fails() -> None:
    from headscope.cli.doctor import told
    from interp.checks.result import Check

    checks = [
        Check("gates", True, 1e-7, "layer 0"),
        Check("gates", True, 2e-6, "layer 1"),
        Check("gates", False, 0.3, "layer 2"),
        Check("rows", True, 1e-6, "worst in layer 1"),
        Check("gates", False, 0.4, "layer 3"),
    ]
    assert list(told(checks)) == [
        "ok    gates  (2 times, worst: layer 1; 2e-06)",
        "FAIL  gates  (layer 2; 0.3)",
        "FAIL  gates  (layer 3; 0.4)",
        "ok    rows  (worst in layer 1; 1e-06)",
    ]


# ---- a model without a tokenizer ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers trained on integers: no tokenizer beside the weights."""
    folder = tmp_path_factory.mktemp("student") / "toy"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=64, n_layer=2, n_head=4, n_embd=32, n_positions=64, bos_token_id=None, eos_token_id=None
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_a_study_of_a_student_model_scores_its_heads_and_reports(
    headscope: Callable[..., Outcome], student: Path, tmp_path: Path
) -> None:
    asked = ("study", student, "--counts", "uniform", "--length", 6, "-o", tmp_path / "run")
    for only in ("induction", "report"):
        made = headscope(*asked, "--only", only)
        assert made.status == 0, made.error
    made = headscope(*asked)
    assert made.status == 0, made.error
    run = open_run(tmp_path / "run")
    assert [stage.command for stage in run.stages] == ["study", "induction"]
    assert all(stage.finished for stage in run.stages) and (run.folder / "report.html").is_file()
    assert any("the model has no tokenizer" in line for line in run.stages[0].record["left_out"])
    assert "Left out: nothing that reads documents is run: the model has no tokenizer" in made.out
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "the model has no tokenizer" in page and "Importance for tasks was measured" not in page
    refused = headscope(*asked, "--only", "screen")
    assert refused.status == 2 and "must be turned into tokens" in refused.error
    refused = headscope("vectors", student, "-o", tmp_path / "run")
    assert refused.status == 2 and "that model has no tokenizer, and a screen reads documents" in refused.error


def test_hours_do_not_stop_the_study_of_a_model_that_reads_no_documents(
    headscope: Callable[..., Outcome], student: Path, tmp_path: Path
) -> None:
    made = headscope("study", student, "--counts", "uniform", "--budget", "0.5", "-o", tmp_path / "run")
    assert made.status == 0, made.error
    assert [stage.command for stage in open_run(tmp_path / "run").stages] == ["study", "induction"]


def test_a_student_model_is_scored_into_a_run_with_its_tokens_as_numbers(
    headscope: Callable[..., Outcome], student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    asked = ("induction", student, "--counts", "uniform", "--length", 6, "--sequences", 3, "-o", folder)
    made = headscope(*asked, "--check", "strict")
    assert made.status == 0, made.error
    run = open_run(folder)
    assert all(re.fullmatch("[0-9]+", token) for token in run.attention_example.tokens)
    (stage,) = run.stages
    assert stage.record["check"] == "strict" and stage.record["candidates"]["rule"] == "uniform"
    assert run.identity["tokenizer_hash"] is None
    assert "Not scored: sink on natural prompts: " in made.out and "tokenizer" in stage.record["refused"].popitem()[1]
    assert headscope("report", folder).status == 0


SIGNS = {chr(0x4E00 + number): number for number in range(64)}


@pytest.mark.parametrize(
    ("vocabulary", "told"),
    [(models.WordLevel(SIGNS), "can't read"), (models.BPE(SIGNS, []), "makes no tokens of English sentences")],
    ids=["fails", "drops"],
)
def test_a_tokenizer_that_reads_no_english_leaves_out_what_needs_it(
    headscope: Callable[..., Outcome], student: Path, tmp_path: Path, vocabulary: Any, told: str
) -> None:
    """Signs of its own, and no token for the rest: it fails on a sentence, or makes nothing of it, however long."""
    toy = Path(shutil.copytree(student, tmp_path / "toy"))
    words = Tokenizer(vocabulary)
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(toy)
    folder = tmp_path / "run"
    made = headscope("induction", toy, "--counts", "uniform", "--length", 6, "--sequences", 3, "-o", folder)
    assert made.status == 0, made.error
    left_out = open_run(folder).stages[0].record["refused"]
    assert list(left_out) == ["sink on natural prompts"] and told in left_out["sink on natural prompts"]
    assert "Not scored: sink on natural prompts" in made.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("induction",), "--counts"),
        (
            ("attention", "--text", "a b", "--layer", 1),
            "the text 'a b' must be turned into tokens, and this model has no",
        ),
        (
            ("importance", "--tasks", "probe_capitals", "--shots", 0),
            "the documents of probe_capitals must be turned into",
        ),
        (
            ("knockout", "--tasks", "probe_capitals", "--shots", 0),
            "the documents of probe_capitals must be turned into",
        ),
        (
            ("prune", "--tasks", "probe_capitals", "--order", "iterative", "--shots", 0),
            "the documents of probe_capitals must be turned into",
        ),
        (("vectors", "--tasks", "probe_capitals"), "holds no screen"),  # which needs text
        (("contest", "--tasks", "probe_capitals"), "holds no screen"),  # which needs text
        (("patch", "--clean", "a b", "--corrupt", "a c", "--answer", " d"), "the prompts must be turned into tokens"),
    ],
)
def test_what_needs_text_says_so(
    headscope: Callable[..., Outcome],
    student: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = headscope(arguments[0], student, *arguments[1:])
    last = found.error.strip().splitlines()[-1]
    assert found.status in (1, 2) and last.startswith("headscope: ") and told in last
    assert not list(tmp_path.rglob("manifest.json"))


def test_the_levels_of_the_check_are_those_of_the_self_check(headscope: Callable[..., Outcome]) -> None:
    found = headscope("induction", "--check", "never")
    assert found.status == 2 and f"give {', '.join(LEVELS[:-1])} or {LEVELS[-1]}" in found.error
