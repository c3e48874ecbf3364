"""The arguments of a call as arrays, and the check of the call by the table of operations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attention_ref.spec.arrays import as_array
from attention_ref.spec.attention_checks import check_visible_keys
from attention_ref.spec.call_checks import CHECKED, check_call
from attention_ref.spec.errors import SpecificationError, reject
from attention_ref.spec.operations import OPERATIONS
from attention_ref.spec.shapes import LARGEST_POSITION, Described, check_integers

ARRAYS: Mapping[str, tuple[tuple[str, str], ...]] = {
    name: tuple((x.name, x.kind) for x in operation.arguments.values() if x.is_array or x.kind == "like")
    for name, operation in CHECKED.items()
}
"""The names and kinds of the arrays of every operation, in order; `like` is one in every backend."""


def check_distances(operation: str, name: str, numbers: Sequence[int] | None) -> None:
    """Check positions and distances that an operation computes with, where they can be read.

    Raises:
        SpecificationError: for a number beyond `LARGEST`.
    """
    if not numbers or operation not in LARGEST:
        return
    largest = LARGEST[operation]
    for number in (min(numbers), max(numbers)):
        if abs(number) > largest:
            reject(operation, f"{name} must lie between {-largest} and {largest}", number)


LARGEST: Mapping[str, int] = {
    **{name: LARGEST_POSITION for name, operation in OPERATIONS.items() if operation.module == "positions"},
    "relative_bucket": 2 * LARGEST_POSITION - 1,
}
"""The largest positions of the operations that compute with them, and the largest distance."""


def checked(operation: str, **given: Any) -> tuple[Any, ...]:
    """Check a call of the specification's own arrays.

    Returns:
        The arrays of the call in the order of the table, None for one that is not given.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    described, arrays = dict(given), []
    for name, kind in ARRAYS[operation]:
        if kind == "like":
            del described[name]  # a number of any type
            continue
        array = given[name]
        if array is not None:
            array = converted(operation, name, array, as_array)
            described[name] = Described(array.shape, array.dtype if array.values else kind)
            if array.dtype == "integer":
                check_integers(operation, name, array.values)
                check_distances(operation, name, array.values)
        arrays.append(array)
    check_call(operation, described)
    return tuple(arrays)


def converted(operation: str, name: str, given: Any, convert: Callable[[Any], Any]) -> Any:
    """Return an argument as an array; what is no array of numbers is refused in our words, not a framework's."""
    inner = given
    while isinstance(inner, (list, tuple)) and inner:
        inner = inner[0]
    try:
        if inner is None or isinstance(inner, (str, bytes, Mapping, set)):
            raise TypeError  # NumPy and TensorFlow would make an array of it
        return convert(given)
    except SpecificationError:
        raise
    except Exception:  # noqa: BLE001 - what is given may raise anything when it is read
        reject(operation, f"{name} must be an array of numbers", type(given).__name__)


def checked_rules(
    shape: Any,
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    convert: Callable[[str, Any], Any],
    describe: Callable[[Any], Described],
    values: Callable[[Any], Sequence[int] | None],
) -> dict[str, Any]:
    """Check a call of a backend's `visible_keys`.

    Arguments:
        shape: `(b,h,q,k)`.
        given: `mask`, `bias`, `query_offset` and `key_lengths`, each None where it is not given.
        options: `causal` and `window`.
        convert: makes an array of an argument, by its name.
        describe: returns the shape and dtype of an array.
        values: returns the integers of an array, None where they cannot be read.

    Returns:
        The arrays by name.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    arrays = {
        name: None if array is None else converted("visible_keys", name, array, functools.partial(convert, name))
        for name, array in given.items()
    }
    described = {name: None if array is None else describe(array) for name, array in arrays.items()}
    lengths = arrays["key_lengths"]
    check_visible_keys(shape, described, {**options, "key_lengths": None if lengths is None else values(lengths)})
    return arrays
