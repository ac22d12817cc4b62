"""The rooms of headscope, their one rule each, and the floors they stand on: an import goes down, never back up."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.house import FACADES, opened

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "headscope"
# Which rooms a room may use. `findings`, `figures` and the pages read what is stored, and compute nothing.
ALLOWED = {
    "cli": {"plan", "engine", "stages", "comparison", "findings", "figures", "report", "inspector", "store"},
    "plan": {"stages", "comparison", "report", "store"},
    "engine": {"store"},
    "stages": {"comparison", "store"},
    "comparison": {"store"},
    "findings": {"store"},
    "figures": {"store"},
    "report": {"findings", "figures", "store"},
    "inspector": {"stages", "figures", "report", "store"},
    "store": set(),
}


def modules(*packages: str) -> dict[str, Path]:
    """Dotted name and file of every module."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = modules("interp", "induction", "ablation", "headscope")


def imported_at_run_time(path: Path) -> Iterator[Path]:
    """Our files that a file imports when it is loaded or when a function runs; annotations do not count."""
    yield from imports_of(ast.parse(path.read_text(encoding="utf-8")))


def imports_of(tree: ast.AST) -> Iterator[Path]:
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        children: list[ast.AST] = list(tree.orelse)
    else:
        children = list(ast.iter_child_nodes(tree))
    for node in children:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                home = MODULES.get(name) or MODULES.get(node.module)
                if home is not None:
                    yield home
        elif isinstance(node, ast.Import):
            yield from (MODULES[alias.name] for alias in node.names if alias.name in MODULES)
        else:
            yield from imports_of(node)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


OPENED = {(MODULES[source], MODULES[target]) for source, target in FACADES}
GRAPH = {
    path: {other for other in imported_at_run_time(path) if other != path and (path, other) not in OPENED}
    for path in MODULES.values()
}


def room_of(path: Path) -> str | None:
    """The folder of headscope that a file stands in; None for the package's own two files and for other packages."""
    if not path.is_relative_to(PACKAGE) or path.parent == PACKAGE:
        return None
    return path.relative_to(PACKAGE).parts[0]


def test_every_file_stands_in_a_room() -> None:
    loose = {path.name for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py", "shadows.py"}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms <= set(ALLOWED)


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_uses_only_the_rooms_below_it(room: str) -> None:
    used = {
        (named(path), named(other))
        for path, others in GRAPH.items()
        if room_of(path) == room
        for other in others
        if room_of(other) not in {None, room, *ALLOWED[room]}
    }
    assert not used


def test_the_rooms_have_floors() -> None:
    floors: dict[str, int] = {}

    def floor(room: str, above: tuple[str, ...] = ()) -> int:
        assert room not in above, f"a circle: {' -> '.join([*above, room])}"
        if room not in floors:
            floors[room] = 1 + max((floor(other, (*above, room)) for other in ALLOWED[room]), default=0)
        return floors[room]

    assert max(floor(room) for room in ALLOWED) <= 7


def test_no_file_imports_itself_in_a_circle() -> None:
    circles = strongly_connected(GRAPH)
    assert not [sorted(map(named, circle)) for circle in circles]


def strongly_connected(graph: dict[Path, set[Path]]) -> list[set[Path]]:
    """Sets of two files or more that reach one another (Tarjan 1972)."""
    order: dict[Path, int] = {}
    lowest: dict[Path, int] = {}
    held: list[Path] = []
    found = []

    def visit(path: Path) -> None:
        order[path] = lowest[path] = len(order)
        held.append(path)
        for other in graph[path]:
            if other not in order:
                visit(other)
                lowest[path] = min(lowest[path], lowest[other])
            elif other in held:
                lowest[path] = min(lowest[path], order[other])
        if lowest[path] == order[path]:
            cut = held.index(path)
            circle = set(held[cut:])
            del held[cut:]
            if len(circle) > 1:
                found.append(circle)

    for path in graph:
        if path not in order:
            visit(path)
    return found


def test_circles_are_found() -> None:
    a, b, c = (Path(name) for name in "abc")
    assert strongly_connected({a: {b}, b: {a}, c: {a}}) == [{a, b}]
    assert strongly_connected({a: {b, c}, b: {c}, c: set()}) == []


@pytest.mark.parametrize("facade", FACADES, ids=lambda pair: pair[0])
def test_a_facade_is_still_one(facade: tuple[str, str]) -> None:
    source, target = (MODULES[name] for name in facade)
    assert target in set(imported_at_run_time(source)), f"{facade[0]} no longer opens {facade[1]}: take it off the list"


def test_no_two_classes_share_a_name() -> None:
    homes = defaultdict(list)
    for path in MODULES.values():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(named(path))
    assert not {name: places for name, places in homes.items() if len(places) > 1}


@pytest.mark.parametrize(("command", "most"), [("induction", 18), ("prune", 22)])
def test_a_command_is_followed_to_its_number_through_few_files(command: str, most: int) -> None:
    paths = [str(path.relative_to(ROOT)) for path in opened(ROOT, command)]
    assert f"headscope/cli/{command}.py" == paths[0] and len(paths) <= most, paths
