"""The backends: their properties, which of them are installed, and the engine that Keras runs on.

No framework is imported. The tests check every backend in the dtypes of this table.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import NamedTuple

ROOMS = ("numpy", "torch", "keras")
"""The backends, each a module of this package."""

ENGINES = ("tensorflow", "jax", "torch")
"""The engines of the Keras backend."""

DTYPES = ("float64", "float32", "float16", "bfloat16")

IMPLEMENTATIONS = ("fused", "reference")
"""The paths of attention that can be checked alone: `torch:fused` names the fused path of PyTorch's backend."""


class Facts(NamedTuple):
    """The properties of a backend.

    Arguments:
        title: its usual name.
        module: the module to import.
        extra: the extra of `python -m pip install "attention-ref[...]"`; none when empty.
        needs: the packages that it requires.
        engines: the engines that these can run on, if there is a choice.
        arrays: the type of its arguments and results.
        dtypes: the dtypes of its arrays.
        dtypes_need: additional requirements of some dtypes.
        devices: the devices that it runs on.
        compilers: the compilers that it supports.
        training: the class of its models for training; None if they have no gradients.
    """

    title: str
    module: str
    extra: str
    needs: tuple[str, ...]
    engines: tuple[str, ...]
    arrays: str
    dtypes: tuple[str, ...]
    dtypes_need: str
    devices: str
    compilers: tuple[str, ...]
    training: str | None


FACTS: Mapping[str, Facts] = MappingProxyType(
    {
        "numpy": Facts(
            title="NumPy",
            module="attention_ref.numpy",
            extra="",
            needs=("numpy",),
            engines=(),
            arrays="numpy.ndarray",
            dtypes=DTYPES,
            dtypes_need="bfloat16 needs ml_dtypes",
            devices="the CPU",
            compilers=(),
            training=None,
        ),
        "torch": Facts(
            title="PyTorch",
            module="attention_ref.torch",
            extra="torch",
            needs=("torch",),
            engines=(),
            arrays="torch.Tensor",
            dtypes=DTYPES,
            dtypes_need="",
            devices="those of PyTorch",
            compilers=("torch.compile",),
            training="torch.nn.Module",
        ),
        "keras": Facts(
            title="Keras",
            module="attention_ref.keras",
            extra="keras",
            needs=("keras",),
            engines=ENGINES,
            arrays="tensors of the engine",
            dtypes=DTYPES,
            dtypes_need="float64 on JAX needs JAX_ENABLE_X64=1",
            devices="those of the engine",
            compilers=("tf.function", "jax.jit", "torch.compile"),
            training="keras.Model",
        ),
    }
)
"""The properties of every backend, by name."""

_NEEDS = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "keras": ("keras",),
    **{f"keras-{engine}": ("keras", engine) for engine in ENGINES},
}


def room_and_path(name: str) -> tuple[str, str] | None:
    """Return the backend and the path of its attention that a name chooses; None if it chooses no backend.

    Arguments:
        name: such as `torch`, whose path is `auto`, `torch:fused` or `torch:reference`.
    """
    room, separator, path = name.partition(":")
    if room not in ROOMS or (separator and path not in IMPLEMENTATIONS):
        return None
    return room, path or "auto"


def available() -> tuple[str, ...]:
    """Return the names of the backends whose packages are installed, without importing them.

    `"keras"` is among them if its engine is installed too. `"keras-tensorflow"`, `"keras-jax"` and `"keras-torch"` are
    Keras on that engine; a process has only one of them, see `engine`.
    """
    return tuple(name for name in _NEEDS if not missing(name))


def missing(name: str) -> tuple[str, ...]:
    """Return the packages that a backend requires and that are not installed."""
    needs = _NEEDS[name] if name != "keras" else ("keras", engine())
    return tuple(package for package in needs if find_spec(package) is None)


def backend(name: str) -> ModuleType:
    """Return a backend: the module `attention_ref.numpy`, `.torch` or `.keras`.

    Arguments:
        name: `"numpy"`, `"torch"` or `"keras"`; `"keras-tensorflow"`, `"keras-jax"` and `"keras-torch"` require that
            Keras runs on that engine.

    Raises:
        ValueError: for an unknown name. ModuleNotFoundError: if a required package is not installed. RuntimeError: if
        Keras runs on another engine. The environment variable `KERAS_BACKEND` selects the engine before Keras is
        imported; this function never sets it.
    """
    if name not in tuple(_NEEDS):  # a tuple, for a list cannot be looked up in a mapping
        raise ValueError(f"there is no backend {name!r}; the backends are {', '.join(_NEEDS)}")
    if packages := missing(name):
        from attention_ref.spec.packages import absence

        raise ModuleNotFoundError(f"the backend {name} needs {absence(packages, extra_of(name))}")
    room, _, required = name.partition("-")
    if required and engine() != required:
        raise RuntimeError(
            f"the backend {name} is Keras on {required}, and Keras runs on {engine()} in this process. "
            f"Set the environment variable KERAS_BACKEND={required} before Python starts"
        )
    return import_module(f"attention_ref.{room}")


def extra_of(name: str) -> str:
    """Return the extra that installs the requirements of a backend."""
    return f"keras-{engine()}" if name == "keras" and engine() in ENGINES else name


def engine() -> str:
    """Return the engine that Keras runs on or, if it is not imported yet, would run on; Keras is not imported."""
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "backend"):
        return str(sys.modules["keras"].backend.backend())
    return os.environ.get("KERAS_BACKEND") or _configured_engine()


def _configured_engine() -> str:
    import json
    from pathlib import Path

    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        return str(json.loads((folder / "keras.json").read_text(encoding="utf-8")).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError):
        return "tensorflow"
