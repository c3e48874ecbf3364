"""Offsets, lengths and distances of any integer type and size: the same keys as in exact arithmetic, or one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import positions

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


CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "rotate": lambda room, one, at: room.rotate(one, at, spec.Rotary()),
    "sinusoidal_positions": lambda room, one, at: room.sinusoidal_positions(at, 8, spec.Sinusoid(), like=one),
    "alibi_bias": lambda room, one, at: room.alibi_bias(2, Q, K, query_offset=at, like=one),
    "relative_bias": lambda room, one, at: room.relative_bias(one[0], Q, K, BUCKETS, query_offset=at),
}
BUCKETS = spec.RelativeBias(buckets=8, maximum_distance=2**40)  # no table has a place for every distance
FARTHEST = 2**30


def turns(at: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines `(l,4)` of angles in float64, which are off by at most 2^30 units of 2^-53."""
    angles = np.array([[place / 10000 ** (i / 4) for i in range(4)] for place in at])
    return np.cos(angles), np.sin(angles)


def distances(at: Sequence[int]) -> list[list[list[int]]]:
    return [[[j - i - place for j in range(K)] for i in range(Q)] for place in at]


def rotated(at: Sequence[int], one: np.ndarray) -> np.ndarray:
    (cosine, sine), (first, second) = turns(at), np.split(one, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def sinusoids(at: Sequence[int], _: np.ndarray) -> np.ndarray:
    cosine, sine = turns(at)
    return np.stack([sine, cosine], axis=-1).reshape(len(at), 8)


def alibi(at: Sequence[int], _: np.ndarray) -> np.ndarray:
    return np.array([2.0**-4, 2.0**-8])[:, None, None] * -np.abs(np.array(distances(at), float))[:, None]


def relative(at: Sequence[int], table: np.ndarray) -> np.ndarray:
    buckets = [[[positions.relative_bucket(d, BUCKETS) for d in row] for row in rows] for rows in distances(at)]
    return np.moveaxis(table[0][np.array(buckets)], -1, 1)


EXACT = {"rotate": rotated, "sinusoidal_positions": sinusoids, "alibi_bias": alibi, "relative_bias": relative}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("at", "dtype"),
    [
        ([FARTHEST, -FARTHEST, 2**29], None),
        ([FARTHEST, -FARTHEST, 3], "int64"),
        ([FARTHEST, -FARTHEST, 3], "int32"),
        ([FARTHEST, 0, 3], "uint32"),
        ([FARTHEST, 0, 3], "uint64"),
        ([200, 0, 3], "uint16"),
        ([200, 0, 255], "uint8"),
        ([-128, 127, 3], "int8"),
    ],
    ids=str,
)
def test_codes_of_far_positions(
    room: ModuleType, room_arrays: Framework, operation: str, at: list[int], dtype: str | None
) -> None:
    one = np.random.default_rng(8).normal(size=(1, 8, 2) if operation == "relative_bias" else (1, 1, 3, 8))
    made = room_arrays.make(one, "float64")
    for given in [at] if dtype is None else [np.array(at, dtype), room_arrays.make(np.array(at, dtype), dtype)]:
        found = room_arrays.read(CALLS[operation](room, made, given))
        np.testing.assert_allclose(found, EXACT[operation](at, one), rtol=0, atol=1e-6)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("far", [FARTHEST + 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -FARTHEST - 1, -(2**40)], ids=str)
def test_positions_too_far_for_their_distance_are_refused(
    room: ModuleType, room_arrays: Framework, operation: str, far: int
) -> None:
    name = "positions" if operation in ("rotate", "sinusoidal_positions") else "query_offset"
    rule = f"{operation}: {name} must lie between -1073741824 and 1073741824.\n  received {far}"
    one = np.zeros((1, 1, 3, 8)) if operation != "relative_bias" else np.zeros((1, 8, 2))
    made = room_arrays.make(one, "float64")
    given = [[0, far, 1], np.array([0, far, 1]), room_arrays.make(np.array([0, far, 1]), "int64")]
    if far >= 0:
        given.append(np.array([0, far, 1], np.uint64))
    for at in given:
        with pytest.raises(spec.SpecificationError) as error:
            CALLS[operation](room, made, at)
        assert str(error.value) == rule
    with pytest.raises(spec.SpecificationError) as error:
        CALLS[operation](positions, one.tolist(), [0, far, 1])
    assert str(error.value) == rule
