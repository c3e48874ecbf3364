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

import numpy as np
from keras import ops

from attention_ref.keras._arrays import (
    Array,
    Arrays,
    describe,
    tanh,
    torch_compiles,
    widen,
    without_padding,
)
from attention_ref.keras._blocks import LOOPS, Block, Hidden, Visibility, cut, part, with_one_batch_axis
from attention_ref.keras._gradients import ByBlocks, Numbers, choose, number_of_scores
from attention_ref.keras._products import products, weighted_sum
from attention_ref.keras.primitives import log_sum_exp, softmax
from attention_ref.spec.shapes import Sizes


def supports(arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether a call can be computed here: if it does not request weights, and its sizes are known."""
    query, key, value = (arrays[name] for name in ("query", "key", "value"))
    if options["return_weights"] or torch_compiles():
        return False
    known = (*query.shape[-3:], *key.shape[-3:], value.shape[-1])
    has_sizes = all(isinstance(size, int) for size in known)  # an open size is None, or a symbol of JAX
    return has_sizes and 0 not in known and 0 not in query.shape


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
    results = call.attend(_are_bounded(arrays, options))
    results = [ops.cast(results[0], describe(query).dtype), *results[1:]]
    if len(query.shape) != 4:
        shape = ops.shape(query)[:-1]
        results = [ops.reshape(result, (*shape, *result.shape[3:])) for result in results]
    return results


class _Call:
    """A call with one batch axis: query `(b,h,q,d)`, key `(b,g,k,d)`, value `(b,g,k,v)`, in at least float32."""

    def __init__(self, arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> None:
        self.sizes, self.options, self.visibility = sizes, options, Visibility(arrays, sizes, options)
        self.numbers = {name: _flat(widen(arrays[name])) for name in ("query", "key", "value")}
        bias, sinks = arrays["bias"], arrays["sinks"]
        if bias is not None:
            self.numbers["bias"] = with_one_batch_axis(widen(bias), sizes.batch)
        if sinks is not None:
            self.numbers["sinks"] = widen(sinks)[:, None]  # (h,1)
        self.dropout_mask = with_one_batch_axis(arrays["dropout_mask"], sizes.batch)

    def attend(self, is_bounded: Array) -> list[Array]:
        """Compute the results, by two products for each block if the numbers are bounded, otherwise by six."""
        query, key = self.numbers["query"], self.numbers["key"]
        blocks = self.visibility.blocks((query.shape[0] or 1) * self.sizes.heads)
        by_two = ByBlocks(self._block, self.visibility, blocks, LOOPS)
        by_six = ByBlocks(self._careful_block, self.visibility, blocks, 1)
        return choose(is_bounded, by_two, by_six, self.numbers, number_of_scores(query, key))

    def _block(self, numbers: Numbers, block: Block, hidden: Hidden) -> list[Array]:
        """Compute the results of a block, all of whose scores are finite: `(b,h,q,v)` and `(b,h,q)`."""
        query, key, value = _parts(numbers, block)
        bias, sinks = numbers.get("bias"), numbers.get("sinks")
        scores = self._scores(block, query, bias, lambda query: _grouped_products(query, ops.swapaxes(key, -1, -2)))
        seen, is_empty = self._seen(block, hidden, bias), None
        if seen is not None:
            is_empty = ops.logical_not(ops.any(seen, axis=-1, keepdims=True))  # (b|1,h|1,q|1,1)
            elsewhere = ops.where(is_empty, ops.zeros((), scores.dtype), -math.inf)
            scores = ops.where(seen, scores, elsewhere)  # 0 in an empty row, whose softmax would be NaN
        weights, log_sums = self._softmax(scores, sinks)
        output = _grouped_products(self._dropped(block, weights), value)
        if is_empty is None:
            return [output, *log_sums]
        return [ops.where(is_empty, 0, output), *(ops.where(is_empty[..., 0], -math.inf, x) for x in log_sums)]

    def _softmax(self, scores: Array, sinks: Array | None) -> tuple[Array, list[Array]]:
        """Return the weights `(b,h,q,k)` and, if requested, the log-sum-exp `(b,h,q)` of finite scores."""
        if sinks is None and not self.options["return_log_sum_exp"] and scores.shape[-1] != 1:  # it warns of 1
            return ops.softmax(scores, axis=-1), []
        shift = ops.max(ops.stop_gradient(scores), axis=-1, keepdims=True)  # (b,h,q,1)
        if sinks is not None:
            shift = ops.maximum(shift, ops.stop_gradient(sinks)[..., None])
        exponentials = ops.exp(scores - shift)
        denominator = ops.sum(exponentials, axis=-1, keepdims=True)
        if sinks is not None:
            denominator = denominator + ops.exp(sinks[..., None] - shift)
        log_sums = [(shift + ops.log(denominator))[..., 0]] if self.options["return_log_sum_exp"] else []
        return exponentials / denominator, log_sums

    def _seen(self, block: Block, hidden: Hidden, bias: Array | None) -> Array | None:
        """Return which keys of the block its queries see, including the bias: `(b|1,h|1,q|1,k|1)`, or None for all."""
        visible = self.visibility.visible(block, hidden)
        if bias is None:
            return visible
        is_added = cut(bias, block) != -math.inf
        return is_added if visible is None else ops.logical_and(visible, is_added)

    def _careful_block(self, numbers: Numbers, block: Block, hidden: Hidden) -> list[Array]:
        """Compute the results of a block by the formula of `attention`, for any numbers."""
        query, key, value = _parts(numbers, block)
        bias, sinks = numbers.get("bias"), numbers.get("sinks")
        repeats = query.shape[1] // key.shape[1]
        key, value = (ops.repeat(array, repeats, axis=1) for array in (key, value))
        scores = self._scores(block, query, bias, lambda query: products(query, key))
        seen = self._seen(block, hidden, bias)
        seen = visible = ops.broadcast_to(True if seen is None else seen, ops.shape(scores))
        weights = softmax(scores, visible=visible, sinks=sinks)
        if self.dropout_mask is not None:
            seen = ops.logical_and(visible, cut(self.dropout_mask, block))
        results = [weighted_sum(self._dropped(block, weights), value, seen)]
        if self.options["return_log_sum_exp"]:
            results.append(log_sum_exp(scores, visible=visible, sinks=sinks))
        return results

    def _scores(self, block: Block, query: Array, bias: Array | None, multiply: Callable[[Array], Array]) -> Array:
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
        return scores if bias is None else scores + cut(bias, block)

    def _dropped(self, block: Block, weights: Array) -> Array:
        """Apply the dropout mask to the weights of a block."""
        if self.dropout_mask is None:
            return weights
        return ops.where(cut(self.dropout_mask, block), weights / (1 - float(self.options["dropout"])), 0)


def _parts(numbers: Numbers, block: Block) -> tuple[Array, Array, Array]:
    """Return the queries, keys and values of a block."""
    keys_and_values = (part(numbers[name], 2, block.first, block.width) for name in ("key", "value"))
    return part(numbers["query"], 2, block.start, block.rows), *keys_and_values


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
