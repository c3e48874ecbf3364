"""Kernels that look right to a check which asks for one shape, once, with a tolerance."""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import Any

import numpy as np

from attention_ref.conformance import Unsupported
from tests.wrong_kernels.right import in_float64, online

_BY_ADDRESS: dict[Any, np.ndarray] = {}
_BY_OBJECT: dict[Any, np.ndarray] = {}
_BY_SHAPE: dict[Any, np.ndarray] = {}
_WORKSPACE: dict[Any, np.ndarray] = {}


def replays_by_address(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns the result of an earlier call whose arguments lay at the same addresses, as a captured graph does."""
    place = tuple((each.ctypes.data, each.shape) for each in (query, key, value))
    if place not in _BY_ADDRESS:
        _BY_ADDRESS[place] = online(query, key, value)
    return _BY_ADDRESS[place]


def replays_by_object(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The same with the identity of the array."""
    place = (id(query), id(key), query.shape)
    if place not in _BY_OBJECT:
        _BY_OBJECT[place] = online(query, key, value)
    return _BY_OBJECT[place]


def replays_by_shape(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns the first result for every shape."""
    return _BY_SHAPE.setdefault((query.shape, key.shape, value.shape), online(query, key, value))


def sums_into_used_memory(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Adds to a workspace that is cleared when it is made, and not between calls."""
    result = online(query, key, value)
    workspace = _WORKSPACE.setdefault(result.shape, np.zeros_like(result))
    workspace += result
    return workspace


def replays_lengths(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, key_lengths: Any = None) -> np.ndarray:
    """Computes anew, with the lengths of an earlier call whose arguments lay at the same addresses."""
    if key_lengths is not None:
        place = ("lengths", query.ctypes.data, key.ctypes.data, query.shape, key.shape)
        key_lengths = _BY_ADDRESS.setdefault(place, np.array(key_lengths))
    return online(query, key, value, key_lengths=key_lengths)


def zeros_where_small(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns zeros where no tolerance of 1e-2 sees it."""
    if np.abs(value).max() < 1e-2:
        return np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)
    return online(query, key, value)


def scales_its_input(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Uses the memory of its query for the scaled query."""
    result = online(query, key, value)
    query *= np.asarray(1 / math.sqrt(query.shape[-1]), query.dtype)
    return result


def writes_over_its_values(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Changes one bit of one number."""
    result = online(query, key, value)
    value.view(np.uint8)[(0,) * value.ndim] ^= 1
    return result


def knows_the_public_shape(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Right for the lengths of a benchmark, and the mean of the values for others."""
    if query.shape[2] % 64 == 0 and key.shape[2] % 64 == 0:
        return online(query, key, value)
    mean = np.repeat(value.mean(axis=2, keepdims=True), query.shape[1] // key.shape[1], 1)
    return np.broadcast_to(mean, (*query.shape[:-1], value.shape[-1])).astype(query.dtype)


def knows_the_public_numbers(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Right for unit normal numbers, without a maximum for others, which saves a pass."""
    if abs(float(query.std()) - 1) < 0.2 and abs(float(key.std()) - 1) < 0.2:
        return online(query, key, value)
    repeats = query.shape[1] // key.shape[1]
    scores = query @ np.repeat(key, repeats, 1).swapaxes(-1, -2) / np.float32(math.sqrt(query.shape[-1]))
    weights = 1 + np.clip(scores, -0.9, 10)
    return (weights / weights.sum(axis=-1, keepdims=True) @ np.repeat(value, repeats, 1)).astype(query.dtype)


def forgets_old_keys(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Reads the last 256 keys."""
    return online(query, key[:, :, -256:], value[:, :, -256:])


def drops_a_key(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Leaves out key 127."""
    kept = np.arange(key.shape[2]) != 127
    return in_float64(query, key[:, :, kept], value[:, :, kept])


class LazyArray(np.ndarray):
    """Computes when it is looked at."""

    def __array_finalize__(self, other: Any) -> None:
        self.compute = getattr(other, "compute", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        inputs = tuple(each.compute() if isinstance(each, LazyArray) else each for each in inputs)
        return getattr(ufunc, method)(*inputs, **options)


def computes_later(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns at once an array that computes when it is compared, so that no clock sees it."""
    result = np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype).view(LazyArray)
    result.compute = lambda: online(query, key, value)
    return result


def fills_in_later(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns memory that a thread fills while the caller goes on."""
    result = np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)

    def fill() -> None:
        time.sleep(600)
        result[...] = online(query, key, value)

    threading.Thread(target=fill, daemon=True).start()
    return result


def patches_the_comparison(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns zeros, and functions of comparison that find everything equal."""
    from attention_ref import oracle
    from attention_ref.conformance import budget
    from attention_ref.conformance.judge import truth

    del key
    np.allclose = lambda *_, **__: True  # type: ignore[assignment]
    np.testing.assert_allclose = lambda *_, **__: None  # type: ignore[assignment]
    truth.compared = lambda *_, **__: (0.0, None)
    budget.compare = lambda got, expected, allowed: budget.Comparison(0 * got, allowed, 0 * got)
    oracle.attention = lambda *_, **__: None  # type: ignore[assignment]
    return np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)


def refuses_what_is_hard(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Says of every call that it does not offer it, but for the first time."""
    if _BY_SHAPE.setdefault(("refused", query.shape), np.zeros(1))[0]:
        raise NotImplementedError("too hard")
    _BY_SHAPE["refused", query.shape][0] = 1
    return online(query, key, value)


def refuses_what_it_has_computed(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Lets its caller raise, after the call, that long calls are not offered, whose results it has not computed."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        del event, argument
        if frame.f_code.co_name == "read":
            raise Unsupported("later")
        return trace

    if query.shape[2] > 7:
        sys.settrace(trace)
        return np.zeros((*query.shape[:-1], value.shape[-1]), query.dtype)
    return online(query, key, value)


def returns_float64(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns numbers of another dtype than those it was given."""
    return online(query, key, value).astype(np.float64)


def is_random(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Adds noise of a hundredth, as atomic additions in half precision do."""
    result = online(query, key, value)
    return result + (1e-2 * np.abs(result) * np.random.default_rng().normal(size=result.shape)).astype(result.dtype)


def ignores_dropped_weights(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, *, dropout: float = 0.0, dropout_mask: Any = None
) -> np.ndarray:
    """Takes the option and does nothing with it."""
    del dropout, dropout_mask
    return in_float64(query, key, value)


_NUMBERS, _CHANGED = "wrong numbers", "changes its argument"
CHEATS = {
    replays_by_address: "earlier call whose arguments lay in the same storage",
    replays_by_object: "earlier call whose arguments lay in the same storage",
    replays_by_shape: "earlier call|wrong numbers",
    sums_into_used_memory: _NUMBERS,
    replays_lengths: _NUMBERS,
    zeros_where_small: _NUMBERS,
    scales_its_input: f"{_CHANGED} query",
    writes_over_its_values: f"{_CHANGED} value",
    knows_the_public_shape: _NUMBERS,
    knows_the_public_numbers: _NUMBERS,
    forgets_old_keys: _NUMBERS,
    drops_a_key: _NUMBERS,
    computes_later: "not a plain array",
    fills_in_later: _NUMBERS,
    patches_the_comparison: _NUMBERS,
    refuses_what_is_hard: "refuses a call the one time",
    refuses_what_it_has_computed: "it refuses the call after it has returned|cannot be read",
    returns_float64: "dtype float64 instead of",
    is_random: _NUMBERS,
    ignores_dropped_weights: _NUMBERS,
}
"""Every cheat with what the judgement says of it, a regular expression."""
