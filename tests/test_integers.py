"""Offsets, lengths and distances of any integer type and size: the same keys as in exact arithmetic, or one error."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework

LARGEST = 2**63 - 1
Q, K = 3, 5
FAR_APART = [  # query_offset, window
    (LARGEST, None),
    (-LARGEST - 1, None),
    (2**31, None),
    (-(2**31) - 1, None),
    (0, (LARGEST, None)),
    (0, (2**31, 2**31)),
    (LARGEST, (LARGEST, None)),
    (LARGEST - 1, (LARGEST, 1)),
    (LARGEST - 1, (LARGEST - 3, LARGEST)),
    (-LARGEST, (0, LARGEST)),
    (-LARGEST - 1, (LARGEST, LARGEST)),
    (2**31, (2**31 - 1, None)),
    (2**40, (2**40 + 1, None)),
    (-(2**40), (None, 2**40 + 1)),
]


def exact(query_offset: int, window: Any, causal: bool = False) -> np.ndarray:
    """Return the visible keys `(q,k)`, in Python's integers, which have no end."""
    left, right = window or (None, None)
    distances = [[j - i - query_offset for j in range(K)] for i in range(Q)]
    visible = [
        [(left is None or d >= -left) and (right is None or d <= right) and (d <= 0 or not causal) for d in row]
        for row in distances
    ]
    return np.array(visible)


@pytest.mark.parametrize(("query_offset", "window"), FAR_APART, ids=str)
def test_masks_of_far_positions(room: ModuleType, room_arrays: Framework, query_offset: int, window: Any) -> None:
    causal = room_arrays.read(room.causal_mask(Q, K, query_offset=query_offset))
    np.testing.assert_array_equal(causal, exact(query_offset, None, causal=True))
    if window is not None:
        found = room_arrays.read(room.window_mask(Q, K, window, query_offset=query_offset))
        np.testing.assert_array_equal(found, exact(query_offset, window))


@pytest.mark.parametrize("per_row", [False, True], ids=["an offset", "an offset for each row"])
@pytest.mark.parametrize(("query_offset", "window"), FAR_APART, ids=str)
def test_attention_at_far_positions(
    room: ModuleType, room_arrays: Framework, query_offset: int, window: Any, per_row: bool
) -> None:
    query, key, value = (room_arrays.make(np.zeros((2, 1, length, K)), "float64") for length in (Q, K, K))
    value = room_arrays.make(np.tile(np.eye(K), (2, 1, 1, 1)), "float64")  # the output is the weights
    offset = [query_offset, 0] if per_row else query_offset
    for causal in (False, True):
        rules = {"causal": causal, "query_offset": offset, "window": window}
        output = room_arrays.read(room.attention(query, key, value, **rules))[:, 0]
        for row, at in enumerate((query_offset, 0 if per_row else query_offset)):
            np.testing.assert_array_equal(output[row] > 0, exact(at, window, causal))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_small_and_unsigned_integers_do_not_wrap(room: ModuleType, room_arrays: Framework, dtype: str) -> None:
    far = 300 if np.iinfo(dtype).max > 300 else 120
    value = room_arrays.make(np.tile(np.eye(far), (2, 1, 1, 1)), "float64")
    query, key = (room_arrays.make(np.zeros((2, 1, length, 4)), "float64") for length in (Q, far))
    offset, lengths = (np.array([far - 1, 1], dtype), np.array([far, 3], dtype))
    rules = {"causal": True, "window": (far - 3, None)}
    output = room_arrays.read(room.attention(query, key, value, query_offset=offset, key_lengths=lengths, **rules))
    keys, queries = np.arange(far), np.arange(Q)[:, None]
    for row in range(2):
        distances = keys - queries - int(offset[row])
        visible = (distances <= 0) & (distances >= 3 - far) & (keys < int(lengths[row]))
        np.testing.assert_array_equal(output[row, 0] > 0, visible)


OUTSIDE = [2**63, -(2**63) - 1, 2**64, [2**63, 0], [0, -(2**80)], np.array([2**63, 0], np.uint64)]


@pytest.mark.parametrize("query_offset", OUTSIDE, ids=str)
def test_offsets_past_int64_are_refused(room: ModuleType, room_arrays: Framework, query_offset: Any) -> None:
    query, key, value = (room_arrays.make(np.zeros((2, 1, length, 4)), "float64") for length in (Q, K, K))
    numbers = [query_offset] if isinstance(query_offset, int) else [int(number) for number in query_offset]
    received = next(number for number in numbers if not -LARGEST - 1 <= number <= LARGEST)
    rule = f"query_offset must lie between -2^63 and 2^63 - 1.\n  received {received}"
    calls = {
        "attention": lambda: room.attention(query, key, value, causal=True, query_offset=query_offset),
        "causal_mask": lambda: room.causal_mask(Q, K, query_offset=query_offset),
        "window_mask": lambda: room.window_mask(Q, K, (1, 1), query_offset=query_offset),
    }
    for operation, call in calls.items():
        with pytest.raises(spec.SpecificationError) as error:
            call()
        assert str(error.value) == f"{operation}: {rule}"


@pytest.mark.parametrize("offset", [2**63, -(2**63) - 1, [2**63, 0]], ids=str)
def test_the_specification_refuses_them_too(offset: Any) -> None:
    with pytest.raises(spec.SpecificationError, match=r"^causal_mask: query_offset must lie between -2\^63"):
        spec.causal_mask(Q, K, query_offset=offset)
    rows = [[[[0.0]]]] * 2
    with pytest.raises(spec.SpecificationError, match=r"^attention: query_offset must lie between -2\^63"):
        spec.attention(rows, rows, rows, causal=True, query_offset=offset)


@pytest.mark.parametrize("window", [(2**63, None), (0, 2**80)], ids=str)
def test_windows_past_int64_are_refused(room: ModuleType, room_arrays: Framework, window: Any) -> None:
    query, key, value = (room_arrays.make(np.zeros((2, 1, length, 4)), "float64") for length in (Q, K, K))
    for operation, call in {
        "attention": lambda: room.attention(query, key, value, window=window),
        "window_mask": lambda: room.window_mask(Q, K, window),
    }.items():
        with pytest.raises(spec.SpecificationError) as error:
            call()
        rule = f"the distances of window must lie between 0 and 2^63 - 1.\n  received {window!r}"
        assert str(error.value).startswith(f"{operation}: {rule}")


@pytest.mark.parametrize("lengths", [[2**63, 0], [-(2**70), 1]], ids=str)
def test_lengths_past_int64_are_refused(room: ModuleType, room_arrays: Framework, lengths: list[int]) -> None:
    query, key, value = (room_arrays.make(np.zeros((2, 1, length, 4)), "float64") for length in (Q, K, K))
    with pytest.raises(spec.SpecificationError, match=r"^attention: key_lengths must lie between -2\^63 and 2\^63 - 1"):
        room.attention(query, key, value, key_lengths=lengths)
    with pytest.raises(spec.SpecificationError, match=r"^length_mask: key_lengths must lie between -2\^63"):
        room.length_mask(lengths, K)
