"""What a call is given: as tensors, and described for the specification's checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from attention_ref.spec.shapes import Described, Sizes

Array = torch.Tensor
Arrays = dict[str, Array | None]


def as_array(given: Any, device: torch.device | None = None) -> Array:
    """Make a tensor of what is given, on `device`; a tensor stays as it is."""
    if isinstance(given, torch.Tensor):
        return given
    if isinstance(given, int):
        return torch.full((), given, device=device)  # as_tensor would wait for the device
    return torch.as_tensor(given, device=device)


def prepare(
    operation: str, check: Callable[..., Sizes], given: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Arrays, torch.dtype]:
    """Let the specification check a call, and make its tensors ready for arithmetic.

    Returns:
        The tensors: numbers in at least float32, padding in key and value replaced by 0 and hidden by the mask, a
        key/value head for every query head. And the dtype of the query.
    """
    device = device_of(given["query"])
    arrays = {name: None if array is None else as_array(array, device) for name, array in given.items()}
    described = {name: None if array is None else describe(array) for name, array in arrays.items()}
    lengths = arrays["key_lengths"]
    check(operation, described, {**options, "key_lengths": None if lengths is None else values(lengths)})
    ready = {name: None if array is None else widen(array) for name, array in arrays.items()}
    if lengths is not None:
        _hide_padding(ready)
    _repeat_heads(ready)
    return ready, arrays["query"].dtype


def describe(array: Array) -> Described:
    """Give the shape and the name of the dtype."""
    return Described(tuple(array.shape), str(array.dtype).removeprefix("torch."))


def values(array: Array) -> list[Any] | None:
    """Read the values, flat; None where they cannot be read: in a compiler's trace, on the meta device, under vmap."""
    if torch.compiler.is_compiling():
        return None
    try:
        return array.flatten().tolist()
    except RuntimeError:
        return None


def inspect(given: Any) -> tuple[Described, list[Any] | None]:
    """Return the shape and dtype of an array and, of integers, the values, as the checks of layers read them."""
    array = as_array(given)
    described = describe(array)
    return described, values(array) if "int" in described.dtype else None


def widen(array: Array) -> Array:
    """Give float16 and bfloat16 as float32, in which they are computed."""
    return array.float() if array.dtype in {torch.float16, torch.bfloat16} else array


def device_of(*given: Any) -> torch.device | None:
    """Give the device of the first tensor among the arguments."""
    return next((array.device for array in given if isinstance(array, torch.Tensor)), None)


def _hide_padding(arrays: Arrays) -> None:
    """Let nothing of the padding into the arithmetic: what is 0 times NaN in a sum would be NaN in all of it."""
    lengths = arrays["key_lengths"][..., None, None, None]
    is_real = torch.arange(arrays["key"].shape[-2], device=lengths.device) < lengths  # (b,1,1,k)
    arrays["mask"] = is_real if arrays["mask"] is None else is_real & arrays["mask"]
    for name in ("key", "value"):
        arrays[name] = torch.where(is_real.mT, arrays[name], 0)


def _repeat_heads(arrays: Arrays) -> None:
    """Give query head `i` its own copy of key/value head `i // (h/g)`."""
    repeats = arrays["query"].shape[-3] // arrays["key"].shape[-3]
    if repeats != 1:
        for name in ("key", "value"):
            arrays[name] = torch.repeat_interleave(arrays[name], repeats, dim=-3)  # (b,h,k,_)
