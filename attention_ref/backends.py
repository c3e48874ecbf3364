"""The backends: which of them can be used here, and the engine that Keras runs on. Nothing is imported to find out."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOMS = ("numpy", "torch", "keras")
"""The implementations, each a module of this library."""

ENGINES = ("tensorflow", "jax", "torch")
"""What Keras can run on here."""

_NEEDS = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "keras": ("keras",),
    "tensorflow": ("keras", "tensorflow"),
    "jax": ("keras", "jax"),
}


def available() -> tuple[str, ...]:
    """Give the backends whose packages are installed, without importing them.

    `"keras"` is among them when its engine is installed too. `"tensorflow"` and `"jax"` are Keras on that engine; a
    process has only one of them, see `engine`.
    """
    return tuple(name for name in _NEEDS if not missing(name))


def missing(name: str) -> tuple[str, ...]:
    """Give the packages that a backend needs and that are not installed."""
    needs = _NEEDS[name] if name != "keras" else ("keras", engine())
    return tuple(package for package in needs if find_spec(package) is None)


def backend(name: str) -> ModuleType:
    """Give an implementation of the specification: the module `attention_ref.numpy`, `.torch` or `.keras`.

    Arguments:
        name: `"numpy"`, `"torch"` or `"keras"`; `"tensorflow"` and `"jax"` are Keras on that engine.

    Raises:
        ValueError: for another name.
        ModuleNotFoundError: when a package that the backend needs is not installed.
        RuntimeError: when Keras runs on another engine. A process chooses the engine once, before it imports Keras, by
            the environment variable `KERAS_BACKEND`; this function never sets it.
    """
    if name not in _NEEDS:
        raise ValueError(f"there is no backend {name!r}; the backends are {', '.join(_NEEDS)}")
    if packages := missing(name):
        raise ModuleNotFoundError(
            f"the backend {name} needs {' and '.join(packages)}, which is not installed: "
            f'python -m pip install "attention-ref[{packages[-1]}]"'
        )
    if name in ("tensorflow", "jax") and engine() != name:
        raise RuntimeError(
            f"the backend {name} is Keras on {name}, and Keras runs on {engine()} in this process. "
            f"Set the environment variable KERAS_BACKEND={name} before Python starts"
        )
    return import_module(f"attention_ref.{name if name in ROOMS else 'keras'}")


def engine() -> str:
    """Give the engine that Keras runs on or, before it is imported, would run on; Keras is not imported for it."""
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "backend"):
        return str(sys.modules["keras"].backend.backend())
    return os.environ.get("KERAS_BACKEND") or _configured_engine()


def _configured_engine() -> str:
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        return str(json.loads((folder / "keras.json").read_text(encoding="utf-8")).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"
