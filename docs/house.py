"""How large the house is and how it hangs together: files, lines, functions, floors, and what a newcomer has to open.

    python docs/house.py [FOLDER]

FOLDER is a checkout (this one if unset), so that two states can be compared. Lines are counted as the formatter lays
them out. A newcomer who follows a command opens its file, then every file of the command's own room and of the rooms
below that takes part: what the command's file imports from headscope when it runs, and so on, without what only reads
or writes the run directory (`store`), and of the libraries the file that each imported name is defined in. How options
are read and tables printed (the other files of `cli`), and the words of errors, counts and tokens, are not on the way
to a number.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

PACKAGES = ("interp", "induction", "ablation", "headscope")
COMMANDS = ("induction", "prune")
# What a person finds at hand on a value of a lower room; each opens the room above when it is called, and only then.
FACADES = {
    ("headscope.store.run", "headscope.figures"): "run.figure(name) draws what the run holds",
    ("interp.scores", "interp.figure"): "scores.figure() draws the scores",
}
LONG = 40


def files(root: Path, package: str) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[int]:
    """Lines of every function, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            yield int(node.end_lineno or 0) - first.lineno + 1 + (first.lineno > node.lineno)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def size_of(root: Path, package: str) -> list[str]:
    """Files, lines, medians of modules and functions, functions over 40 lines."""
    paths = files(root, package)
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]
    lengths = [length for path in paths for length in functions(parsed(path))]
    long = sum(length > LONG for length in lengths)
    cells = [len(paths), sum(lines), f"{median(lines):.0f}", len(lengths), f"{median(lengths):.0f}", long]
    return [package, *map(str, cells)]


def modules(root: Path) -> dict[str, Path]:
    """Dotted name and file of every module."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in files(root, package)
    }


def imported(tree: ast.AST, known: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """(module, name) of what is imported at run time, in functions too; annotations do not count."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        children: list[ast.AST] = list(tree.orelse)
    else:
        children = list(ast.iter_child_nodes(tree))
    for node in children:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known:
                    yield whole, ""
                elif node.module in known:
                    yield node.module, alias.name
        else:
            yield from imported(node, known)


def attributes(tree: ast.AST, known: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """(package, name) of what is taken from a package that is imported whole: `import induction`, `induction.f()`."""
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    whole = {alias.asname or alias.name: alias.name for alias in imports if alias.name in known}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield whole[node.value.id], node.attr


def room_of(name: str) -> str:
    """`headscope.store.run` stands in `store`; a loose file of headscope in a room of its own name."""
    parts = name.split(".")
    return parts[1] if parts[0] == "headscope" and len(parts) > 1 else parts[0]


def arrows(root: Path) -> dict[str, set[str]]:
    """Which rooms (of headscope; the other packages are one room each) use which."""
    known, found = modules(root), defaultdict[str, set[str]](set)
    for name, path in known.items():
        for other, _ in imported(parsed(path), known):
            if room_of(other) != room_of(name) and (name, other) not in FACADES:
                found[room_of(name)].add(room_of(other))
    return found


def floors_and_back_arrows(graph: dict[str, set[str]]) -> tuple[int, list[str]]:
    """The longest way down, and the arrows that close a circle on the way (depth first, from the command line)."""
    depth: dict[str, int] = {}
    back: list[str] = []

    def visit(room: str, above: tuple[str, ...]) -> int:
        if room not in depth:
            below = []
            for other in sorted(graph.get(room, ())):
                if other in (*above, room):
                    back.append(f"{room} -> {other}")
                else:
                    below.append(visit(other, (*above, room)))
            depth[room] = 1 + max(below, default=0)
        return depth[room]

    return max(visit(room, ()) for room in ["cli", *sorted(graph)]), back


def home(name: str, symbol: str, known: dict[str, Path]) -> str:
    """The module that defines a name, through the packages that hand it on."""
    if symbol and known[name].name == "__init__.py":
        for other, given in imported(parsed(known[name]), known):
            if given == symbol:
                return home(other, symbol, known)
        for node in ast.walk(parsed(known[name])):
            if isinstance(node, ast.ImportFrom) and symbol in {alias.name for alias in node.names}:
                return home(str(node.module), symbol, known) if node.module in known else name
    return name


def opened(root: Path, command: str) -> list[Path]:
    """The files of headscope, and the library files they name, that make a command's numbers (see above)."""
    known = modules(root)
    start = next(name for name in known if name == f"headscope.cli.{command}")
    seen: dict[str, None] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop(0)
        aside = name in WORDS or room_of(name) in PAGES or (room_of(name) == "cli" and name != start)
        if name in seen or known[name].name == "__init__.py" or name.endswith(".names") or aside:
            continue
        seen[name] = None
        if name.startswith("headscope."):
            tree = parsed(known[name])
            taken = (*imported(tree, known), *attributes(tree, known))
            waiting += [home(other, symbol, known) for other, symbol in taken]
    return [known[name] for name in seen]


WORDS = ("interp.errors", "interp.token_display")
# What only keeps, draws or tells numbers, in this house and in the one before it.
PAGES = set(
    ["store", "report", "figures", "findings", "claims", "inspector", "glossary", "run", "writer", "attention_page"]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[1], metavar="FOLDER")
    root = parser.parse_args().folder.resolve()
    if missing := [package for package in PACKAGES if not (root / package).is_dir()]:
        parser.error(f"'{root}' is no checkout of headscope: it has no folder {missing[0]}")
    print("package     files  lines  module  functions  function  over 40")
    for package in PACKAGES:
        name, *cells = size_of(root, package)
        print(
            f"{name:10} " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, (6, 6, 7, 10, 9, 8), strict=True))
        )
    graph = arrows(root)
    floors, back = floors_and_back_arrows(graph)
    count = sum(map(len, graph.values()))
    print(f"rooms {len(graph)}, arrows {count}, floors {floors}, back arrows {len(back)}: {', '.join(back) or 'none'}")
    for command in COMMANDS:
        paths = opened(root, command)
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        print(f"headscope {command}: {len(paths)} files, {lines} lines")


if __name__ == "__main__":
    main()
