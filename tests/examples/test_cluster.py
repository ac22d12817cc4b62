"""The recipes for clusters: shells and YAML parse, and their headscope commands are ones that headscope takes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.headscope.commands import command, done

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "cluster"
FILES = sorted(FOLDER.iterdir())
SHELLS = [path for path in FILES if path.suffix in (".sh", ".sbatch")]
PAGE = (FOLDER.parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
EXPANDED = {"$((GPUS / PER_WORKER))": "2", "$PER_WORKER": "2", "$MODEL": "gpt2", "$HEAD:$PORT": "10.0.0.1:6379"}


def commands(path: Path) -> Iterator[list[str]]:
    """Every `headscope ...` of a file, with its variables filled in."""
    text = path.read_text(encoding="utf-8")
    for name, value in EXPANDED.items():
        text = text.replace(name, value)
    text = re.sub(r"^#", " ", text, flags=re.MULTILINE).replace("\\\n", " ").replace("\n    --", " --")
    for found in re.findall(r"(?<![\w/])headscope ((?:study|plan|importance)\b[^\n]*)", text):
        yield shlex.split(found.rstrip('"').replace('"runs/$(basename "gpt2")"', "runs/gpt2"))


@pytest.mark.parametrize("path", SHELLS, ids=lambda path: path.name)
def test_shells_parse(path: Path) -> None:
    subprocess.run(["/bin/bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_yaml_parses_and_pins_the_image(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "REGISTRY/headscope:0.1.0" in path.read_text(encoding="utf-8")


def test_ray_is_of_the_pinned_version() -> None:
    pins = (FOLDER.parents[1] / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ray==(.+)$", pins, flags=re.MULTILINE)
    assert f"rayproject/ray:{version}-py311-gpu" in (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert f'rayVersion: "{version}"' in (FOLDER / "kuberay.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [*SHELLS, FOLDER / "kuberay.yaml", FOLDER / "ray_up.yaml"], ids=lambda path: path.name)
def test_commands_are_taken(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that is not there is the first thing that is wrong with them."""
    monkeypatch.chdir(tmp_path)
    found = list(commands(path))
    assert found
    for words in found:
        assert "--engine" in words or words[0] == "plan"
        assert command(*words, "--not-an-option").error.startswith("headscope: no such option: --not-an-option"), words


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_page_names_every_file(path: Path) -> None:
    assert f"examples/cluster/{path.name}" in PAGE


@pytest.mark.parametrize("name", ["several_gpus.sh", "slurm.sbatch", "kuberay.yaml", "ray_up.yaml"])
def test_workers_are_those_of_the_plan_beside_them(name: str) -> None:
    found = {words[0]: words for words in commands(FOLDER / name)}
    (placed,) = json.loads(done(*found["plan"], "--json").out)["placements"]
    given = [int(option(found["study"], name)) for name in ("--workers", "--gpus-per-worker")]
    assert given == [placed["workers"], placed["devices"]]
    assert option(found["study"], "--dtype") == "bfloat16", "the plan's, where there are GPUs"


def test_a_worker_stands_on_one_node_of_slurm() -> None:
    text = (FOLDER / "slurm.sbatch").read_text(encoding="utf-8")
    nodes, gpus = (int(value) for value in re.findall(r"--(?:nodes|gpus-per-node)=(\d+)", text)[:2])
    (study,) = (words for words in commands(FOLDER / "slurm.sbatch") if words[0] == "study")
    assert int(option(study, "--workers")) <= nodes * (gpus // int(option(study, "--gpus-per-worker")))


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]
