"""Attention: three score functions, one softmax-weighted sum.

    weights = softmax over the visible keys of scores + bias
    output  = weights @ value

`masks.py` defines which keys are visible.

See `attention_ref.spec.attention` for the sources and for how other libraries differ. Products use `@`, because
`ops.matmul` computes float64 in float32 on the PyTorch engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras import ops

from attention_ref.keras import fused
from attention_ref.keras._arrays import Array, Arrays, check_call, describe, materialize, symbolic, tanh
from attention_ref.keras._products import products, weighted_sum
from attention_ref.keras._visibility import conjunction
from attention_ref.keras.primitives import log_sum_exp, softmax
from attention_ref.spec.attention_checks import (
    check_additive_attention,
    check_attention,
    check_multiplicative_attention,
)
from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import check_implementation
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
        s_ij = softcap * tanh(s_ij / softcap)                   if softcap is given
        s_ij = s_ij + bias_ij                                   if bias is given
        w_ij = exp(s_ij) / (sum_l exp(s_il) + exp(sink))        over the visible keys l; 0 elsewhere
        o_i  = sum_j w_ij value_j

    Query head `i` reads key/value head `i // (h/g)`.

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes; float16, bfloat16, float32 or float64.
        key: `(b,g,k,d)`; the dtype of `query`, like every floating-point argument below.
        value: `(b,g,k,v)`.
        mask: boolean, broadcasts to `(b,h,q,k)`; True where a query may attend.
        bias: added to the scores, broadcasts to `(b,h,q,k)`; -inf hides a key.
        causal: query `i` sees key `j` only if `j <= i + query_offset`.
        query_offset: the position of the first query among the keys, an integer or one for each batch row `(b,)`.
        window: `(left, right)`; query `i` sees key `j` only if `-left <= j - (i + query_offset) <= right`; None in
            place of a distance is no limit.
        key_lengths: how many keys of each batch row are not padding, integers `(b,)`; padding never affects the output.
        scale: multiplies the scores, any finite number; `1/sqrt(d)` when None.
        softcap: a soft bound of the scores, above 0; no bound when None.
        sinks: `(h,)`, one logit for each head, which is added to the denominator but has no value.
        dropout: the rate with which `dropout_mask` was drawn; kept weights are divided by `1 - dropout` and not
            normalised again.
        dropout_mask: boolean, broadcasts to `(b,h,q,k)`; True where a weight is kept.
        return_weights: also return the weights `(b,h,q,k)` before dropout.
        return_log_sum_exp: also return the logarithm of each row's denominator `(b,h,q)`.
        implementation: `"fused"`, blocks of queries, with memory linear in the lengths; `"reference"`, the formula
            above; or `"auto"`, fused if the options allow it. The fused path has no weights `(b,h,q,k)`: calls with a
            tap or `return_weights`, compiled calls on the PyTorch engine, and calls with lengths unknown to the
            compiler always take the reference path.
        tap: receives `scores` (-inf where a key is hidden) and `weights` (before dropout), `(b,h,q,k)`.

    Returns:
        The output `(b,h,q,v)`, or a tuple of the output and, in this order, the weights and the log-sum-exp that were
        requested. A query that sees no key has weights 0, output 0 and log-sum-exp -inf. float16 and bfloat16 are
        computed in float32; all results have the dtype of `query`, except that the log-sum-exp is at least float32.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Example:
        >>> query, key = ops.array([[[[0.0], [0.0]]]]), ops.array([[[[1.0], [2.0]]]])
        >>> value = ops.array([[[[2.0], [4.0]]]])
        >>> print(ops.convert_to_numpy(attention(query, key, value, causal=True)).round(3))
        [[[[2.]
           [3.]]]]
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask, "sinks": sinks}
    options = {"causal": causal, "window": window, "dropout": dropout, "scale": scale, "softcap": softcap}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp, "tap": tap}
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
    """Additive attention (Bahdanau): the score of a key is a tanh layer.

        s_ij = score_kernel . tanh(query_i query_kernel + key_j key_kernel) + bias_ij

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes; float16, bfloat16, float32 or float64.
        key: `(b,g,k,e)`; the dtype of `query`, like every floating-point argument below.
        value: `(b,g,k,v)`.
        score_kernel: `(a,)`, the output weights of the tanh layer.
        query_kernel: `(d,a)`; the identity when None, which needs `d` equal to `a`.
        key_kernel: `(e,a)`; the identity when None, which needs `e` equal to `a`.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`; the tanh layer takes memory for `(b,h,q,k,a)`.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Example:
        >>> query, key = ops.array([[[[0.0]]]]), ops.array([[[[0.0], [0.0]]]])
        >>> value = ops.array([[[[2.0], [4.0]]]])
        >>> print(ops.convert_to_numpy(additive_attention(query, key, value, score_kernel=ops.array([1.0]))).round(3))
        [[[[3.]]]]
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    arrays |= {"score_kernel": score_kernel, "query_kernel": query_kernel, "key_kernel": key_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp, "tap": tap}
    arrays, _ = check_call("additive_attention", check_additive_attention, arrays, options)
    dtype, arrays = describe(arrays["query"]).dtype, materialize(arrays)

    left = _project(arrays["query"], arrays["query_kernel"])[..., :, None, :]  # (b,h,q,1,a)
    right = _project(arrays["key"], arrays["key_kernel"])[..., None, :, :]  # (b,h,1,k,a)
    sums = left + right  # (b,h,q,k,a)
    sums = ops.where(ops.isnan(sums), ops.stop_gradient(sums), sums)  # or tanh spreads NaN to all gradients
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
    """Multiplicative attention (Luong): the score of a key is a bilinear form, without a scale.

        s_ij = query_i score_kernel key_j + bias_ij             "general"
        s_ij = query_i key_j + bias_ij                          "dot", without score_kernel

    Arguments:
        query: `(b,h,q,d)`; any number of leading batch axes; float16, bfloat16, float32 or float64.
        key: `(b,g,k,e)`; the dtype of `query`, like every floating-point argument below.
        value: `(b,g,k,v)`.
        score_kernel: `(d,e)`; the identity when None, which needs `d` equal to `e`.
        mask, bias, causal, query_offset, window, key_lengths, dropout, dropout_mask, return_weights,
            return_log_sum_exp, tap: as in `attention`.

    Returns:
        As `attention`.

    Raises:
        SpecificationError: for invalid or inconsistent shapes, dtypes or options.

    Example:
        >>> query, key = ops.array([[[[0.0]]]]), ops.array([[[[1.0], [2.0]]]])
        >>> print(ops.convert_to_numpy(multiplicative_attention(query, key, key)).round(3))
        [[[[1.5]]]]
    """
    arrays = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    arrays |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    arrays |= {"score_kernel": score_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    options |= {"return_weights": return_weights, "return_log_sum_exp": return_log_sum_exp, "tap": tap}
    arrays, _ = check_call("multiplicative_attention", check_multiplicative_attention, arrays, options)
    dtype, arrays = describe(arrays["query"]).dtype, materialize(arrays)

    scores = products(_project(arrays["query"], arrays["score_kernel"]), arrays["key"])  # (b,h,q,k)
    return _attend(scores, arrays, options, dtype, tap)


def _project(rows: Array, kernel: Array | None) -> Array:
    """Multiply rows by a kernel; return them unchanged when it is None."""
    return rows if kernel is None else products(rows, ops.swapaxes(kernel, -1, -2))


def _attend(scores: Array, arrays: Arrays, options: Mapping[str, Any], dtype: str, tap: Tap | None) -> Any:
    """Add the bias, take the softmax over the visible keys and sum their values; cast the results to `dtype`."""
    bias, sinks, dropout_mask = (arrays.get(name) for name in ("bias", "sinks", "dropout_mask"))
    if bias is not None:
        scores = scores + bias
    visible = conjunction(
        ops.shape(scores),
        mask=arrays["mask"],
        bias=bias,
        causal=options["causal"],
        query_offset=arrays["query_offset"],
        window=options["window"],
        key_lengths=None,
    )  # (b,h,q,k)
    if sinks is not None:
        sinks = sinks[:, None]  # (h,1)
    weights = softmax(scores, visible=visible, sinks=sinks)  # (b,h,q,k)
    if tap is not None:
        tap("scores", ops.where(visible, scores, -math.inf))
        tap("weights", weights)
    kept, seen = weights, visible
    if dropout_mask is not None:
        kept = ops.where(dropout_mask, weights / (1 - float(options["dropout"])), 0)
        seen = ops.logical_and(visible, dropout_mask)
    output = weighted_sum(kept, arrays["value"], seen)  # (b,h,q,v)

    results = [ops.cast(output, dtype)]  # (b,h,q,v)
    if options["return_weights"]:
        results.append(ops.cast(weights, dtype))  # (b,h,q,k)
    if options["return_log_sum_exp"]:
        results.append(log_sum_exp(scores, visible=visible, sinks=sinks))  # (b,h,q)
    return results[0] if len(results) == 1 else tuple(results)
