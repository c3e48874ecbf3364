"""One specification of attention and the Transformer, three implementations of it, and a kit that checks any other.

    import attention_ref as ref
    import attention_ref.torch as ar        # or attention_ref.numpy, attention_ref.keras: the same names

Importing this module imports no framework, not even NumPy. Its parts load when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.spec.lazy_names import import_when_used

if TYPE_CHECKING:
    from types import ModuleType

    from attention_ref.backends import available, backend

    def __getattr__(name: str) -> ModuleType: ...


__version__ = "0.1.0"

__all__ = [
    "__version__",
    "available",
    "backend",
    "spec",
    "weights",
    "generation",
    "vectors",
    "conformance",
    "plot",
    "numpy",
    "torch",
    "keras",
]

import_when_used(__name__, {"attention_ref.backends": "available backend"})
