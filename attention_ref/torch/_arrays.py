"""The arguments of a call: as tensors, and described for the specification's checks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from attention_ref.spec import call_checks, checks
from attention_ref.spec.repeated_calls import check_once
from attention_ref.spec.shapes import Described, Sizes, check_integers

Array = torch.Tensor
Arrays = dict[str, Any]
"""By name: tensors, None for omitted ones, and a `query_offset` that may be an integer."""

_INTEGERS = ("query_offset", "key_lengths")
"""The integer arrays of attention."""


def as_array(given: Any, device: torch.device | None = None) -> Array:
    """Convert an argument to a tensor on `device`; return a tensor unchanged."""
    if isinstance(given, torch.Tensor):
        return given
    if isinstance(given, int):
        return torch.full((), given, device=device)  # as_tensor would synchronise
    return torch.as_tensor(given, device=device)


def as_integers(operation: str, name: str, given: Any, device: torch.device | None = None) -> Array:
    """Convert integers to a tensor of int64; reject those outside; leave another kind of numbers for the checks.

    Raises:
        SpecificationError: for an integer outside int64.
    """
    check_integers(operation, name, given)
    array = as_array(given, device)
    if array.dtype == torch.uint64:
        check_integers(operation, name, values(array))
    return array.long() if "int" in _name(array.dtype) else array


def as_checked_integers(operation: str, name: str, given: Any, device: torch.device | None = None) -> Array:
    """Convert integers as `as_integers` does; reject positions of which the distance exceeds int32.

    Raises:
        SpecificationError: for an integer outside int64, and for a position outside -2^30 to 2^30.
    """
    array = as_integers(operation, name, given, device)
    if array.dtype == torch.int64 and operation in checks.LARGEST:
        checks.check_distances(operation, name, values(array))
    return array


def check_call(
    operation: str, check: Callable[..., Sizes], given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Arrays, Sizes]:
    """Check a call by the rules of the specification.

    Returns:
        The arguments as tensors, not copied, and the sizes of the call. An integer `query_offset` stays an integer.
    """
    arrays, kinds = dict(given), []
    for name, item in given.items():
        if item is None or (type(item) is int and name == "query_offset"):
            continue
        array = item
        if not isinstance(item, Array) or (name in _INTEGERS and item.dtype != torch.int64):
            convert = functools.partial(as_integers, operation, name) if name in _INTEGERS else as_array
            convert = functools.partial(convert, device=device_of(given["query"]))
            arrays[name] = array = checks.converted(operation, name, item, convert)
        kinds.append((name, array.shape, array.dtype))
    lengths, offset = arrays["key_lengths"], arrays["query_offset"]
    options = {**options, "query_offset": offset if type(offset) is int else None}
    lengths = None if lengths is None else values(lengths)
    if torch.compiler.is_compiling():
        described = {name: describe(arrays[name]) for name, _, _ in kinds}
        return arrays, check(operation, described, {**options, "key_lengths": lengths})
    return arrays, check_once(operation, check, kinds, _name, options, lengths)


def checked(operation: str, **given: Any) -> tuple[Any, ...]:
    """Check a call by the table of operations.

    Returns:
        The arrays of the call in the order of the table, None for one that is not given.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    device, arrays = device_of(*given.values()), []
    described = {name: item for name, item in given.items() if not isinstance(item, torch.SymInt)}
    for name, kind in checks.ARRAYS[operation]:
        array = given[name]
        if kind == "integer" and array is not None:
            make = functools.partial(as_checked_integers, operation, name, device=device)
            array = checks.converted(operation, name, array, make)
        elif array is not None and not isinstance(array, torch.Tensor):
            array = checks.converted(operation, name, array, functools.partial(as_array, device=device))
        if array is not None:
            described[name] = describe(array)
        arrays.append(array)
    if device is not None and is_autocast(device.type):
        _ignore_precision(described)
    check = call_checks.check_call if torch.compiler.is_compiling() else call_checks.check_call_once
    check(operation, described)
    return tuple(arrays)


def is_autocast(device_type: str) -> bool:
    """Return whether autocast is on for a kind of device."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def to_compare(parameter: Array) -> Array | None:
    """Return a parameter whose dtype a call must have; None under autocast, where it need not."""
    return None if is_autocast(parameter.device.type) else parameter


def _ignore_precision(described: dict[str, Any]) -> None:
    """Describe the floating-point arrays of a call with one dtype for the check: under autocast they may differ."""
    floats = [name for name, item in described.items() if isinstance(item, Described) and "float" in item.dtype]
    for name in floats:
        described[name] = described[name]._replace(dtype=described[floats[0]].dtype)


def check_rules(shape: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Arrays:
    """Check a call of `visible_keys`; return its arrays."""
    device = device_of(*given.values())

    def convert(name: str, array: Any) -> Array:
        if name in ("query_offset", "key_lengths"):
            return as_integers("visible_keys", name, array, device=device)
        return as_array(array, device=device)

    return checks.checked_rules(shape, given, options, convert=convert, describe=describe, values=values)


def of_an_array(function: Callable[[Array], Array]) -> Callable[[Any], Array]:
    """Decorate a function of an array of real numbers to check its call."""

    @functools.wraps(function)
    def called(x: Any) -> Array:
        return function(*checked(function.__name__, x=x))

    return called


def materialize(arrays: Arrays) -> Arrays:
    """Prepare the tensors of a checked call for the formula.

    Returns:
        Arrays in at least float32, with padding of key and value set to 0 and hidden by the mask, and with one
        key/value head for every query head.
    """
    ready = {name: widen(array) if isinstance(array, Array) else array for name, array in arrays.items()}
    if ready["key_lengths"] is not None:
        is_real = are_real(ready)
        ready["mask"] = is_real if ready["mask"] is None else is_real & ready["mask"]
        ready |= without_padding(ready)
    _repeat_heads(ready)
    return ready


def are_real(arrays: Arrays) -> Array:
    """Return which keys are not padding: `(b,1,1,k)`."""
    lengths = arrays["key_lengths"].long()[..., None, None, None]
    return torch.arange(arrays["key"].shape[-2], device=lengths.device) < lengths


def without_padding(arrays: Arrays) -> Arrays:
    """Return key and value with padding set to 0, because 0 * NaN would poison the sum."""
    is_real = are_real(arrays).mT  # (b,1,k,1)
    return {name: torch.where(is_real, arrays[name], 0) for name in ("key", "value")}


def cut_to_longest(arrays: Arrays, sizes: Sizes) -> tuple[Arrays, Sizes]:
    """Remove the keys that are padding in every batch row, and the lengths if no other key is padding."""
    batch, heads, groups, query_length, key_length, *others = sizes
    lengths = values(arrays["key_lengths"])
    longest = max(lengths) if lengths else 0
    if not longest:
        return arrays, sizes
    arrays = {**arrays, "key_lengths": arrays["key_lengths"] if min(lengths) < longest else None}
    if longest == key_length:
        return arrays, sizes
    for name in ("key", "value"):
        arrays[name] = arrays[name][..., :longest, :]
    for name in ("mask", "bias", "dropout_mask"):
        array = arrays[name]
        if array is not None and array.ndim and array.shape[-1] != 1:
            arrays[name] = array[..., :longest]
    return arrays, Sizes(batch, heads, groups, query_length, longest, *others)


def describe(array: Array) -> Described:
    """Return the shape and the name of the dtype."""
    return Described(tuple(array.shape), _name(array.dtype))


_NAMES = {dtype: str(dtype).removeprefix("torch.") for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}


def _name(dtype: torch.dtype) -> str:
    return _NAMES[dtype]


def values(array: Array) -> list[Any] | None:
    """Return the values, flat; None if they cannot be read: while a compiler traces, on the meta device, under vmap."""
    if torch.compiler.is_compiling():
        return None
    try:
        return array.flatten().tolist()
    except RuntimeError:
        return None


def inspect(given: Any) -> tuple[Described, list[Any] | None]:
    """Return the shape and dtype of an array and, if it has integers, its values, for the checks of layers."""
    array = as_array(given)
    described = describe(array)
    return described, values(array) if "int" in described.dtype else None


def widen(array: Array) -> Array:
    """Convert float16 and bfloat16 to float32, in which they are computed."""
    return array.float() if array.dtype in {torch.float16, torch.bfloat16} else array


def device_of(*given: Any) -> torch.device | None:
    """Return the device of the first tensor among the arguments."""
    return next((array.device for array in given if isinstance(array, torch.Tensor)), None)


def _repeat_heads(arrays: Arrays) -> None:
    """Repeat key/value heads: query head `i` gets a copy of head `i // (h/g)`."""
    repeats = arrays["query"].shape[-3] // arrays["key"].shape[-3]
    if repeats != 1:
        for name in ("key", "value"):
            arrays[name] = torch.repeat_interleave(arrays[name], repeats, dim=-3)  # (b,h,k,_)
