"""Packages that import a module when one of its names is first used."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def import_when_used(package: str, names: Mapping[str, str]) -> None:
    """Let a package import a module when a name in it, or the module itself, is first used as the package's attribute.

    A name may be that of a module too, as the function `attention` in `attention.py` is. Python makes every module that
    it imports an attribute of its package, and that would replace the function. So the package becomes an object of its
    own class, instead of having the function `__getattr__` of PEP 562 alone.

    Arguments:
        package: the name of the package, whose `__init__.py` is running.
        names: the names that the package exports, separated by spaces, by the module that defines them.
    """
    modules = {name: module for module, text in names.items() for name in text.split()}

    class Package(ModuleType):
        """A package that imports a module when one of its names is first used."""

        def __getattr__(self, name: str) -> Any:
            if name in modules:
                value = getattr(import_module(modules[name]), name)
            elif not name.startswith("__") and find_spec(f"{package}.{name}"):
                value = import_module(f"{package}.{name}")
            else:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            setattr(self, name, value)
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in modules or not isinstance(value, ModuleType):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *self.__all__})

    sys.modules[package].__class__ = Package
