"""The derivative of attention in closed form, for NumPy differentiates nothing by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, Arrays, as_array, prepare, widen
from attention_ref.numpy.masks import visible_keys
from attention_ref.numpy.primitives import log_sum_exp, softmax
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import check_attention


@np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
def attention_gradients(
    query: Any,
    key: Any,
    value: Any,
    cotangent: Any,
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
) -> dict[str, Array]:
    """Give the gradients of `sum(cotangent * attention(query, key, value, ...))`.

        dw_ij    = dropped_ij * (cotangent_i . value_j)         dropped = dropout_mask / (1 - dropout), 1 without
        ds_ij    = w_ij * (dw_ij - sum_l w_il dw_il)            the gradient of the bias
        dsink    = -sum_i w_i,sink sum_l w_il dw_il             w_i,sink = exp(sink - log_sum_exp_i)
        dc_ij    = ds_ij * (1 - (c_ij / softcap)^2)             c the capped scores; without softcap dc = ds
        dquery_i = scale * sum_j dc_ij key_j
        dkey_j   = scale * sum_i dc_ij query_i
        dvalue_j = sum_i dropped_ij w_ij cotangent_i

    A key/value head adds up the gradients of the query heads that read it.

    Arguments:
        query, key, value and all options: as in `attention_ref.numpy.attention`.
        cotangent: `(b,h,q,v)`, the gradient of the output, in the dtype of `query`.

    Returns:
        The gradients by name, in the shapes and the dtype of the inputs: query, key, value and, where given, bias and
        sinks. A row that sees no key, and a key that no row sees, has gradients of exactly 0.

    Raises:
        SpecificationError: as `attention`, and for a cotangent that has not the shape and dtype of the output.

    Source: the derivative of the softmax as in Dao et al., "FlashAttention" (2022), appendix B.2.
    """
    given = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    given |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask, "sinks": sinks}
    options = {"causal": causal, "window": window, "dropout": dropout, "scale": scale, "softcap": softcap}
    arrays, dtype = prepare("attention_gradients", check_attention, given, options)
    gradients = _gradients(arrays, options, _checked(as_array(cotangent), arrays, dtype))
    for name in ("key", "value"):
        gradients[name] = _sum_over_groups(gradients[name], as_array(given[name]).shape)
    for name in gradients.keys() & {"bias", "sinks"}:
        gradients[name] = _sum_over_broadcast(gradients[name], arrays[name].shape)
    return {name: gradient.astype(dtype) for name, gradient in gradients.items()}


def _gradients(arrays: Arrays, options: Mapping[str, Any], cotangent: Array) -> dict[str, Array]:
    """Give the gradients by prepared arrays: a key/value head for every query head, bias `(b,h,q,k)`, sinks `(b,h)`."""
    query, key, value = (np.where(np.isfinite(arrays[name]), arrays[name], 0) for name in ("query", "key", "value"))
    scores, slope = _scores(arrays, options)
    visible = _visible(scores.shape, arrays, options)
    sinks = None if arrays["sinks"] is None else arrays["sinks"][:, None]  # (h,1)
    weights = softmax(scores, visible=visible, sinks=sinks)

    weight_gradient = _drop(cotangent @ value.mT, arrays["dropout_mask"], options["dropout"])  # (b,h,q,k)
    expected = np.sum(weights * weight_gradient, axis=-1, keepdims=True)  # (b,h,q,1)
    score_gradient = np.where(visible, weights * (weight_gradient - expected), 0)
    product_gradient = np.where(visible, score_gradient * slope, 0)
    kept = _drop(weights, arrays["dropout_mask"], options["dropout"])
    gradients = {"query": product_gradient @ key, "key": product_gradient.mT @ query, "value": kept.mT @ cotangent}
    if arrays["bias"] is not None:
        gradients["bias"] = score_gradient
    if sinks is not None:
        log_sums = log_sum_exp(scores, visible=visible, sinks=sinks)  # (b,h,q)
        sink_weights = np.where(np.isneginf(log_sums), 0, np.exp(sinks - log_sums))
        gradients["sinks"] = -np.sum(sink_weights * expected[..., 0], axis=-1)  # (b,h)
    return gradients


def _scores(arrays: Arrays, options: Mapping[str, Any]) -> tuple[Array, Array | float]:
    """Give the scores, and their derivative by the product of query and key."""
    scale, softcap = options["scale"], options["softcap"]
    slope = 1 / math.sqrt(arrays["key"].shape[-1]) if scale is None else float(scale)
    scores = arrays["query"] @ arrays["key"].mT * slope  # (b,h,q,k)
    if softcap is not None:
        capped = np.tanh(scores / float(softcap))
        scores, slope = float(softcap) * capped, slope * (1 - capped**2)
    return scores if arrays["bias"] is None else scores + arrays["bias"], slope


def _visible(shape: tuple[int, ...], arrays: Arrays, options: Mapping[str, Any]) -> Array:
    rules = {name: arrays[name] for name in ("mask", "bias", "query_offset")}
    return visible_keys(shape, causal=options["causal"], window=options["window"], **rules)


def _drop(weights: Array, dropout_mask: Array | None, rate: float) -> Array:
    return weights if dropout_mask is None else np.where(dropout_mask, weights / (1 - float(rate)), 0)


def _checked(cotangent: Array, arrays: Arrays, dtype: Any) -> Array:
    shape = (*arrays["query"].shape[:-1], arrays["value"].shape[-1])
    if cotangent.shape != shape or cotangent.dtype != dtype:
        rule = f"cotangent must have the shape and dtype of the output, here {shape_text(shape)} and {dtype.name}"
        reject("attention_gradients", rule, f"{shape_text(cotangent.shape)} and {cotangent.dtype.name}")
    return widen(cotangent)


def _sum_over_groups(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Add up the gradients of the query heads that share a key/value head."""
    repeats = gradient.shape[-3] // shape[-3]
    return gradient.reshape((*shape[:-2], repeats, *shape[-2:])).sum(axis=-3)  # (b,g,h/g,k,_) -> (b,g,k,_)


def _sum_over_broadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Add up over the axes along which an array of `shape` was broadcast."""
    missing = gradient.ndim - len(shape)
    stretched = [axis for axis, size in enumerate(shape, start=missing) if size == 1]
    return gradient.sum(axis=(*range(missing), *stretched)).reshape(shape)
