"""Subjects by name: `module:callable`, `path/to/file.py:callable`, or a released library that the kit knows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from attention_ref.conformance.errors import UsageError, reject


def load(name: str) -> Callable[..., Any]:
    """Import a callable.

    Raises:
        UsageError: when it cannot be imported, or is none.
    """
    source, _, path = name.rpartition(":")
    if not source:
        raise UsageError(f"{name!r} names no callable: write module:callable or path/to/file.py:callable")
    try:
        found: Any = _file(Path(source)) if source.endswith(".py") else import_module(source)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            reject(f"callable of {source}", path, [each for each in dir(found) if not each.startswith("_")])
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{name} is not callable, it is {type(found).__name__}")
    return found


def _file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no file of Python")
    module = sys.modules[path.stem] = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module
