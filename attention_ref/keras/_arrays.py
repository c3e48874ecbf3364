"""The arguments of a call: as tensors of the running engine, and described for the specification's checks."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from attention_ref.spec import call_checks, checks
from attention_ref.spec.errors import reject
from attention_ref.spec.shapes import Described, Sizes, check_integers

Array = Any
Arrays = dict[str, Array | None]


def as_array(given: Any) -> Array:
    """Convert an argument to a tensor; return a tensor of the running engine unchanged."""
    is_numpy = isinstance(given, (np.ndarray, np.generic))
    if is_numpy and given.dtype == np.uint64 and keras.config.backend() == "torch":  # which has no such dtype
        given = np.minimum(given, np.iinfo(np.int64).max).astype(np.int64)  # what is larger is rejected as that
    tensor = ops.convert_to_tensor(given)
    is_double = is_numpy and given.dtype == np.float64
    if is_double and describe(tensor).dtype != "float64":
        rule = "float64 on the JAX engine needs JAX's 64-bit mode, JAX_ENABLE_X64=1; it would become float32"
        reject("attention_ref.keras", rule, "float64")
    return tensor


def as_integers(operation: str, name: str, given: Any) -> Array:
    """Convert integers to a NumPy array, because an engine may have no int64; to a tensor if its values cannot be read.

    PyTorch's compiler, which has int64, cannot look into a NumPy array.

    Raises:
        SpecificationError: for an integer outside int64.
    """
    check_integers(operation, name, given)
    if torch_compiles():
        return as_array(given)
    is_numbers = isinstance(given, (int, float, list, tuple, np.ndarray, np.generic))
    array = np.asarray(given) if is_numbers else as_array(given)
    numbers = values(array)
    if describe(array).dtype == "uint64":
        check_integers(operation, name, numbers)
    return array if numbers is None or is_numbers else to_numpy(array)


def as_checked_integers(operation: str, name: str, given: Any) -> Array:
    """Convert integers as `as_integers` does; reject positions of which the distance exceeds int32.

    Raises:
        SpecificationError: for an integer outside int64, and for a position outside -2^30 to 2^30.
    """
    array = as_integers(operation, name, given)
    if "int" in describe(array).dtype and operation in checks.LARGEST:
        checks.check_distances(operation, name, values(array))
    return array


def as_int32(array: Array) -> Array:
    """Return integers as int32, which every engine has."""
    is_numbers = isinstance(array, np.ndarray)
    return ops.convert_to_tensor(array.astype(np.int32)) if is_numbers else ops.cast(array, "int32")


def check_call(
    operation: str, check: Callable[..., Sizes], given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Arrays, Sizes]:
    """Check a call by the rules of the specification.

    Returns:
        The arguments as tensors, not copied, and the sizes of the call. Offsets and lengths that are not tensors become
        NumPy arrays.
    """
    integers = ("query_offset", "key_lengths")
    arrays: Arrays = {}
    for name, array in given.items():
        convert = functools.partial(as_integers, operation, name) if name in integers else as_array
        is_ready = array is None or (is_tensor(array) and name not in integers)
        arrays[name] = array if is_ready else checks.converted(operation, name, array, convert)
    described = {name: None if array is None else describe(array) for name, array in arrays.items()}
    lengths = arrays["key_lengths"]
    sizes = check(operation, described, {**options, "key_lengths": None if lengths is None else values(lengths)})
    return arrays, sizes


def checked(operation: str, **given: Any) -> tuple[Any, ...]:
    """Check a call by the table of operations.

    Returns:
        The arrays of the call in the order of the table, None for one that is not given.

    Raises:
        SpecificationError: for anything that the specification does not define.
    """
    described, arrays = {name: item for name, item in given.items() if not (is_tensor(item) or is_symbol(item))}, []
    for name, kind in checks.ARRAYS[operation]:
        array = given[name]
        if kind == "integer" and array is not None:
            array = checks.converted(operation, name, array, functools.partial(as_checked_integers, operation, name))
        elif array is not None and not is_tensor(array):
            array = checks.converted(operation, name, array, as_array)
        if array is not None:
            described[name] = describe(array)
        arrays.append(array)
    check = call_checks.check_call if torch_compiles() else call_checks.check_call_once
    check(operation, described)
    return tuple(arrays)


def is_symbol(size: Any) -> bool:
    """Return whether a size is a symbol of JAX, which stands for a size that is not known yet."""
    return type(size).__module__.partition(".")[0] == "jax"


def is_tensor(given: Any) -> bool:
    """Return whether an object is a tensor of the running engine, or of a Keras model."""
    return ops.is_tensor(given) or isinstance(given, keras.KerasTensor)


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
    """Prepare the tensors of a checked call for the formula.

    Returns:
        Arrays in at least float32, with padding of key and value set to 0 and hidden by the mask, and with one
        key/value head for every query head.
    """
    ready = {name: None if array is None else widen(array) for name, array in arrays.items()}
    if ready["key_lengths"] is not None:
        is_real = are_real(ready)
        ready["mask"] = is_real if ready["mask"] is None else ops.logical_and(is_real, ready["mask"])
        ready |= without_padding(ready)
    _repeat_heads(ready)
    return ready


def are_real(arrays: Arrays) -> Array:
    """Return which keys are not padding: `(b,1,1,k)`."""
    lengths = as_int32(arrays["key_lengths"])[..., None, None, None]
    return ops.arange(ops.shape(arrays["key"])[-2], dtype="int32") < lengths


def without_padding(arrays: Arrays) -> Arrays:
    """Return key and value with padding set to 0, because 0 * NaN would poison the sum."""
    is_real = ops.swapaxes(are_real(arrays), -1, -2)  # (b,1,k,1)
    return {name: ops.where(is_real, arrays[name], 0) for name in ("key", "value")}


def describe(array: Array) -> Described:
    """Return the shape, with None for an unknown size, and the name of the dtype."""
    return Described(tuple(array.shape), keras.backend.standardize_dtype(array.dtype))


def values(array: Array) -> list[Any] | None:
    """Return the values, flat; None if they cannot be read: while a compiler traces, in a symbolic call."""
    if torch_compiles():
        return None
    if isinstance(array, np.ndarray):
        return array.ravel().tolist()
    try:
        with warnings.catch_warnings(action="ignore"):  # an engine may warn before it refuses
            flat = ops.reshape(array, (-1,))  # TensorFlow cannot hand NumPy a bfloat16 without axes
            return ops.convert_to_numpy(flat).tolist()
    except (NotImplementedError, RuntimeError, TypeError):
        return None


def is_traced(array: Array) -> bool:
    """Return whether the call is traced, by a compiler, a Keras model or a function transformation, so that no value
    can be read.
    """
    return values(array[(0,) * len(array.shape)]) is None


def to_numpy(array: Any) -> np.ndarray[Any, Any]:
    """Convert a tensor or variable to a NumPy array."""
    with warnings.catch_warnings(action="ignore"):  # Keras converts tensors in a way that NumPy deprecates
        return ops.convert_to_numpy(array)


def inspect(given: Any) -> tuple[Described, list[Any] | None]:
    """Return the shape and dtype of an array and, if it has integers, its values, for the checks of layers."""
    array = as_array(given)
    described = describe(array)
    return described, values(array) if "int" in described.dtype else None


def widen(array: Array) -> Array:
    """Convert float16 and bfloat16 to float32, in which they are computed."""
    return ops.cast(array, "float32") if describe(array).dtype in {"float16", "bfloat16"} else array


def integers(given: Any) -> Array:
    """Convert an argument to a tensor; integers become int32, which every engine has, other dtypes stay."""
    array = as_array(given)
    return ops.cast(array, "int32") if "int" in describe(array).dtype else array


def tanh(array: Array) -> Array:
    """Return the hyperbolic tangent in the array's dtype; on the JAX engine `ops.tanh` returns float32 for float64."""
    if keras.config.backend() != "jax" or describe(array).dtype != "float64":
        return ops.tanh(array)
    growth = ops.expm1(2 * ops.where(array > 32, 32, array))  # from 20 on the result is 1
    return growth / (growth + 2)


def symbolic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function to accept symbolic tensors: such a call becomes one operation of a Keras model."""

    class Call(keras.Operation):
        def call(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    Call.__name__ = function.__name__  # Keras derives the names of a model's operations from it: attention, attention_1

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(argument, keras.KerasTensor) for argument in (*args, *kwargs.values())):
            return Call()(*args, **kwargs)
        return function(*args, **kwargs)

    return called


def torch_compiles() -> bool:
    """Return whether PyTorch is compiling the current call."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def _repeat_heads(arrays: Arrays) -> None:
    """Repeat key/value heads: query head `i` gets a copy of head `i // (h/g)`."""
    repeats = arrays["query"].shape[-3] // arrays["key"].shape[-3]
    if repeats != 1:
        for name in ("key", "value"):
            arrays[name] = ops.repeat(arrays[name], repeats, axis=-3)  # (b,h,k,_)
