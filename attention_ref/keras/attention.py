"""Attention: three ways to score a key, one way to attend.

    weights = softmax over the visible keys of scores + bias
    output  = weights @ value

The sources, and how other libraries differ, stand in `attention_ref.spec.attention`. Products are written with `@`,
for `ops.matmul` computes float64 in float32 on the PyTorch engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras import ops

from attention_ref.keras import fused
from attention_ref.keras._arrays import Array, Arrays, check_call, describe, materialize, symbolic, tanh
from attention_ref.keras._products import products, weighted_sum
from attention_ref.keras.masks import visible_keys
from attention_ref.keras.primitives import log_sum_exp, softmax
from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import (
    check_additive_attention,
    check_attention,
    check_implementation,
    check_multiplicative_attention,
)
from attention_ref.spec.taps import Tap


@symbolic
def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    implementation: str = "auto",
    tap: Tap | None = None,
) -> Any:
    """Scaled dot-product attention.

        s_ij = scale * sum_d query_id key_jd                    scale
        s_ij = softcap * tanh(s_ij / softcap)                   softcap, where given
        s_ij = s_ij + bias_ij                                   bias, where given
        w_ij = exp(s_ij) / (sum_l exp(s_il) + exp(sink))        over the visible keys l; 0 elsewhere
        o_i  = sum_j w_ij value_j

    Query head `i` reads key/value head `i // (h/g)`.

    Arguments:
        query: `(b,h,q,d)`, float16, bfloat16, float32 or float64; any number of leading batch sizes.
        key: `(b,g,k,d)`, of the dtype of `query`, as are all numbers below.
        value: `(b,g,k,v)`.
        mask: boolean, broadcasts to `(b,h,q,k)`; True where a query may attend.
        bias: numbers added to the scores, broadcasts to `(b,h,q,k)`; -inf hides a key.
        causal: let query `i` see key `j` only if `j <= i + query_offset`.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`.
        window: `(left, right)`, inclusive distances around `i + query_offset`; None is open.
        key_lengths: how many keys are real in each batch row, integers `(b,)`. The rest never reaches the output.
        scale: a factor of the scores, any finite number; `1/sqrt(d)` when None.
        softcap: bounds the scores smoothly to (-softcap, softcap).
        sinks: `(h,)`, a logit for each head that joins the denominator and carries no value.
        dropout: the rate that `dropout_mask` was drawn with. What is kept is divided by `1 - dropout`; the weights are
            not normalised again.
        dropout_mask: boolean, broadcasts to `(b,h,q,k)`; True where a weight is kept.
        return_weights: return the weights `(b,h,q,k)` too, as they are before dropout.
        return_log_sum_exp: return the logarithm of the denominators `(b,h,q)` too.
        implementation: `"fused"`, blocks of queries, in memory linear in the lengths; `"reference"`, the formula as it
            is written below; or `"auto"`, fused where the options allow. Weights `(b,h,q,k)` are what a fused path
            avoids: a tap and `return_weights` take the reference path whatever is chosen, and so do compiled
            calls on the TensorFlow and PyTorch engines and lengths that a compiler does not know.
        tap: is told of `scores` (-inf where hidden) and `weights` (before dropout), `(b,h,q,k)`.

    Returns:
        The output `(b,h,q,v)`; with `return_weights` or `return_log_sum_exp` a tuple of the output and these, in that
        order. A query that sees no key has weights 0, output 0 and log-sum-exp -inf. float16 and bfloat16 are computed
        in float32; all results have the dtype of `query`, but for a log-sum-exp of at least float32.

    Raises:
        SpecificationError: for shapes, dtypes or options that have no meaning.
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask, "sinks": sinks}
    options = {"causal": causal, "window": window, "dropout": dropout, "scale": scale, "softcap": softcap}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp}
    check_implementation("attention", implementation)
    arrays, sizes = check_call("attention", check_attention, arrays, options)
    if implementation != "reference" and tap is None and fused.supports(arrays, options):
        results = fused.attention(arrays, sizes, options)
        if results is not None:
            return results[0] if len(results) == 1 else tuple(results)

    dtype, arrays = describe(arrays["query"]).dtype, materialize(arrays)
    query, key = arrays["query"], arrays["key"]
    scores = products(query, key)  # (b,h,q,k)
    scores = scores / math.sqrt(key.shape[-1]) if scale is None else scores * float(scale)
    if softcap is not None:
        scores = float(softcap) * tanh(scores / float(softcap))
    return _attend(scores, arrays, options, dtype, tap)


@symbolic
def additive_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    score_kernel: Any,
    query_kernel: Any = None,
    key_kernel: Any = None,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    tap: Tap | None = None,
) -> Any:
    """Additive attention: a key is scored by a tanh layer (Bahdanau).

        s_ij = score_kernel . tanh(query_i query_kernel + key_j key_kernel) + bias_ij

    Arguments:
        query: `(b,h,q,d)`, float16, bfloat16, float32 or float64; any number of leading batch sizes.
        key: `(b,g,k,e)`, of the dtype of `query`, as are all numbers below.
        value: `(b,g,k,v)`.
        score_kernel: `(a,)`, the layer's output weights.
        query_kernel: `(d,a)`; without it `d` must be `a`, and the queries are taken as they are.
        key_kernel: `(e,a)`; without it `e` must be `a`, and the keys are taken as they are.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`. The tanh layer takes memory for `(b,h,q,k,a)`.

    Raises:
        SpecificationError: for shapes, dtypes or options that have no meaning.
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    arrays |= {"score_kernel": score_kernel, "query_kernel": query_kernel, "key_kernel": key_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp}
    arrays, _ = check_call("additive_attention", check_additive_attention, arrays, options)
    dtype, arrays = describe(arrays["query"]).dtype, materialize(arrays)

    left = _project(arrays["query"], arrays["query_kernel"])[..., :, None, :]  # (b,h,q,1,a)
    right = _project(arrays["key"], arrays["key_kernel"])[..., None, :, :]  # (b,h,1,k,a)
    sums = left + right  # (b,h,q,k,a)
    sums = ops.where(ops.isnan(sums), ops.stop_gradient(sums), sums)  # tanh would give it to the gradients of every row
    scores = products(tanh(sums), arrays["score_kernel"][None])[..., 0]  # (b,h,q,k)
    return _attend(scores, arrays, options, dtype, tap)


@symbolic
def multiplicative_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    score_kernel: Any = None,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    return_log_sum_exp: bool = False,
    tap: Tap | None = None,
) -> Any:
    """Multiplicative attention: a key is scored by a bilinear form, without a scale (Luong).

        s_ij = query_i score_kernel key_j + bias_ij             "general"
        s_ij = query_i key_j + bias_ij                          "dot", without score_kernel

    Arguments:
        query: `(b,h,q,d)`, float16, bfloat16, float32 or float64; any number of leading batch sizes.
        key: `(b,g,k,e)`, of the dtype of `query`, as are all numbers below.
        value: `(b,g,k,v)`.
        score_kernel: `(d,e)`; without it `d` must be `e`.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`.

    Raises:
        SpecificationError: for shapes, dtypes or options that have no meaning.
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    arrays |= {"score_kernel": score_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp}
    arrays, _ = check_call("multiplicative_attention", check_multiplicative_attention, arrays, options)
    dtype, arrays = describe(arrays["query"]).dtype, materialize(arrays)

    scores = products(_project(arrays["query"], arrays["score_kernel"]), arrays["key"])  # (b,h,q,k)
    return _attend(scores, arrays, options, dtype, tap)


def _project(rows: Array, kernel: Array | None) -> Array:
    """Multiply rows by a kernel; without a kernel they stay as they are."""
    return rows if kernel is None else products(rows, ops.swapaxes(kernel, -1, -2))


def _attend(scores: Array, arrays: Arrays, options: Mapping[str, Any], dtype: str, tap: Tap | None) -> Any:
    """Add the bias, weigh the visible keys, and add up their values; the results are of `dtype`."""
    bias, sinks, dropout_mask = (arrays.get(name) for name in ("bias", "sinks", "dropout_mask"))
    if bias is not None:
        scores = scores + bias
    visible = visible_keys(
        ops.shape(scores),
        mask=arrays["mask"],
        bias=bias,
        causal=options["causal"],
        query_offset=arrays["query_offset"],
        window=options["window"],
    )
    if sinks is not None:
        sinks = sinks[:, None]  # (h,1)
    weights = softmax(scores, visible=visible, sinks=sinks)
    if tap is not None:
        tap("scores", ops.where(visible, scores, -math.inf))
        tap("weights", weights)
    kept, seen = weights, visible
    if dropout_mask is not None:
        kept = ops.where(dropout_mask, weights / (1 - float(options["dropout"])), 0)
        seen = ops.logical_and(visible, dropout_mask)
    output = weighted_sum(kept, arrays["value"], seen)

    results = [ops.cast(output, dtype)]  # (b,h,q,v)
    if options["return_weights"]:
        results.append(ops.cast(weights, dtype))
    if options["return_log_sum_exp"]:
        results.append(log_sum_exp(scores, visible=visible, sinks=sinks))
    return results[0] if len(results) == 1 else tuple(results)
