"""Sequences of vectors of several heads: exchanged axes, counted positions, and new ones behind those of a cache."""

from __future__ import annotations

from typing import Any

from attention_ref.spec.arrays import Array, indices


def count_from(offsets: Array, length: int) -> Array:
    """Return `length` consecutive positions from each row's offset: `(b,length)`."""
    values = [offset + i for offset in offsets.values for i in range(length)]
    return Array((*offsets.shape, length), values, "integer")


def exchanged(array: Array) -> Array:
    """Exchange the second and third axis: `(b,l,h,d)` to `(b,h,l,d)` and back."""
    batch, length, heads, size = array.shape
    values = [n for b, h, i in indices((batch, heads, length)) for n in array[(b, i, h)]]
    return Array((batch, heads, length, size), values, "real")


def append(old: Array, new: Array, lengths: Array) -> Array:
    """Write `new` after the first `lengths[b]` positions of `old`: `(b,g,p,d)` and `(b,g,t,d)` to `(b,g,p+t,d)`."""
    batch, groups, past, size = old.shape
    length = past + new.shape[2]
    values: list[Any] = []
    for row, group, place in indices((batch, groups, length)):
        filled = lengths[(row,)]
        if place < filled:
            values += old[(row, group, place)]
        elif place < filled + new.shape[2]:
            values += new[(row, group, place - filled)]
        else:
            values += [0.0] * size
    return Array((batch, groups, length, size), values, "real")
