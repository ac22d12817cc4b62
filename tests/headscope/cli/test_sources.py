"""Names of models and run directories: what is here is nearest, the hub is asked once, and nobody waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

from headscope.cli import options, sources, values
from headscope.cli.run_folders import MOST_FOLDERS, check_run, runs_below
from headscope.cli.sources import check_source
from headscope.store.names import MANIFEST
from interp.errors import HeadscopeError, ModelLoadError, StoreError, UsageError


class ConnectError(Exception):
    """By the name that httpx and httpx2 give it."""


def refusal(kind: type[Exception]) -> Exception:
    """An error of the hub's library, which wants the whole response to make one."""
    return kind.__new__(kind)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the hub was asked; its first answer is the list's first item, put there by the test."""
    heard: list[Any] = []

    def metadata(url: str, *, timeout: float) -> None:
        answer = heard.pop(0)
        heard.append(url)
        assert timeout <= 2
        if answer is not None:
            raise answer

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return heard


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ConnectError(), "there is no network to ask the hub"),
        (refusal(OfflineModeIsEnabled), "HF_HUB_OFFLINE forbids the network"),
        (refusal(RepositoryNotFoundError), "the hub has none of that name, or it is private"),
    ],
)
def test_a_model_that_is_nowhere_is_refused_after_one_question(asked: list[Any], answer: Exception, says: str) -> None:
    asked.append(answer)
    with pytest.raises(ModelLoadError, match=f"no model 'some/model' found .*{says}"):
        check_source("some/model")
    assert len(asked) == 1 and asked[0].endswith("/some/model/resolve/main/config.json")


@pytest.mark.parametrize("answer", [None, refusal(GatedRepoError), TimeoutError("slow"), ValueError("odd")])
def test_what_the_hub_has_or_is_too_slow_to_say_is_left_to_loading(asked: list[Any], answer: Exception | None) -> None:
    asked.append(answer)
    check_source("some/model")
    assert len(asked) == 1


def test_what_is_kept_here_needs_no_question_and_is_the_nearest_name(asked: list[Any], tmp_path: Path) -> None:
    (tmp_path / "cache" / "models--facebook--opt-125m").mkdir(parents=True)
    check_source("facebook/opt-125m")
    asked.append(ConnectError())
    with pytest.raises(ModelLoadError, match=r"did you mean facebook/opt-125m\?"):
        check_source("facebook/opt-125")
    (tmp_path / "my-llama").mkdir()
    (tmp_path / "my-llama" / "config.json").write_text("{}")
    check_source("my-llama")
    asked[:] = [ConnectError()]
    with pytest.raises(ModelLoadError, match=r"did you mean my-llama\?"):
        check_source("my-lama")


def test_a_misspelt_embedded_model_asks_nobody(asked: list[Any]) -> None:
    for name in ("smolm2-135m", "smollm2_135m", "SMOLLM2-135M"):
        with pytest.raises(ModelLoadError, match=r"did you mean smollm2-135m\?"):
            check_source(name)
    assert asked == []


def test_a_run_directory_would_do_where_both_are_taken(asked: list[Any], tmp_path: Path) -> None:
    run_at(tmp_path / "runs" / "tiny-llama")
    asked.append(ConnectError())
    with pytest.raises(ModelLoadError, match=r"no model or run directory 'tiny-lama' found .*did you mean tiny-llama"):
        check_source("tiny-lama", run_too=True)


def test_loading_silences_the_hubs_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import logging

    import interp

    told: dict[str, Any] = {}
    monkeypatch.setattr(interp, "load_model", lambda name, *, check=True, **rest: told.update(rest, check=check))
    logging.set_verbosity_warning()
    options.load("some/model", dtype="float32")
    assert logging.get_verbosity() == logging.ERROR and told == {"dtype": "float32", "check": "default"}


# ---- run directories ------------------------------------------------------------------------------------------------


def run_at(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    return folder


def test_runs_are_found_three_levels_down_and_not_inside_of_others(tmp_path: Path) -> None:
    wanted = [run_at(tmp_path / "b"), run_at(tmp_path / "a" / "c"), run_at(tmp_path / "a" / "d" / "e")]
    run_at(tmp_path / "b" / "inside")
    run_at(tmp_path / ".hidden")
    run_at(tmp_path / "a" / "d" / "f" / "g")
    assert runs_below(tmp_path) == wanted


def test_a_huge_folder_is_soon_given_up(tmp_path: Path) -> None:
    for number in range(MOST_FOLDERS + 1):
        (tmp_path / f"{number:05}").mkdir()
    run_at(tmp_path / "00000" / "deep")
    assert runs_below(tmp_path) == []


def test_advice_is_quoted_and_says_how_many_more(tmp_path: Path) -> None:
    for number in range(6):
        run_at(tmp_path / f"run {number}")
    with pytest.raises(StoreError, match=r"run 3 and 2 more: `headscope report '.*run 0'`"):
        check_run(tmp_path, "headscope report")


def test_every_refusal_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name longer than a file system takes, nobody's home, links that go round, a null byte."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "round").symlink_to("round")
    for name in ("a" * 5000, "x/" + "b" * 300, "~no-such-user/model", "..", "round", "nul\0l"):
        with pytest.raises(HeadscopeError):
            sources.check_source(name)
    with pytest.raises(UsageError, match="that this file system can have"):
        values.path("-o")("a" * 300)
