"""A call of attention: what it is given, checked, and cut into tiles of queries in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from attention_ref.oracle.result import Array
from attention_ref.spec.attention_checks import check_attention
from attention_ref.spec.errors import reject
from attention_ref.spec.shapes import Described, Sizes

TILE = 2**18
"""The number of scores that are computed at once."""


class Tile(NamedTuple):
    """Queries of one head, with the keys that any of them sees."""

    rows: Array
    """The places of the queries, integers `(t,)`."""
    keys: slice
    query: Array
    key: Array
    value: Array
    bias: Array | None
    """`(t,k)`; 0 where a key is hidden."""
    visible: Array
    """Boolean `(t,k)`."""
    kept: Array
    """Boolean `(t,k)`: what is visible and not dropped."""


class Call:
    """The arguments of one call, in the order and with the meaning of `attention_ref.spec.attention`."""

    def __init__(self, operation: str, query: Any, key: Any, value: Any, options: dict[str, Any]) -> None:
        names = ("mask", "bias", "query_offset", "key_lengths", "dropout_mask", "sinks")
        given = {"query": query, "key": key, "value": value} | {name: options[name] for name in names}
        arrays: dict[str, Any] = {name: None if array is None else np.asarray(array) for name, array in given.items()}
        self.operation = operation
        self.sizes = _checked(operation, arrays, options)
        self.query, self.key, self.value = arrays["query"], arrays["key"], arrays["value"]
        self.bias, self.sinks = arrays["bias"], arrays["sinks"]
        self.scale, self.softcap = options["scale"], options["softcap"]
        self.causal, self.window = options["causal"], options["window"]
        self.rate = float(options["dropout"])
        self.repeats = self.sizes.heads // self.sizes.groups
        self._mask, self._dropout_mask, self._bias = (
            None if array is None else np.broadcast_to(array, self.sizes.scores)
            for array in (arrays["mask"], arrays["dropout_mask"], self.bias)
        )
        self._offsets = np.broadcast_to(arrays["query_offset"], self.sizes.batch).astype(np.int64)
        lengths = self.sizes.key_length if arrays["key_lengths"] is None else arrays["key_lengths"]
        self._lengths = np.broadcast_to(lengths, self.sizes.batch)

    @property
    def factor(self) -> float:
        """The factor of the scores."""
        return 1 / math.sqrt(self.sizes.head_size) if self.scale is None else float(self.scale)

    @property
    def dropped(self) -> float:
        """The factor of a kept weight: `1 / (1 - dropout)`."""
        return 1 / (1 - self.rate)

    def batches(self) -> list[tuple[int, ...]]:
        """Return the index of every batch row."""
        return list(np.ndindex(*self.sizes.batch))

    def sink(self, head: int) -> float:
        """Return the logit of a head's sink; -inf, which has no weight, if there is none."""
        return -math.inf if self.sinks is None else float(self.sinks[head])

    def blocks(self, length: int, at_most: int | None = None) -> list[slice]:
        """Cut `length` queries into blocks of at most `TILE` scores, and of at most `at_most` queries."""
        count = max(1, TILE // max(1, self.sizes.key_length))
        count = min(count, at_most) if at_most else count
        return [slice(start, min(start + count, length)) for start in range(0, length, count)]

    def visible(self, batch: tuple[int, ...], head: int, rows: Array) -> Array:
        """Return which keys the queries may attend to, boolean `(t,k)`."""
        positions = np.arange(self.sizes.key_length)
        distance = positions - (rows + self._offsets[batch])[:, None]  # (t,k)
        visible = np.broadcast_to(positions < self._lengths[batch], distance.shape).copy()
        if self.causal:
            visible &= distance <= 0
        left, right = self.window or (None, None)
        if left is not None:
            visible &= distance >= -int(left)
        if right is not None:
            visible &= distance <= int(right)
        if self._mask is not None:
            visible &= self._mask[batch][head][rows]
        if self._bias is not None:
            visible &= self._bias[batch][head][rows] != -np.inf
        return visible

    def bias_of(self, batch: tuple[int, ...], head: int, rows: Array) -> Array | None:
        """Return the bias of the queries, `(t,k)`."""
        return None if self._bias is None else self._bias[batch][head][rows].astype(np.float64)

    def is_kept(self, batch: tuple[int, ...], head: int, rows: Array) -> Array | None:
        """Return which weights dropout keeps, boolean `(t,k)`."""
        return None if self._dropout_mask is None else self._dropout_mask[batch][head][rows]


class Head:
    """The arrays of one query head of one batch row, with 0 for what is not finite: a weight of 0 times NaN is NaN."""

    def __init__(self, call: Call, batch: tuple[int, ...], head: int) -> None:
        self.call, self.batch, self.head = call, batch, head
        group = (*batch, head // call.repeats)
        self.query, self.is_query = _finite(call.query[(*batch, head)])
        self.key, self.is_key = _finite(call.key[group])
        self.value, self.is_value = _finite(call.value[group])

    def tile(self, rows: Array) -> Tile:
        """Return some queries, with the range of keys that any of them sees."""
        where = (self.batch, self.head, rows)
        visible = self.call.visible(*where)
        seen = np.flatnonzero(visible.any(axis=0))
        keys = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)
        visible = visible[:, keys]
        is_kept, bias = self.call.is_kept(*where), self.call.bias_of(*where)
        kept = visible if is_kept is None else visible & is_kept[:, keys]
        bias = None if bias is None else np.where(visible, bias[:, keys], 0)
        tile = Tile(rows, keys, self.query[rows], self.key[keys], self.value[keys], bias, visible, kept)
        self._check(tile)
        return tile

    def _check(self, tile: Tile) -> None:
        """Reject what has no expected rounding errors: numbers that are not finite and reach a result."""
        sink = self.call.sink(self.head)
        unfit = {
            "query": tile.visible[~self.is_query[tile.rows]],
            "key": tile.visible[:, ~self.is_key[tile.keys]],
            "value": tile.kept[:, ~self.is_value[tile.keys]],
            "bias": False if tile.bias is None else ~np.isfinite(tile.bias),
            "sinks": math.isnan(sink) or sink == math.inf,
        }
        for name, is_unfit in unfit.items():
            if np.any(is_unfit):
                rule = f"{name} must be finite where a query sees it, for the errors of other numbers have no size"
                reject(f"oracle.{self.call.operation}", rule, "NaN or infinity")


def _finite(array: Array) -> tuple[Array, Array]:
    """Return the rows `(n,d)` in float64 with 0 for what is not finite, and which are finite, boolean `(n,)`."""
    array = array.astype(np.float64)
    is_finite = np.isfinite(array)
    return np.where(is_finite, array, 0), is_finite.all(axis=-1)


def _checked(operation: str, arrays: dict[str, Any], options: dict[str, Any]) -> Sizes:
    described = {
        name: None if array is None else Described(array.shape, array.dtype.name) for name, array in arrays.items()
    }
    lengths = arrays["key_lengths"]
    checked = {**options, "key_lengths": None if lengths is None else lengths.ravel().tolist()}
    return check_attention(f"oracle.{operation}", described, checked)


def places(operation: str, name: str, chosen: Sequence[int] | None, length: int) -> Array:
    """Return the selected indices as integers; all if None."""
    if chosen is None:
        return np.arange(length)
    array = np.asarray(chosen, np.int64)
    if array.ndim != 1 or np.any((array < 0) | (array >= length)):
        reject(f"oracle.{operation}", f"{name} must be places from 0 to {length - 1}", list(chosen))
    return array
