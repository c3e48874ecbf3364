"""Cosines and sines of positions times frequencies, with the accuracy of float64 angles on every engine.

In float32 the error of the angle would be 1e-3 at position 131071. Engines with float64 functions use them. JAX has
none outside its 64-bit mode, and inside it Keras calls float32 ones; for JAX a position is written in base 256, and the
rotations by each digit, read from a table, are composed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from attention_ref.keras._arrays import Array, describe, integers

RADIX, DIGITS = 256, 4
"""The base and number of digits of a position; 256^4 exceeds the largest int32."""

STEP = 2.0**-12
"""The high part of a cosine or sine is a multiple of this, so that the product of two high parts is exact in
float32."""


class Turn(NamedTuple):
    """The cosine and sine of an angle, each the sum of a multiple of `STEP` and a small remainder."""

    cosine: tuple[Array, Array]
    sine: tuple[Array, Array]


def cosines_and_sines(positions: Any, frequencies: np.ndarray[Any, Any]) -> tuple[Array, Array]:
    """Return `cos(position * frequency)` and `sin(position * frequency)`.

    Arguments:
        positions: integers `(...)`, of absolute value up to 2^30.
        frequencies: `(n,)`, NumPy float64, in radians for each position.

    Returns:
        Two tensors `(..., n)`, float64 if the engine has it, otherwise float32 with an error of at most half a unit in
        the last place plus 1e-10.
    """
    positions = integers(positions)
    if describe(ops.cos(ops.convert_to_tensor(frequencies))).dtype == "float64":
        angles = ops.cast(positions, "float64")[..., None] * ops.convert_to_tensor(frequencies)
        return ops.cos(angles), ops.sin(angles)
    turn = reduce(_added, _turns_by_digit(ops.abs(positions), frequencies))
    direction = ops.cast(ops.where(positions < 0, -1, 1), turn.sine[0].dtype)[..., None]
    return sum(turn.cosine), direction * sum(turn.sine)


def _turns_by_digit(positions: Array, frequencies: np.ndarray[Any, Any]) -> Iterator[Turn]:
    for tables in _tables(frequencies.tobytes()):
        parts = [ops.take(ops.convert_to_tensor(table), positions % RADIX, axis=0) for table in tables]  # (...,n)
        yield Turn((parts[0], parts[1]), (parts[2], parts[3]))
        positions = positions // RADIX


@cache
def _tables(frequencies: bytes) -> list[list[np.ndarray[Any, Any]]]:
    """Return, for each digit, the high and low parts of cosines and of sines of its angles, `(256,n)` each."""
    steps = np.arange(RADIX)[:, None] * np.frombuffer(frequencies)  # (256,n)
    angles = [steps * RADIX**digit for digit in range(DIGITS)]
    return [[*_parts(np.cos(angle)), *_parts(np.sin(angle))] for angle in angles]


def _parts(exact: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    high = np.round(exact / STEP) * STEP
    return high, exact - high


def _added(one: Turn, other: Turn) -> Turn:
    """Add two angles: products of high parts and their differences are exact, and the remainder is below `2 STEP`."""
    (c, c_rest), (s, s_rest) = one
    (d, d_rest), (t, t_rest) = other
    cosine_rest = (c * d_rest + c_rest * d + c_rest * d_rest) - (s * t_rest + s_rest * t + s_rest * t_rest)
    sine_rest = (s * d_rest + s_rest * d + s_rest * d_rest) + (c * t_rest + c_rest * t + c_rest * t_rest)
    return Turn(_split(c * d - s * t, cosine_rest), _split(s * d + c * t, sine_rest))


def _split(exact: Array, rest: Array) -> tuple[Array, Array]:
    high = ops.round(exact / STEP) * STEP
    return high, (exact - high) + rest
