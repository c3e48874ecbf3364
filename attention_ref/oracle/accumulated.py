"""Gradients that add up over queries: of keys, values, a bias and sinks.

The errors of different queries are independent, so that their squares add up; each sum adds its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.oracle.partial_sums import BLOCK, PartialSums, reverse_parts
from attention_ref.oracle.result import LIFT, Array, Result, lowered, of, write
from attention_ref.oracle.score_gradient import ScoreGradient
from attention_ref.oracle.tiled_call import Call, Tile


class Accumulated:
    """Sums over queries of terms times `LIFT`, and the squared sizes of the errors that the terms bring with them."""

    def __init__(self, *shape: int, fused: bool) -> None:
        self.fused = fused
        self.sums = PartialSums(*shape)
        self.brought, self.underflow, self.storage, self.storage_underflow = (np.zeros(shape) for _ in range(4))

    def result(self) -> Result:
        """Return the sums with the sizes of their errors; a gradient is stored once."""
        total = self.sums.total
        arithmetic, storage = self.brought + self.sums.error(), self.storage + total**2
        underflow = self.underflow + 2 * self.sums.count
        stored = self.storage_underflow + (self.sums.count > 0)
        if self.fused:
            storage, stored = storage + self.sums.error() / BLOCK, stored + self.sums.count / BLOCK
        return of(*lowered(total, arithmetic, storage, underflow, stored))


class KeyGradient:
    """The gradients of the keys and values of one head, to which queries are added from the last to the first.

        d key_j   = sum_i f_ij dS_ij q_i:  brought  sum_i (variance(f_ij dS_ij) + (f_ij dS_ij)^2) q_i^2
        d value_j = sum_i a_ij P_ij g_i:   brought  sum_i (a_ij P_ij)^2 (variance(P_ij) + lse_i^2 + 1 + [dropout]) g_i^2

    and of tensors in a narrow dtype `(1 + [dropout]) sum_i (a_ij P_ij g_i)^2` for the values: the weights and what
    dropout divides them by.
    """

    def __init__(self, call: Call, *, fused: bool) -> None:
        self.call = call
        self.key = Accumulated(call.sizes.key_length, call.sizes.head_size, fused=fused)
        self.value = Accumulated(call.sizes.key_length, call.sizes.value_size, fused=fused)

    def add(self, tile: Tile, scored: ScoreGradient) -> None:
        """Add the queries of a tile."""
        self._add_key(tile, scored)
        self._add_value(tile, scored)

    def _add_key(self, tile: Tile, scored: ScoreGradient) -> None:
        found, keys, slope = self.key, tile.keys, scored.weights.scores.slope
        query, raw = tile.query, slope * scored.values
        squares = (raw**2).T @ query**2
        found.sums[keys].add(raw.T @ query, squares, _count(tile.visible))
        found.brought[keys] += scored.raw_variance().T @ query**2 + squares
        found.storage[keys] += (slope**2 * scored.stored_variance()).T @ query**2
        slope = np.abs(slope * tile.visible)
        found.underflow[keys] += (scored.moves * (tile.visible + slope)).T @ np.abs(query)
        found.storage_underflow[keys] += (scored.stored.moves * slope).T @ np.abs(query)

    def _add_value(self, tile: Tile, scored: ScoreGradient) -> None:
        found, keys, weights, g = self.value, tile.keys, scored.weights, scored.cotangent
        factor = self.call.dropped * tile.kept
        kept = LIFT * factor * weights.values
        squares = (kept**2).T @ g**2
        found.sums[keys].add(kept.T @ g, squares, _count(tile.kept))
        lse = np.where(weights.visible_count > 0, weights.log_sum_exp, 0)
        is_dropped = bool(self.call.rate)
        variance = weights.variance + lse**2 + weights.exponential * found.fused
        found.brought[keys] += (kept**2 * (variance + 1 + is_dropped)).T @ g**2
        found.storage[keys] += squares * (1 + is_dropped)
        found.storage_underflow[keys] += (factor * (1 + is_dropped * factor * weights.values)).T @ np.abs(g)
        moves = factor * (4 + 2 * (weights.visible_count + 1 + weights.moves) * weights.values)
        found.underflow[keys] += moves.T @ np.abs(g)

    def write(self, results: Mapping[str, Result], index: tuple[int, ...]) -> None:
        """Write the gradients of the keys and values where they belong."""
        for name, accumulated in (("key", self.key), ("value", self.value)):
            found = accumulated.result()
            write(results[name], index, [found.values, *found.rounding[:4]])


def _count(present: Array) -> Array:
    return np.count_nonzero(present, axis=0)[:, None]


class BiasGradient:
    """The gradient of a bias: `dS`, added up over the axes along which the bias is repeated.

    d bias_ij = dS_ij:   brought  variance(dS_ij);   of a bias with one number for all keys, that of sum_j dS_ij
    """

    def __init__(self, call: Call, shape: tuple[int, ...], *, fused: bool) -> None:
        self.shape = (1,) * (len(call.sizes.scores) - len(shape)) + shape
        self.given, self.head_count = shape, call.sizes.heads
        self.found = Accumulated(*self.shape, fused=fused)

    def add(self, batch: tuple[int, ...], head: int, tile: Tile, scored: ScoreGradient) -> None:
        """Add the queries of a tile."""
        *leading, row_count, key_count = self.shape
        keys = slice(0, 1) if key_count == 1 else tile.keys
        rows = slice(0, 1) if row_count == 1 else slice(int(tile.rows[0]), int(tile.rows[-1]) + 1)
        outer = [place if size > 1 else 0 for size, place in zip(leading, (*batch, head), strict=True)]
        index: tuple[Any, ...] = (*outer, rows, keys)
        repeated = tuple(axis for axis, size in enumerate((row_count, key_count)) if size == 1)

        def added_up(terms: Array) -> Array:
            return terms.sum(axis=repeated, keepdims=True)

        dS, length = scored.values, scored.values.shape[1]
        sums = self.found.sums[index]
        for part in reverse_parts(length) if key_count == 1 else [slice(0, length)]:
            terms = dS[:, part]
            sums.add(added_up(terms), added_up(terms**2), added_up(tile.visible[:, part].astype(float)))
        ones, is_one = np.ones((length, 1)), key_count == 1
        brought = scored.row_variance(ones, 1.0) if is_one else scored.variance()
        storage = scored.stored_row_variance(ones, 1.0) if is_one else scored.stored_variance()
        self.found.brought[index] += added_up(brought)
        self.found.storage[index] += added_up(storage)
        self.found.underflow[index] += added_up(scored.moves * tile.visible)
        self.found.storage_underflow[index] += added_up(scored.stored.moves)

    def results(self, heads: Array) -> dict[str, Result]:
        """Return the gradient of the chosen heads; nothing where they share the bias with others."""
        found = self.found.result()
        if np.array_equal(heads, np.arange(self.head_count)):
            return {"bias": _map(found, lambda array: array.reshape(self.given))}
        if self.shape[-3] == 1:
            return {}
        shape = (*self.given[:-3], len(heads), *self.given[-2:])
        return {"bias": _map(found, lambda array: array[..., heads, :, :].reshape(shape))}


class SinkGradient:
    """The gradient of the sinks of some heads.

    d sink = - sum_i P_sink D_i
    """

    def __init__(self, heads: int, *, fused: bool) -> None:
        self.found = Accumulated(heads, fused=fused)

    def add(self, place: int, scored: ScoreGradient) -> None:
        """Add the contribution of a tile of queries to one head."""
        terms = -scored.weights.sink * scored.mean  # (t,1)
        self.found.sums[place : place + 1].add(
            terms.sum(), np.sum(terms**2), np.count_nonzero(scored.weights.visible_count)
        )
        self.found.brought[place] += scored.sink_variance().sum()
        self.found.storage[place] += scored.stored_sink_variance().sum()
        self.found.underflow[place] += scored.moves.sum()
        self.found.storage_underflow[place] += np.sum(scored.weights.sink * scored.stored.moves)


def _map(result: Result, change: Callable[[Array], Array]) -> Result:
    return of(*(change(field) for field in (result.values, *result.rounding[:4])))
