"""`headscope patch`: the library's effects in a table and a file, and every refusal as a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ablation
import interp
from headscope.cli.patch import parse_at
from interp.errors import UsageError
from tests.headscope import tiny
from tests.headscope.commands import Outcome, command, done, refused

CLEAN, CORRUPT = "ab cd ef ab cd", "ab cd gh ab cd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> interp.HookedModel:
    return interp.load_model(str(folder), check=False)


def asked(folder: Path, **options: object) -> Outcome:
    given = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " ef", "other": " gh", **options}
    flags = [part for name, value in given.items() if value is not None for part in (f"--{name}", value)]
    return command("patch", folder, *flags, "--check", "off")


@pytest.mark.parametrize("method", ["exact", "attribution", "ig"])
def test_the_table_is_the_librarys(folder: Path, model: interp.HookedModel, method: str) -> None:
    found = asked(folder, method=method, top=5)
    assert found.status == 0, found.error
    wanted = ablation.patch(model, CLEAN, CORRUPT, answer=" ef", other=" gh", method=method)
    order = wanted.mean.abs().flatten().argsort(descending=True)[:5].tolist()
    for place in order:
        layer, head = divmod(place, wanted.mean.shape[1])
        assert any(
            line.split() == [f"{layer}.{head}", f"{float(wanted.mean[layer, head]):+.4f}"]
            for line in found.out.splitlines()
        )
    assert f"of the clean prompt {wanted.clean:+.3f}" in found.out
    assert ("beside exact patching of 12 heads" in found.out) is (method != "exact")


def test_numbers_for_scripts_and_a_page_that_works_offline(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "effects.html"
    flags = ("--clean", CLEAN, "--corrupt", CORRUPT, "--answer", " ef", "--other", " gh", "--method", "attribution")
    found = json.loads(done("patch", folder, *flags, "--at", "all", "--json", "-o", page, "--check", "off").out)
    assert found["agreement"]["heads"] == 12 and -1 <= found["agreement"]["spearman"] <= 1
    assert found["positions"] == list(range(len(found["positions"]))) and len(found["effects"]) == 12
    text = page.read_text()
    assert "Plotly.newPlot" in text and 'src="http' not in text and "Corrupt: ab cd gh ab cd" in text


def test_ffns_and_what_is_written_straight_to_the_logits(folder: Path, model: interp.HookedModel) -> None:
    found = asked(folder, component="ffn")
    wanted = ablation.patch(model, CLEAN, CORRUPT, answer=" ef", other=" gh", component="ffn")
    assert found.status == 0 and f"{float(wanted.mean.abs().max()):.4f}" in found.out
    direct = command("patch", folder, "--clean", CLEAN, "--answer", "a", "--method", "direct", "--check", "off")
    largest = ablation.patch(model, CLEAN, None, answer="a", method="direct").mean.abs().max()
    assert direct.status == 0 and f"{float(largest):.4f}" in direct.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"corrupt": "  "}, ("--corrupt", "some text")),
        ({"corrupt": None}, ("compares two prompts", "method='direct'")),
        ({"other": " abcdefgh"}, ("splits the answers unlike each other", "equally many tokens")),
        ({"other": " ef"}, ("two of the answers are the same tokens",)),
        ({"corrupt": "ab cd gh gh ab cd", "at": "all"}, ("tokens and the corrupt one", "they part at token")),
        ({"corrupt": "ab cd gh gh ab cd", "method": "attribution"}, ("needs prompts of equal length",)),
        ({"at": "99"}, ("positions lie between 0 and",)),
        ({"at": "first"}, ("'first' is no place in a prompt", "--at")),
        ({"method": "attribution", "component": "ffn"}, ("FFNs are patched exactly", "method='exact'")),
        ({"method": "direct", "answer": " ef gh"}, ("token",)),
        ({"clean": "ab cd "}, ("the clean prompt ends with a space",)),
        ({"out": "effects.txt"}, ("must end in .html", ".svg")),
    ],
)
def test_what_cant_be_asked_is_said(folder: Path, options: dict[str, object], words: tuple[str, ...]) -> None:
    refused(asked(folder, **options), *words)


def test_places() -> None:
    assert parse_at("last") == "last" and parse_at("3,-1") == (3, -1)
    with pytest.raises(UsageError):
        parse_at("1;2")
