"""Attention by blocks of queries, with memory linear in the lengths.

Keys that no query of a block sees are skipped, so that the cost of a window depends on its width.
`ops.dot_product_attention` is not used: it computes float64 in float32, differs in rows that see no key, and takes
memory for all scores on the TensorFlow and JAX engines.

A NaN or an infinity must not affect queries that do not see it. If queries, keys and values are finite and their
products cannot overflow, a block takes two matrix products; otherwise six. A compiled function contains both paths and
chooses when it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from attention_ref.keras._arrays import (
    Array,
    Arrays,
    describe,
    is_traced,
    tanh,
    torch_compiles,
    values,
    widen,
    without_padding,
)
from attention_ref.keras._blocks import Block, Hidden, Visibility, by_blocks, cut, part, with_one_batch_axis
from attention_ref.keras._products import products, weighted_sum
from attention_ref.keras.primitives import log_sum_exp, softmax
from attention_ref.spec.shapes import Sizes


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether a call can be computed here: if it does not request weights, and its sizes are known.

    TensorFlow graphs take the reference path, because XLA cannot compile the gradient of a conditional.
    """
    query, key, value = (arrays[name] for name in ("query", "key", "value"))
    if options["return_weights"] or torch_compiles():
        return False
    known = (*query.shape[-3:], *key.shape[-3:], value.shape[-1])
    has_sizes = all(isinstance(size, int) for size in known)  # an open size is None, or a symbol of JAX
    if not has_sizes or 0 in known or 0 in query.shape:
        return False
    return keras.config.backend() != "tensorflow" or not is_traced(query)


def attention(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute a checked call of attention.

    Arguments:
        arrays: the arguments, as `check_call` returns them.
        sizes: of the call.
        options: of the call.

    Returns:
        The output `(b,h,q,v)` and, if requested, the log-sum-exp `(b,h,q)`.
    """
    if arrays["key_lengths"] is not None:
        arrays = arrays | without_padding(arrays)
    call, query = _Call(arrays, sizes, options), arrays["query"]
    is_bounded = _are_bounded(arrays, options)
    found = values(is_bounded)
    if found is None:
        results = ops.cond(is_bounded, call.attend, call.attend_carefully)
    else:
        results = call.attend() if found[0] else call.attend_carefully()
    results = [ops.cast(results[0], describe(query).dtype), *results[1:]]
    if len(query.shape) != 4:
        shape = ops.shape(query)[:-1]
        results = [ops.reshape(result, (*shape, *result.shape[3:])) for result in results]
    return results


class _Call:
    """A call with one batch axis: query `(b,h,q,d)`, key `(b,g,k,d)`, value `(b,g,k,v)`, in at least float32."""

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.sizes, self.options, self.visibility = sizes, options, Visibility(arrays, sizes, options)
        self.query, self.key, self.value = (_flat(widen(arrays[name])) for name in ("query", "key", "value"))
        bias, sinks = arrays["bias"], arrays["sinks"]
        self.bias = None if bias is None else with_one_batch_axis(widen(bias), sizes.batch)
        self.sinks = None if sinks is None else widen(sinks)[:, None]  # (h,1)
        self.dropout_mask = with_one_batch_axis(arrays["dropout_mask"], sizes.batch)
        self.blocks = self.visibility.blocks((self.query.shape[0] or 1) * sizes.heads)

    def attend(self) -> list[Array]:
        """Compute the results for finite numbers."""
        return by_blocks(self._block, self.visibility, self.blocks, self.query)

    def attend_carefully(self) -> list[Array]:
        """Compute the results for any numbers."""
        return by_blocks(self._careful_block, self.visibility, self.blocks, self.query)

    def _block(self, block: Block, hidden: Hidden) -> list[Array]:
        """Compute the results of a block, all of whose scores are finite: `(b,h,q,v)` and `(b,h,q)`."""
        query, key, value = self._parts(block)
        scores = self._scores(block, query, lambda query: _grouped_products(query, ops.swapaxes(key, -1, -2)))
        seen, is_empty = self._seen(block, hidden), None
        if seen is not None:
            is_empty = ops.logical_not(ops.any(seen, axis=-1, keepdims=True))  # (b|1,h|1,q|1,1)
            elsewhere = ops.where(is_empty, ops.zeros((), scores.dtype), -math.inf)
            scores = ops.where(seen, scores, elsewhere)  # 0 in an empty row, whose softmax would be NaN
        weights, log_sums = self._softmax(scores)
        output = _grouped_products(self._dropped(block, weights), value)
        if is_empty is None:
            return [output, *log_sums]
        return [ops.where(is_empty, 0, output), *(ops.where(is_empty[..., 0], -math.inf, x) for x in log_sums)]

    def _softmax(self, scores: Array) -> tuple[Array, list[Array]]:
        """Return the weights `(b,h,q,k)` and, if requested, the log-sum-exp `(b,h,q)` of finite scores."""
        if self.sinks is None and not self.options["return_log_sum_exp"] and scores.shape[-1] != 1:  # it warns of 1
            return ops.softmax(scores, axis=-1), []
        shift = ops.max(ops.stop_gradient(scores), axis=-1, keepdims=True)  # (b,h,q,1)
        if self.sinks is not None:
            shift = ops.maximum(shift, ops.stop_gradient(self.sinks)[..., None])
        exponentials = ops.exp(scores - shift)
        denominator = ops.sum(exponentials, axis=-1, keepdims=True)
        if self.sinks is not None:
            denominator = denominator + ops.exp(self.sinks[..., None] - shift)
        log_sums = [(shift + ops.log(denominator))[..., 0]] if self.options["return_log_sum_exp"] else []
        return exponentials / denominator, log_sums

    def _seen(self, block: Block, hidden: Hidden) -> Array | None:
        """Return which keys of the block its queries see, including the bias: `(b|1,h|1,q|1,k|1)`, or None for all."""
        visible = self.visibility.visible(block, hidden)
        if self.bias is None:
            return visible
        is_added = cut(self.bias, block) != -math.inf
        return is_added if visible is None else ops.logical_and(visible, is_added)

    def _careful_block(self, block: Block, hidden: Hidden) -> list[Array]:
        """Compute the results of a block by the formula of `attention`, for any numbers."""
        query, key, value = self._parts(block)
        repeats = query.shape[1] // key.shape[1]
        key, value = (ops.repeat(array, repeats, axis=1) for array in (key, value))
        scores = self._scores(block, query, lambda query: products(query, key))
        seen = self._seen(block, hidden)
        seen = visible = ops.broadcast_to(True if seen is None else seen, ops.shape(scores))
        weights = softmax(scores, visible=visible, sinks=self.sinks)
        if self.dropout_mask is not None:
            seen = ops.logical_and(visible, cut(self.dropout_mask, block))
        results = [weighted_sum(self._dropped(block, weights), value, seen)]
        if self.options["return_log_sum_exp"]:
            results.append(log_sum_exp(scores, visible=visible, sinks=self.sinks))
        return results

    def _parts(self, block: Block) -> tuple[Array, Array, Array]:
        """Return the queries, keys and values of a block."""
        keys_and_values = (part(array, 2, block.first, block.width) for array in (self.key, self.value))
        return part(self.query, 2, block.start, block.rows), *keys_and_values

    def _scores(self, block: Block, query: Array, multiply: Callable[[Array], Array]) -> Array:
        """Scale and cap the products of a block and add the bias.

        A scale that is a power of two, as of head sizes 16, 64 and 256, is exact, and so multiplies the queries, which
        are fewer numbers.
        """
        scale, softcap = self.options["scale"], self.options["softcap"]
        root = math.sqrt(self.sizes.head_size)
        if scale is None and math.frexp(root)[0] == 0.5:
            scores = multiply(query / root)  # (b,h,q,k)
        else:
            scores = multiply(query)
            scores = scores / root if scale is None else scores * float(scale)
        if softcap is not None:
            scores = float(softcap) * tanh(scores / float(softcap))
        return scores if self.bias is None else scores + cut(self.bias, block)

    def _dropped(self, block: Block, weights: Array) -> Array:
        """Apply the dropout mask to the weights of a block."""
        if self.dropout_mask is None:
            return weights
        return ops.where(cut(self.dropout_mask, block), weights / (1 - float(self.options["dropout"])), 0)


def _grouped_products(left: Array, right: Array) -> Array:
    """Multiply `(b,h,q,x)` by `(b,g,x,y)`, where query head `i` reads key/value head `i // (h/g)`."""
    batch, heads, rows, inner = ops.shape(left)
    groups, columns = right.shape[1], right.shape[-1]
    if heads == groups:
        return left @ right
    left = ops.reshape(left, (batch, groups, heads // groups * rows, inner))  # (b,g,h/g*q,x)
    return ops.reshape(left @ right, (batch, heads, rows, columns))


def _are_bounded(arrays: Arrays, options: Mapping[str, Any]) -> Array:
    """Return whether queries, keys and values are finite, and no product of queries and keys can overflow: a scalar.

    By the Cauchy-Schwarz inequality, no product exceeds the norm of all queries times that of all keys.
    """
    query, key, value = (ops.stop_gradient(widen(arrays[name])) for name in ("query", "key", "value"))
    norms = ops.sqrt(ops.sum(ops.square(query))) * ops.sqrt(ops.sum(ops.square(key)))
    scale = 1.0 if options["scale"] is None else max(1.0, abs(float(options["scale"])))
    largest = float(np.finfo(describe(query).dtype).max)
    return ops.logical_and(norms < largest / (4 * scale), ops.isfinite(ops.sum(value)))


def _flat(array: Array) -> Array:
    """Flatten the batch axes: `(...,h,l,d)` to `(b,h,l,d)`."""
    return array if len(array.shape) == 4 else ops.reshape(array, (-1, *array.shape[-3:]))
