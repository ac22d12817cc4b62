"""The page of the Python interface, made from signatures and docstrings at every build: it can't fall behind.

A hook of mkdocs (mkdocs.yml). One section a package, one entry a public name; of a class its public methods and
properties follow, those that it has from a parent too.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGE = "api.md"
PACKAGES = ("interp", "induction", "ablation", "headscope")
ANNOTATION = re.compile(r"""(: |-> )(['"])(.*?)\2(?=[,)\s]|$)""")  # annotations are kept as text
OPENING = """# Python

The public names of the four packages, from their signatures and docstrings. What stands behind `*` is given by name.
Method 2.1 and the like are sections of [the method](method.md). Shapes are written as in `Float[Tensor, "layer head"]`;
`interp/scores.py` lists the names of the axes. Everything else may change without notice.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site."""
    files.append(File.generated(config, PAGE, content=reference()))
    return files


def reference() -> str:
    """The whole page as Markdown."""
    return "\n".join([OPENING, *(section(name) for name in PACKAGES)])


def section(package: str) -> str:
    """One package: what it is, then its names."""
    module = importlib.import_module(package)
    entries = (entry(package, name, getattr(module, name)) for name in module.__all__)
    return "\n".join([f"## {package}\n\n{text_of(module)}\n", *entries])


def entry(package: str, name: str, found: Any) -> str:
    """One public name."""
    if not callable(found):
        return f"### {package}.{name}\n\n`{type(found).__name__}` of {len(found)}.\n"
    head = f"### {package}.{name}\n\n{code(name, found)}\n\n{text_of(found)}\n"
    return "\n".join([head, *members(found)]) if inspect.isclass(found) else head


def members(kind: type) -> Iterator[str]:
    """Public methods and properties of a class, in a list."""
    for name, found in inspect.getmembers(kind):
        if name.startswith("_") or name in vars(object) or not documented(found):
            continue
        made = (
            found.func if isinstance(found, cached_property) else found.fget if isinstance(found, property) else found
        )
        call = "" if made is not found else re.sub(r"\(self(, )?", "(", signature(made))
        yield f"- **`{name}`**{f' `{call}`' if call else ''}  \n    {' '.join(text_of(made).split())}"
    yield ""


def documented(found: Any) -> bool:
    """Methods and properties with words of their own."""
    made = found.func if isinstance(found, cached_property) else found.fget if isinstance(found, property) else found
    return (inspect.isroutine(made) or inspect.isfunction(made)) and bool(made.__doc__) and not inspect.isbuiltin(made)


def code(name: str, found: Any) -> str:
    """How it is called, in lines of a readable width; a class that is made by others shows its name."""
    called = signature(found)
    written = f"{name}{called}"
    if len(written) > 100:
        inside = re.sub(r", (?=\*|\w+(?:: |=|,|$))", ",\n    ", called[1:].rpartition(")")[0])
        written = f"{name}(\n    {inside},\n){called.rpartition(')')[2]}"
    return f"```python\n{written}\n```"


def signature(found: Any) -> str:
    """Parameters and what comes back, as they are annotated."""
    try:
        return ANNOTATION.sub(r"\1\3", str(inspect.signature(found)))
    except (TypeError, ValueError):
        return ""


def text_of(found: Any) -> str:
    """A docstring as Markdown: angle brackets and stars outside code are text."""
    parts = re.split(r"(`[^`]*`)", inspect.getdoc(found) or "")
    return "".join(part if part.startswith("`") else escaped(part) for part in parts)


def escaped(text: str) -> str:
    return re.sub(r"([<>*|_\[\]])", r"\\\1", text)
