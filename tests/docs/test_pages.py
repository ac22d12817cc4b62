"""What pages show is what happens: their commands and Python are run, and print what stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.scripts import ROOT, page, script

# Measured on another machine: threads and kernels move the last digits, and a port is any that is free.
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
PORT = re.compile(r"127\.0\.0\.1:\d+")
RELATIVE = 0.03


def words(text: str) -> list[str]:
    """The text without numbers, rules and spacing."""
    return re.sub(r"[─━\s]+", " ", NUMBER.sub("#", PORT.sub("HOST", text))).split()


def numbers(text: str) -> list[str]:
    return NUMBER.findall(PORT.sub("HOST", text))


def assert_alike(written: str, found: str) -> None:
    """Equal but for the last digits of numbers."""
    assert words(written) == words(found), f"the page says\n{written}\nbut this is printed:\n{found}"
    for old, new in zip(numbers(written), numbers(found), strict=True):
        decimals = len(old.partition(".")[2])
        assert float(new) == pytest.approx(float(old), rel=RELATIVE, abs=1.5 * 10**-decimals), f"{old} in\n{found}"


def assert_true(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, at_least: int) -> None:
    """Run a page in a folder of its own."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    shown = list(script("record.py").run_page(page(name)))
    assert len(shown) >= at_least
    for block, printed in shown:
        assert_alike(block.body, printed)


@pytest.fixture
def one_model(smollm2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model is loaded once for all pages; asked for with options it is loaded anew."""
    import interp.loading

    load = interp.loading.load_model

    def held(source: Any = "smollm2-135m", **options: Any) -> Any:
        return load(source, **options) if source != "smollm2-135m" or any(options.values()) else smollm2

    monkeypatch.setattr(interp.loading, "load_model", held)


@pytest.mark.longest
@pytest.mark.slow
def test_the_tutorial(one_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_true("tutorial.md", tmp_path, monkeypatch, at_least=10)
    assert (tmp_path / "head.html").stat().st_size > 100_000
    assert (tmp_path / "pruning.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_what_the_tutorial_says_a_head_sees(smollm2: Any) -> None:
    """At the second "baker", head 18.6 looks at what came after the first."""
    (text,) = re.findall(r'--text "(.+)"', page("tutorial.md"))
    ids = smollm2.tokenizer(text, return_tensors="pt")["input_ids"]
    words_read = [smollm2.tokenizer.decode([token]).strip() for token in ids[0].tolist()]
    first, second = (place for place, word in enumerate(words_read) if word == "baker")
    _, cache = smollm2.run_with_cache(ids, names=[("pattern", 18)])
    assert int(cache["pattern", 18][0, 6, second].argmax()) == first + 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at_least"), [("tasks.md", 2), ("scores.md", 4), ("scaling.md", 2)])
def test_other_pages(
    name: str, at_least: int, one_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADSCOPE_DATA", raising=False)
    assert_true(name, tmp_path, monkeypatch, at_least=at_least)


@pytest.mark.longest
@pytest.mark.slow
def test_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine trains another model: the page's words hold, and what it says of its numbers."""
    monkeypatch.chdir(tmp_path)
    shown = list(script("record.py").run_page(page("students.md")))
    trained, found, swept, seen, removed = (said for _, said in shown)
    for block, said in (shown[0], shown[2]):
        assert words(block.body) == words(said)
    losses = dict(re.findall(r"(\w+) +(\d\.\d+)", trained.splitlines()[-1]))
    assert float(losses["recall"]) < 1 and float(losses["kinds"]) < 1
    first, last = (line.split() for line in swept.splitlines()[2::6])
    assert int(first[2]) == 0 < int(last[2]) and float(first[1]) > -0.1 and float(last[1]) < -2
    assert " heads are induction heads" in found and "mup" in seen
    drops = [[float(value) for value in re.findall(r"[-+]\d+\.\d+", line)] for line in removed.splitlines()]
    assert drops[0][0] > 1 and drops[0][1] < 0.5 and drops[1][0] > 0.3 and len(drops) == 3


def test_what_counts_as_alike() -> None:
    assert_alike("a 0.92 [0.91, 0.93]\n", "a   0.93 [0.91, 0.93]")
    assert_alike("inspector: http://127.0.0.1:1", "inspector: http://127.0.0.1:23456")
    for other in ("a 0.95 [0.91, 0.93]", "b 0.92 [0.91, 0.93]", "a 0.92 [0.91]"):
        with pytest.raises(AssertionError):
            assert_alike("a 0.92 [0.91, 0.93]", other)


def test_no_block_of_output_is_empty() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        for block in script("record.py").blocks(path.read_text(encoding="utf-8")):
            assert block.body.strip(), f"{path.name}: an empty {block.kind} block"


def test_the_adapter_of_the_page_on_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that nobody knows is refused with the page's name, and served with the page's adapter."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
    from transformers import LlamaForCausalLM

    import interp
    from interp.errors import RefusedModelError
    from interp.selfcheck import run_checks
    from tests.interp.families import build

    hf = build("llama")
    hf.__class__ = type("MeadowForCausalLM", (LlamaForCausalLM,), {})
    with pytest.raises(RefusedModelError, match=r"docs/families\.md"):
        interp.load_model(hf)
    monkeypatch.setattr(ArchitectureAdapterFactory, "_adapters", dict(ArchitectureAdapterFactory._adapters))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not list(script("record.py").run_page(page("families.md")))
    checks = list(run_checks(interp.load_model(hf), every_layer=True))
    assert len(checks) > 10 and all(check.passed for check in checks)


def test_the_probe_of_the_page_on_tasks(tmp_path: Path) -> None:
    """In a copy of the packages: the generator, the YAML file, the name; the tests of probes then hold for it."""
    for name in ("ablation", "interp", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    written = [block for block in script("record.py").blocks(page("tasks.md")) if block.title.startswith("ablation/")]
    assert len(written) == 2
    for block in written:
        (tmp_path / block.title).write_text(block.body, encoding="utf-8")
    names = tmp_path / "ablation" / "tasks" / "names.py"
    names.write_text(
        names.read_text().replace(
            '"probe_pattern": EXTRACTIVE,', '"probe_pattern": EXTRACTIVE,\n    "probe_word_length": EXTRACTIVE,'
        )
    )
    tests = [sys.executable, "-m", "pytest", "-q", "-k", "word_length", "tests/ablation/tasks/test_probes.py"]
    done = subprocess.run(tests, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 4


def test_the_departures_that_need_no_model() -> None:
    """Each measured row of the method page, but the one of the real model."""
    measured = script("deviations.py").table(script("deviations.py").cheap_rows()).splitlines()
    assert_alike("\n".join(table_of_departures()[: len(measured)]), "\n".join(measured))


@pytest.mark.slow
def test_the_departure_that_needs_a_model(smollm2: Any) -> None:
    measured = script("deviations.py").table(list(script("deviations.py").last_layer(smollm2))).splitlines()[-1]
    assert_alike(table_of_departures()[-1], measured)


def table_of_departures() -> list[str]:
    marks = script("deviations.py")
    return page("method.md").split(marks.BEGIN)[1].split(marks.END)[0].strip().splitlines()
