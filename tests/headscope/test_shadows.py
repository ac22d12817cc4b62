"""A student's own file of the name of a package is said to be in the way, at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def imported(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "import headscope; print('fine')"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=paths, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["ablation.py", "induction.py", "interp.py", "ablation/__init__.py"])
def test_a_file_of_the_users_own_in_front(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("print('mine')\n")
    found = imported(tmp_path)
    last = found.stderr.strip().splitlines()[-1]
    package = name.partition("/")[0].removesuffix(".py")
    assert found.returncode and last.startswith(f"ImportError: headscope needs its own package `{package}`")
    assert str(tmp_path / name) in last and "rename this file or folder" in last and "mine" not in found.stdout


def test_nothing_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "ablations.py").write_text("")
    assert imported(tmp_path).stdout == "fine\n"
