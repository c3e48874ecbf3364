"""Subjects by name: `module:callable`, `path/to/file.py:callable`, or a peer such as `torch.sdpa`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

from attention_ref.conformance.dialects.adapter import narrowed
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.peers import PEERS, require_peer
from attention_ref.conformance.peers.peer import found


class Loaded(NamedTuple):
    """A function, and its dialect if its name implies one."""

    function: Callable[..., Any]
    dialect: Dialect | None = None


def load(name: str) -> Loaded:
    """Import a callable, or the attention of a peer.

    Raises:
        UsageError: when it cannot be imported, or is none.
    """
    return Loaded(_callable(name)) if ":" in name else _peer(name)


def _peer(name: str) -> Loaded:
    if name not in PEERS:
        reject("subject", name, [*PEERS, "module:callable", "path/to/file.py:callable"])
    known = PEERS[name]
    if not known.attention:
        raise UsageError(f"{known.description} has no attention")
    try:
        require_peer(name)
        function = found(known.attention)
    except ImportError as error:
        raise UsageError(str(error)) from error
    return Loaded(function, narrowed(known.own_dialect, function))


def _callable(name: str) -> Callable[..., Any]:
    source, _, path = name.rpartition(":")
    try:
        found: Any = load_file(Path(source)) if source.endswith(".py") else import_module(source)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            reject(f"callable of {source}", path, [each for each in dir(found) if not each.startswith("_")])
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{name} is not callable, it is {type(found).__name__}")
    return found


def load_file(path: Path) -> Any:
    """Import a file of Python as a module; those beside it can be imported by it.

    Raises:
        UsageError: when there is no such file.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    name = str(path.resolve())  # no name of an importable module, which it must not replace
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no file of Python")
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    return module
