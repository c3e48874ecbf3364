"""The array frameworks that a subject may use, one file each, with the interface `Framework`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attention_ref.conformance.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from attention_ref.conformance.frameworks.interface import Framework

FRAMEWORKS: Mapping[str, str] = {
    "numpy": "NumPy",
    "torch": "Torch",
    "tensorflow": "TensorFlow",
    "jax": "Jax",
    "keras": "keras_framework",
}
"""What makes the interface to a framework, in the file with the name of the package that is imported."""

KINDS = tuple(FRAMEWORKS)
"""The kinds of arrays that a subject may take and return."""

KIND_OF_PACKAGE: Mapping[str, str] = {name: name for name in FRAMEWORKS} | {"jaxlib": "jax"}
"""The kinds of arrays by the packages that define them."""


@cache
def framework(name: str) -> Framework:
    """Return a framework by its name in `FRAMEWORKS`.

    Raises:
        UsageError: for another name, and when the framework is not installed or cannot be imported.
    """
    if name not in FRAMEWORKS:
        raise UsageError(f"{name!r} is not an array type; choose from: {', '.join(KINDS)}")
    if find_spec(name) is None:
        raise UsageError(f"arrays of {name} need {name}, which is not installed")
    try:
        made: Framework = getattr(import_module(f"{__name__}.{name}"), FRAMEWORKS[name])()
    except ImportError as error:
        raise UsageError(f"arrays of {name} need {name}, which cannot be imported: {error}") from error
    return made


def framework_of(array: Any) -> Framework:
    """Return the framework of an array; NumPy for any other value, such as a number."""
    return framework(KIND_OF_PACKAGE.get(type(array).__module__.partition(".")[0], "numpy"))


def values_of(array: Any) -> np.ndarray:
    """Return the values of an array of any framework, or of a number: real numbers as float64."""
    return framework_of(array).read(array)
