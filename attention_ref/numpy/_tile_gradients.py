"""The gradients of attention in tiles, with memory linear in the lengths.

Every tile of queries makes two passes over the keys. The first computes the maximum `m` and the denominator `l` of each
row, and the sum `D`. With `e = exp(s - m)` and `c` the cotangent over `1 - dropout`:

    dw_ij = kept_ij (c_i . value_j)
    D_i   = sum_j e_ij dw_ij / l_i

The second computes `e` and `dw` again in the same way, so that the score gradients of a row with one visible key are
exactly 0:

    dvalue_j = sum_i kept_ij e_ij c_i / l_i
    ds_ij    = e_ij (dw_ij - D_i) / l_i

and from there as in `gradients.py`. Source: Dao, "FlashAttention-2" (2023), algorithm 2, where `D` is taken from the
output.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy import _threads
from attention_ref.numpy._arrays import Array, Arrays
from attention_ref.numpy._softmax import RunningSoftmax, weigh_tiles
from attention_ref.numpy._tiles import KEYS, QUERIES, Head, Heads, Scale, of_head, part
from attention_ref.spec.shapes import Sizes


def tile_gradients(
    arrays: Arrays, sizes: Sizes, options: Mapping[str, Any], cotangent: Array
) -> dict[str, Array] | None:
    """Compute the gradients of a checked call.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes: of the call.
        options: of the call.
        cotangent: `(b,h,q,v)`, in at least float32.

    Returns:
        The gradients of query, key, value and, where given, bias and sinks, in their shapes and the dtype of
        `cotangent`; None if a NaN or an infinity occurs, as in `fused.attention`.
    """
    heads, scale, bias = Heads(arrays, sizes, options), Scale.of(sizes, options), arrays["bias"]
    repeats, names = sizes.heads // sizes.groups, ("query", "key", "value", "bias")
    gradients = {n: np.zeros(arrays[n].shape, cotangent.dtype) for n in names if arrays[n] is not None}
    sinks = np.zeros((*sizes.batch, sizes.heads), cotangent.dtype)

    @np.errstate(all="ignore")  # a thread does not inherit the error state of its caller
    def differentiate(group: tuple[int, ...]) -> bool:
        """Add the gradients of the query heads that share a key/value head."""
        *row, first = group
        for number in range(first * repeats, (first + 1) * repeats):
            index = (*row, number)
            of_one = _HeadGradients(
                heads.head(index),
                scale,
                query=gradients["query"][index],
                key=gradients["key"][group],
                value=gradients["value"][group],
                bias=of_head(gradients.get("bias"), index),
            )
            if not of_one.add(cotangent[index] / (1 - options["dropout"])):
                return False
            sinks[index] = of_one.sink
        return True

    groups = list(itertools.product(*map(range, (*sizes.batch, sizes.groups))))
    is_shared = bias is not None and bias.shape[:-2] != (*sizes.batch, sizes.heads)  # heads share elements
    work = 3 * math.prod(sizes.scores) * (sizes.head_size + sizes.value_size)
    if not _threads.run(differentiate, groups, 1 if is_shared else _threads.threads_for(work)):
        return None
    if arrays["sinks"] is not None:
        gradients["sinks"] = sinks.sum(axis=tuple(range(len(sizes.batch))))
    return gradients if all(np.isfinite(gradient).all() for gradient in gradients.values()) else None


class _HeadGradients:
    """The gradients of one query head, added to the given arrays, which have the head's shapes."""

    def __init__(self, head: Head, scale: Scale, *, query: Array, key: Array, value: Array, bias: Array | None) -> None:
        self.head, self.scale = head, scale
        self.query, self.key, self.value, self.bias = query, key, value, bias
        self.sink = 0.0
        self.scratch = np.empty((2, QUERIES * KEYS), query.dtype)

    def add(self, cotangent: Array) -> bool:
        """Add the gradients for a cotangent over `1 - dropout`, `(q,v)`; return whether all results so far are
        finite.
        """
        length = len(cotangent)
        for start in range(0, length, QUERIES):
            queries = slice(start, min(start + QUERIES, length))
            if not self._add_tile(queries, cotangent[queries]):
                return False
        return True

    def _add_tile(self, queries: slice, cotangent: Array) -> bool:
        head, scale = self.head, self.scale

        def weigh(weights: Array, keys: slice) -> Array:
            return np.einsum("qk,qk->q", weights, self._weight_gradient(cotangent, keys))[:, None]

        softmax = RunningSoftmax(len(cotangent), 1, math.inf, cotangent.dtype)
        attended = weigh_tiles(head, queries, scale, self.scratch[0], softmax, weigh)
        if attended is None:
            return False
        expected = attended.sums  # (q,1)
        if head.sink is not None:
            weights = np.where(np.isneginf(attended.log_sums), 0, np.exp(head.sink - attended.log_sums))
            self.sink -= float(weights @ expected[:, 0])

        rows = scale.queries(head.query[queries])
        rows_over_total, cotangent_over_total = rows / attended.total, cotangent / attended.total
        query_gradient = np.zeros_like(rows)
        for keys in head.visible_tiles(queries):
            kept, bias = (part(array, queries, keys) for array in (head.dropout_mask, self.bias))
            exponentials = scale.scores(rows, head.key[keys], self.scratch[0])
            slope = None if scale.softcap is None else 1 - (exponentials / scale.softcap) ** 2
            head.add_bias_and_hide(exponentials, queries, keys)
            exponentials -= attended.maximum
            np.exp(exponentials, out=exponentials)

            gradient = self._weight_gradient(cotangent, keys)
            if kept is not None:
                gradient *= kept
            gradient -= expected
            gradient *= exponentials
            if kept is not None:
                exponentials *= kept
            self.value[keys] += exponentials.T @ cotangent_over_total
            if bias is not None:
                _add_summed(bias, gradient / attended.total)
            if slope is not None:
                gradient *= slope
            if scale.of_scores != 1:
                gradient *= scale.of_scores
            query_gradient += gradient @ head.key[keys]
            self.key[keys] += gradient.T @ rows_over_total
        self.query[queries] = query_gradient * (scale.of_queries / attended.total)
        return True

    def _weight_gradient(self, cotangent: Array, keys: slice) -> Array:
        """Multiply a cotangent and values: `(q,k)`, in the second half of the scratch memory."""
        shape = (len(cotangent), keys.stop - keys.start)
        memory = self.scratch[1, : math.prod(shape)].reshape(shape)
        return np.matmul(cotangent, self.head.value[keys].T, out=memory)


def _add_summed(target: Array, gradient: Array) -> None:
    """Add a gradient `(q,k)` to that of an array that was broadcast to `(q,k)`."""
    missing = gradient.ndim - target.ndim
    stretched = [axis for axis, size in enumerate(target.shape, start=missing) if size == 1]
    target += np.sum(gradient, axis=(*range(missing), *stretched), keepdims=True).reshape(target.shape)
