"""Packages that load nothing until one of their names is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


class LazyPackage(ModuleType):
    """A public name is what `homes` says, also once the file of the same name (`ablation.knock_out`) was imported."""

    homes: Mapping[str, str]

    def __getattr__(self, name: str) -> Any:
        if name not in self.homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{self.__name__}.{self.homes[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.homes or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.homes})


def lazy(package: str, **homes: tuple[str, ...]) -> None:
    """The package's names, by the file (with `__` for a dot) that each is loaded from when it is first used."""
    module = sys.modules[package]
    module.__class__ = LazyPackage
    vars(module)["homes"] = {name: file.replace("__", ".") for file, names in homes.items() for name in names}
