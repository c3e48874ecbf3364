"""The arguments of a call: as arrays, and described for the specification's checks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.spec import call_checks, checks
from attention_ref.spec.repeated_calls import check_once
from attention_ref.spec.shapes import Described, Sizes, check_integers

Array = np.ndarray
Arrays = dict[str, Array | None]

_INTEGERS = ("query_offset", "key_lengths")
"""The integer arrays of attention."""


def as_array(given: Any) -> Array:
    """Convert an argument to an array; return an array unchanged."""
    return given if type(given) is np.ndarray else np.asarray(given)


def as_integers(operation: str, name: str, given: Any) -> Array:
    """Convert integers to an array of int64; reject those outside; leave another kind of numbers for the checks.

    Raises:
        SpecificationError: for an integer outside int64.
    """
    check_integers(operation, name, given)
    array = as_array(given)
    if _name_of(array.dtype) == "uint64":
        check_integers(operation, name, values(array))
    return array.astype(np.int64, copy=False) if array.dtype.kind in "iu" else array


def as_checked_integers(operation: str, name: str, given: Any) -> Array:
    """Convert integers as `as_integers` does; reject positions of which the distance exceeds int32.

    Raises:
        SpecificationError: for an integer outside int64, and for a position outside -2^30 to 2^30.
    """
    array = as_integers(operation, name, given)
    if array.dtype == np.int64 and operation in checks.LARGEST:
        checks.check_distances(operation, name, values(array))
    return array


def check_call(
    operation: str, check: Callable[..., Sizes], given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Arrays, Sizes]:
    """Check a call by the rules of the specification.

    Returns:
        The arrays, neither copied nor widened nor repeated, and the sizes of the call.
    """
    arrays: Arrays = dict.fromkeys(given)
    kinds = []
    for name, array in given.items():
        if array is None:
            continue
        if type(array) is np.ndarray and (name not in _INTEGERS or array.dtype == np.int64):
            found = array
        elif type(array) is int:
            found = _of_integer(operation, name, array)
        else:
            convert = functools.partial(as_integers, operation, name) if name in _INTEGERS else as_array
            found = checks.converted(operation, name, array, convert)
        arrays[name] = found
        kinds.append((name, found.shape, found.dtype))
    lengths = arrays["key_lengths"]
    lengths = None if lengths is None else values(lengths)
    return arrays, check_once(operation, check, kinds, _name_of, options, lengths)


@functools.lru_cache(maxsize=1024)
def _of_integer(operation: str, name: str, number: int) -> Array:
    """Convert one integer as `as_integers` does; calls share the array, which cannot be written."""
    array = as_integers(operation, name, number)
    array.flags.writeable = False
    return array


def checked(operation: str, **given: Any) -> tuple[Any, ...]:
    """Check a call by the table of operations.

    Returns:
        The arrays of the call in the order of the table, None for one that is not given.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    described, arrays = dict(given), []
    for name, kind in checks.ARRAYS[operation]:
        array = given[name]
        if kind == "integer" and array is not None:
            array = checks.converted(operation, name, array, functools.partial(as_checked_integers, operation, name))
        elif array is not None and type(array) is not np.ndarray:
            array = checks.converted(operation, name, array, as_array)
        if array is not None:
            described[name] = describe(array)
        arrays.append(array)
    call_checks.check_call_once(operation, described)
    return tuple(arrays)


def check_rules(shape: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Arrays:
    """Check a call of `visible_keys`; return its arrays."""

    def convert(name: str, array: Any) -> Array:
        if name in ("query_offset", "key_lengths"):
            return as_integers("visible_keys", name, array)
        return as_array(array)

    return checks.checked_rules(shape, given, options, convert=convert, describe=describe, values=values)


def of_an_array(function: Callable[[Array], Array]) -> Callable[[Any], Array]:
    """Decorate a function of an array of real numbers to check its call."""

    @functools.wraps(function)
    def called(x: Any) -> Array:
        return function(*checked(function.__name__, x=x))

    return called


def materialize(arrays: Arrays) -> Arrays:
    """Prepare the arrays of a checked call for the formula.

    Returns:
        Arrays in at least float32, with padding of key and value set to 0 and hidden by the mask, and with one
        key/value head for every query head.
    """
    ready = {name: None if array is None else widen(array) for name, array in arrays.items()}
    if ready["key_lengths"] is not None:
        _hide_padding(ready)
    _repeat_heads(ready)
    return ready


def describe(array: Array) -> Described:
    """Return the shape and the name of the dtype."""
    return Described(array.shape, _name_of(array.dtype))


@functools.cache  # NumPy builds the name on every access, which takes as long as a small product
def _name_of(dtype: np.dtype[Any]) -> str:
    return dtype.name


def values(array: Array) -> list[Any] | None:
    """Return the values, flat; None if they cannot be read, which never happens here."""
    return array.ravel().tolist()


def inspect(given: Any) -> tuple[Described, list[Any] | None]:
    """Return the shape and dtype of an array and, if it has integers, its values, for the checks of layers."""
    array = as_array(given)
    described = describe(array)
    return described, values(array) if "int" in described.dtype else None


def widen(array: Array) -> Array:
    """Convert float16 and bfloat16 to float32, in which they are computed."""
    is_narrow = array.itemsize == 2 and _name_of(array.dtype) in {"float16", "bfloat16"}
    return array.astype(np.float32) if is_narrow else array


def _hide_padding(arrays: Arrays) -> None:
    """Hide padding by the mask and set it to 0 in key and value, because 0 * NaN would poison the sum."""
    lengths = arrays["key_lengths"][..., None, None, None]
    is_real = np.arange(arrays["key"].shape[-2]) < lengths  # (b,1,1,k)
    arrays["mask"] = is_real if arrays["mask"] is None else is_real & arrays["mask"]
    for name in ("key", "value"):
        arrays[name] = np.where(is_real.mT, arrays[name], 0)


def _repeat_heads(arrays: Arrays) -> None:
    """Repeat key/value heads: query head `i` gets a copy of head `i // (h/g)`."""
    repeats = arrays["query"].shape[-3] // arrays["key"].shape[-3]
    if repeats != 1:
        for name in ("key", "value"):
            arrays[name] = np.repeat(arrays[name], repeats, axis=-3)  # (b,h,k,_)
