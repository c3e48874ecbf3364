"""One specification of attention and the Transformer, three implementations of it, and a kit that checks any other.

    import attention_ref as ref
    import attention_ref.torch as ar        # or attention_ref.numpy, attention_ref.keras: the same names

Importing this module imports no framework, not even NumPy. Its parts load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from attention_ref.backends import available, backend

__version__ = "0.1.0"

_PARTS = ("spec", "weights", "generation", "vectors", "conformance", "plot", "numpy", "torch", "keras")

__all__ = ["__version__", "available", "backend", *_PARTS]


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return import_module(f"attention_ref.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PARTS})
