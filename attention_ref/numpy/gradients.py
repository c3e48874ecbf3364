"""The gradients of attention in closed form, because NumPy has no automatic differentiation.

    dw_ij    = dropped_ij * (cotangent_i . value_j)         dropped = dropout_mask / (1 - dropout), 1 without
    ds_ij    = w_ij * (dw_ij - sum_l w_il dw_il)            the gradient of the scores, and of the bias
    dsink    = -sum_i w_i,sink sum_l w_il dw_il             w_i,sink = exp(sink - log_sum_exp_i)
    dvalue_j = sum_i dropped_ij w_ij cotangent_i

Each score function adds the gradients of its own arguments. The gradient of a key/value head is the sum over its query
heads.

Source: the derivative of the softmax as in Dao et al., "FlashAttention" (2022), appendix B.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, Arrays, as_array, check_call, materialize, widen
from attention_ref.numpy._tile_gradients import tile_gradients
from attention_ref.numpy._visibility import conjunction
from attention_ref.numpy.primitives import log_sum_exp, softmax
from attention_ref.spec.attention_checks import (
    check_additive_attention,
    check_attention,
    check_multiplicative_attention,
)
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import check_implementation


@np.errstate(all="ignore")  # infinities and NaN are valid results
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
    implementation: str = "auto",
) -> dict[str, Array]:
    """Return the gradients of `sum(cotangent * attention(query, key, value, ...))`.

        dp_ij    = ds_ij * (1 - (s_ij / softcap)^2) * scale     s the capped scores; without softcap ds_ij * scale
        dquery_i = sum_j dp_ij key_j
        dkey_j   = sum_i dp_ij query_i

    Arguments:
        query, key, value and all options: as in `attention_ref.numpy.attention`.
        cotangent: `(b,h,q,v)`, the gradient of the output, in the dtype of `query`.

    Returns:
        The gradients by name, in the shapes and the dtype of the inputs: query, key, value and, where given, bias and
        sinks. The gradients of a query that sees no key, and of a key that no query sees, are exactly 0.

    Raises:
        SpecificationError: as `attention`, and for a cotangent without the shape and dtype of the output.
    """
    given = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    given |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask, "sinks": sinks}
    options = {"causal": causal, "window": window, "dropout": dropout, "scale": scale, "softcap": softcap}
    check_implementation("attention_gradients", implementation)
    arrays, sizes = check_call("attention_gradients", check_attention, given, options)
    dtype = arrays["query"].dtype
    cotangent = _checked("attention_gradients", cotangent, arrays, dtype)
    tiled = implementation != "reference"
    gradients = tile_gradients(arrays, sizes, options, cotangent) if tiled else None
    if gradients is None:
        gradients = _shaped(_by_formula(materialize(arrays), options, cotangent), given, dtype)
    return {name: gradients[name].astype(dtype) for name in given if name in gradients}


def _by_formula(arrays: Arrays, options: Mapping[str, Any], cotangent: Array) -> dict[str, Array]:
    """Compute the gradients of attention with all scores at once, in the shapes of materialised arrays."""
    scale, softcap = options["scale"], options["softcap"]
    slope = 1 / math.sqrt(arrays["key"].shape[-1]) if scale is None else float(scale)
    scores = arrays["query"] @ arrays["key"].mT * slope  # (b,h,q,k)
    if softcap is not None:
        capped = np.tanh(scores / float(softcap))
        scores, slope = float(softcap) * capped, slope * (1 - capped**2)
    gradients, score_gradient = _attended(scores, arrays, options, cotangent)
    product_gradient = np.where(score_gradient != 0, score_gradient * slope, 0)  # (b,h,q,k)
    gradients["query"] = product_gradient @ _finite(arrays["key"])
    gradients["key"] = product_gradient.mT @ _finite(arrays["query"])
    return gradients


@np.errstate(all="ignore")
def additive_attention_gradients(
    query: Any,
    key: Any,
    value: Any,
    cotangent: Any,
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
) -> dict[str, Array]:
    """Return the gradients of `sum(cotangent * additive_attention(query, key, value, ...))`.

        t_ij          = tanh(left_i + right_j)                  left = query query_kernel, right = key key_kernel
        dscore_kernel = sum_ij ds_ij t_ij
        dt_ij         = ds_ij score_kernel (1 - t_ij^2)
        dleft_i       = sum_j dt_ij                             dright_j = sum_i dt_ij
        dquery        = dleft query_kernel^T                    dquery_kernel = query^T dleft; the same for the key

    Arguments:
        query, key, value and all options: as in `attention_ref.numpy.additive_attention`.
        cotangent: `(b,h,q,v)`, the gradient of the output, in the dtype of `query`.

    Returns:
        The gradients by name as in `attention_gradients`, and of the kernels that are given.

    Raises:
        SpecificationError: as `additive_attention`, and for a cotangent without the shape and dtype of the output.
    """
    given = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    given |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    given |= {"score_kernel": score_kernel, "query_kernel": query_kernel, "key_kernel": key_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    arrays, _ = check_call("additive_attention_gradients", check_additive_attention, given, options)
    dtype, arrays = arrays["query"].dtype, materialize(arrays)
    cotangent = _checked("additive_attention_gradients", cotangent, arrays, dtype)

    left, right = (_project(arrays[name], arrays[f"{name}_kernel"]) for name in ("query", "key"))  # (b,h,q,a) (b,h,k,a)
    layer = np.tanh(left[..., :, None, :] + right[..., None, :, :])  # (b,h,q,k,a)
    gradients, score_gradient = _attended(layer @ arrays["score_kernel"], arrays, options, cotangent)
    score_gradient = score_gradient[..., None]  # (b,h,q,k,1)
    layer = np.where(score_gradient != 0, layer, 0)
    gradients["score_kernel"] = np.sum(score_gradient * layer, axis=tuple(range(layer.ndim - 1)))
    inner = score_gradient * arrays["score_kernel"] * (1 - layer**2)
    gradients |= _projected("query", inner.sum(axis=-2), arrays)
    gradients |= _projected("key", inner.sum(axis=-3), arrays)
    return _shaped(gradients, given, dtype)


@np.errstate(all="ignore")
def multiplicative_attention_gradients(
    query: Any,
    key: Any,
    value: Any,
    cotangent: Any,
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
) -> dict[str, Array]:
    """Return the gradients of `sum(cotangent * multiplicative_attention(query, key, value, ...))`.

        dleft_i = sum_j ds_ij key_j                             left = query score_kernel
        dquery  = dleft score_kernel^T                          dscore_kernel = query^T dleft
        dkey_j  = sum_i ds_ij left_i

    Arguments:
        query, key, value and all options: as in `attention_ref.numpy.multiplicative_attention`.
        cotangent: `(b,h,q,v)`, the gradient of the output, in the dtype of `query`.

    Returns:
        The gradients by name as in `attention_gradients`, and of the kernel where it is given.

    Raises:
        SpecificationError: as `multiplicative_attention`, and for a cotangent without the shape and dtype of the
            output.
    """
    given = {"query": query, "key": key, "value": value, "mask": mask, "bias": bias}
    given |= {"query_offset": query_offset, "key_lengths": key_lengths, "dropout_mask": dropout_mask}
    given |= {"score_kernel": score_kernel}
    options = {"causal": causal, "window": window, "dropout": dropout}
    arrays, _ = check_call("multiplicative_attention_gradients", check_multiplicative_attention, given, options)
    dtype, arrays = arrays["query"].dtype, materialize(arrays)
    cotangent = _checked("multiplicative_attention_gradients", cotangent, arrays, dtype)

    left = _project(arrays["query"], arrays["score_kernel"])  # (b,h,q,e)
    gradients, score_gradient = _attended(left @ arrays["key"].mT, arrays, options, cotangent)
    gradients["key"] = score_gradient.mT @ _finite(left)
    gradients |= _projected("query", score_gradient @ _finite(arrays["key"]), arrays, kernel="score_kernel")
    return _shaped(gradients, given, dtype)


def _attended(
    scores: Array, arrays: Arrays, options: Mapping[str, Any], cotangent: Array
) -> tuple[dict[str, Array], Array]:
    """Return the gradients that do not depend on the score function, and that of the scores `(b,h,q,k)`, 0 where
    hidden.

    They have the shapes of materialised arrays: a key/value head for every query head, a bias `(b,h,q,k)`, sinks
    `(b,h)`.
    """
    bias, sinks, dropout_mask = (arrays.get(name) for name in ("bias", "sinks", "dropout_mask"))
    if bias is not None:
        scores = scores + bias
    rules = {name: arrays[name] for name in ("mask", "query_offset")} | {"key_lengths": None}
    visible = conjunction(scores.shape, bias=bias, causal=options["causal"], window=options["window"], **rules)
    if sinks is not None:
        sinks = sinks[:, None]  # (h,1)
    weights = softmax(scores, visible=visible, sinks=sinks)

    weight_gradient = _drop(cotangent @ _finite(arrays["value"]).mT, dropout_mask, options["dropout"])  # (b,h,q,k)
    expected = np.sum(weights * weight_gradient, axis=-1, keepdims=True)  # (b,h,q,1)
    score_gradient = np.where(visible, weights * (weight_gradient - expected), 0)
    gradients = {"value": _drop(weights, dropout_mask, options["dropout"]).mT @ cotangent}
    if bias is not None:
        gradients["bias"] = score_gradient
    if sinks is not None:
        log_sums = log_sum_exp(scores, visible=visible, sinks=sinks)  # (b,h,q)
        sink_weights = np.where(np.isneginf(log_sums), 0, np.exp(sinks - log_sums))
        gradients["sinks"] = -np.sum(sink_weights * expected[..., 0], axis=-1)  # (b,h)
    return gradients, score_gradient


def _project(rows: Array, kernel: Array | None) -> Array:
    """Multiply rows by a kernel; return them unchanged when it is None."""
    return rows if kernel is None else rows @ kernel


def _projected(name: str, gradient: Array, arrays: Arrays, kernel: str = "") -> dict[str, Array]:
    """Return the gradients of rows and of their kernel, from the gradient of their product."""
    kernel = kernel or f"{name}_kernel"
    if arrays[kernel] is None:
        return {name: gradient}
    outer = _finite(arrays[name]).mT @ gradient  # (b,h,d,a)
    return {name: gradient @ arrays[kernel].T, kernel: outer.sum(axis=tuple(range(outer.ndim - 2)))}


def _finite(array: Array) -> Array:
    """Replace NaN and infinities by 0, because their product with a gradient of 0 is NaN."""
    return np.where(np.isfinite(array), array, 0)


def _drop(weights: Array, dropout_mask: Array | None, rate: float) -> Array:
    return weights if dropout_mask is None else np.where(dropout_mask, weights / (1 - float(rate)), 0)


def _checked(operation: str, cotangent: Any, arrays: Arrays, dtype: Any) -> Array:
    cotangent, shape = as_array(cotangent), (*arrays["query"].shape[:-1], arrays["value"].shape[-1])
    if cotangent.shape != shape or cotangent.dtype != dtype:
        rule = f"cotangent must have the shape and dtype of the output, here {shape_text(shape)} and {dtype.name}"
        reject(operation, rule, f"{shape_text(cotangent.shape)} and {cotangent.dtype.name}")
    return widen(cotangent)


def _shaped(gradients: dict[str, Array], given: Mapping[str, Any], dtype: Any) -> dict[str, Array]:
    """Sum over repeated heads and broadcast axes, and return the gradients in the order and the dtype of the inputs."""
    shapes = {name: as_array(array).shape for name, array in given.items() if name in gradients}
    for name in ("key", "value"):
        gradients[name] = _sum_over_groups(gradients[name], shapes[name])
    return {name: _sum_over_broadcast(gradients[name], shape).astype(dtype) for name, shape in shapes.items()}


def _sum_over_groups(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum the gradients of the query heads that share a key/value head."""
    repeats = gradient.shape[-3] // shape[-3]
    return gradient.reshape((*shape[:-2], repeats, *shape[-2:])).sum(axis=-3)  # (b,g,h/g,k,_) -> (b,g,k,_)


def _sum_over_broadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an array of `shape` was broadcast."""
    missing = gradient.ndim - len(shape)
    stretched = [axis for axis, size in enumerate(shape, start=missing) if size == 1]
    return np.sum(gradient, axis=(*range(missing), *stretched), keepdims=True).reshape(shape)
