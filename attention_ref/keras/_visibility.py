"""The conjunction of all rules of visibility, of arguments that are checked."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from keras import ops

from attention_ref.keras._arrays import Array, as_int32
from attention_ref.keras._band import band, diagonals, inside
from attention_ref.spec.masks import Window


def conjunction(
    shape: Sequence[int],
    *,
    mask: Array | None,
    bias: Array | None,
    causal: bool,
    query_offset: Array,
    window: Window | None,
    key_lengths: Array | None,
) -> Array:
    """Return which keys each query may attend to, of arrays that are checked; arguments as in `visible_keys`."""
    query_length, key_length = shape[-2:]
    rules = [ops.ones(shape, dtype="bool")]
    if mask is not None:
        rules.append(mask)
    if bias is not None:
        rules.append(bias != -math.inf)
    if causal:
        rules.append(inside(band(True, query_offset, None), diagonals(query_length, key_length)))
    if window is not None and window != (None, None):
        rules.append(inside(band(False, query_offset, window), diagonals(query_length, key_length)))
    if key_lengths is not None:
        rules.append(within_lengths(key_lengths, key_length))
    return functools.reduce(ops.logical_and, rules)


def within_lengths(key_lengths: Array, key_length: int) -> Array:
    """Return which keys are not padding: boolean `(b,1,1,k)`."""
    return ops.arange(key_length, dtype="int32") < as_int32(key_lengths)[..., None, None, None]
