"""What is installed is what is in the tree: all files go into the wheel, each dependency has a pin within its range."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.test_import_rule import all_imports

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("interp", "induction", "ablation", "headscope")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# setuptools builds the wheel in the tests; the interpreter's own version will do.
UNPINNED = {"headscope", "setuptools"}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_a_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    if requirement.name not in UNPINNED:
        assert requirement.specifier.contains(pins()[canonical(requirement.name)])


def test_what_the_packages_import_is_declared() -> None:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    modules = set().union(*(all_imports(ast.parse(path.read_text(encoding="utf-8"))) for path in files))
    foreign = modules - set(sys.stdlib_module_names) - set(PACKAGES) - {""}
    extras = {"tasks", "inspector", "images", "ray"}
    lines = [*PROJECT["dependencies"], *(line for name in extras for line in PROJECT["optional-dependencies"][name])]
    declared = {canonical(Requirement(line).name) for line in lines}
    owners = packages_distributions()
    undeclared = {name for name in foreign if not {canonical(owner) for owner in owners.get(name, [])} & declared}
    assert not undeclared, f"imported, but in no dependency of pyproject.toml: {sorted(undeclared)}"


def test_the_makefile_installs_the_pinned_torch() -> None:
    assert f"torch=={pins()['torch']}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        tree.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for package in PACKAGES:
        if (ROOT / package / "__init__.py").is_file():
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = {
        str(path.relative_to(tree)) for package in PACKAGES for path in (tree / package).rglob("*") if path.is_file()
    }
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    build = [sys.executable, "-m", "pip", "wheel", *options, str(tree)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("headscope-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not name.partition("/")[0].endswith(".dist-info")}
    assert held == wanted
