"""Who may import whom: `interp` nobody of ours, `induction` and `ablation` only `interp`, `headscope` all three.

The source is read (abstract syntax trees), so that an import inside a function counts too; what an import really loads
is asked of a fresh interpreter.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "interp": set(),
    "induction": {"interp"},
    "ablation": {"interp"},
    "headscope": {"interp", "induction", "ablation"},
}
OURS = set(ALLOWED)
# Seconds each: only functions may import them, in the three packages that a script of the user's imports.
HEAVY = {"lm_eval", "dash", "plotly", "circuitsvis", "transformer_lens", "datasets", "ray"}


def imported(node: ast.AST) -> set[str]:
    """Top-level names of the modules that one statement or call imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]} if node.level == 0 else set()
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"}:
            return {str(node.args[0].value).partition(".")[0]}
    return set()


def all_imports(tree: ast.AST) -> set[str]:
    return set().union(*(imported(node) for node in ast.walk(tree)))


def imports_at_import(tree: ast.AST) -> set[str]:
    """As `all_imports`, without what does not run at import: function bodies and `if TYPE_CHECKING:` blocks."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            children: list[ast.AST] = list(node.orelse)
        else:
            children = list(ast.iter_child_nodes(node))
        for child in children:
            yield from walk(child)

    return set().union(*(imported(node) for node in walk(tree)))


def source_files() -> list[Path]:
    return sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after the statement."""
    code = f"{statement}\nimport json, sys\nprint('\\n' + json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_what_they_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    found = all_imports(ast.parse(path.read_text(encoding="utf-8"))) & OURS
    assert found <= ALLOWED[package] | {package}, f"{package} may not import {sorted(found - ALLOWED[package])}"


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    at_import = imports_at_import(ast.parse(path.read_text(encoding="utf-8")))
    found = at_import & ({"ray"} if path.relative_to(ROOT).parts[0] == "headscope" else HEAVY)
    assert not found, f"import {sorted(found)} inside the function that needs it"


def test_the_reader_of_imports_sees_each_kind() -> None:
    tree = ast.parse(
        "import a.b\nfrom c.d import e\nfrom . import f\n"
        "def g():\n    import h\n    importlib.import_module('i.j')\n    __import__('k')\n"
        "if TYPE_CHECKING:\n    import m\nelse:\n    import n\n"
    )
    assert all_imports(tree) == {"a", "c", "h", "i", "k", "m", "n"}
    assert imports_at_import(tree) == {"a", "c", "n"}


@pytest.mark.parametrize("package", ["interp", "induction", "ablation"])
def test_importing_a_package_stays_light(package: str) -> None:
    if not (ROOT / package / "__init__.py").is_file():
        pytest.skip(f"{package} has no __init__.py")
    found = modules_after(f"import {package}") & (HEAVY - {"datasets"})
    assert not found, f"`import {package}` loads {sorted(found)}"


def test_a_command_without_the_engine_loads_nothing_of_ray(tmp_path: Path) -> None:
    """A whole command that measures, in an interpreter of its own."""
    from tests.headscope.tiny import write_model

    asked = ["headscope", "knockout", str(write_model(tmp_path / "model")), "--tasks", "probe_pattern", "--limit", "2"]
    asked += ["--shots", "0", "-o", str(tmp_path / "run")]
    ask = f"import sys\nsys.argv = {asked!r}\nfrom headscope.cli import main\n"
    loaded = modules_after(ask + "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code")
    assert (tmp_path / "run" / "manifest.json").is_file() and "torch" in loaded
    assert "ray" not in loaded


def test_help_does_not_load_torch() -> None:
    if importlib.util.find_spec("headscope.cli") is None:
        pytest.skip("headscope has no cli")
    ask = "import sys\nsys.argv = ['headscope', '--help']\nfrom headscope.cli import main\n"
    loaded = modules_after(ask + "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code")
    assert "typer" in loaded
    assert not loaded & {"torch", "transformers", "pandas", "plotly", *HEAVY}
