"""A callable by its name: `module:callable` or `path/to/file.py:callable`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.preflight import device_sentence, require_callable


def import_callable(name: str) -> Callable[..., Any]:
    """Import a callable.

    Arguments:
        name: a module, in the working directory too, or a file of Python; a colon; and a name in it, with dots.

    Raises:
        UsageError: when it cannot be imported, or is not callable.
    """
    source, _, path = name.rpartition(":") if ":" in name else (name, "", "")
    found: Any = _imported(source)
    if not path:
        require_callable(found, name)
    for part in path.split("."):
        if not hasattr(found, part):
            reject(f"callable of {source}", path, [each for each in dir(found) if not each.startswith("_")])
        found = getattr(found, part)
    require_callable(found, name)
    return found


def is_file_of_python(name: str) -> bool:
    """Return whether a name is that of a file of Python, without a callable in it."""
    return name.endswith(".py") and Path(name).is_file()


def search_working_directory() -> None:
    """Let modules of the working directory be imported, which `python -m` does and a console script does not."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _imported(source: str) -> ModuleType:
    search_working_directory()
    try:
        return _from_file(Path(source)) if source.endswith(".py") else import_module(source)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        why = device_sentence(source, text) or f"{source} cannot be imported: {text}"
        raise UsageError(f"{why}\n  {_place(error, source)}") from error


def _place(error: BaseException, source: str) -> str:
    """Return the last line of the imported file that ran, or else the line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if Path(each.filename).stem == Path(source.rpartition(".py")[0] or source).stem]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _from_file(path: Path) -> ModuleType:
    """Import a file as a module; those beside it can be imported by it."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    name = str(path.resolve())  # no name of an importable module, which it must not replace
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module
