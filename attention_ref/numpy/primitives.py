"""The steps that layers are made of: softmax, linear maps, normalisations, activations, dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, as_array, checked, describe, of_an_array, widen
from attention_ref.numpy._normal import times_normal_distribution
from attention_ref.spec.attention_checks import check_softmax
from attention_ref.spec.checks import converted
from attention_ref.spec.config import Norm, NormHeads
from attention_ref.spec.parameters import check_norm


@np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
def softmax(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Turn scores into weights along the last axis.

        w_j = exp(s_j) / (sum_l exp(s_l) + exp(sink))           over the visible keys l; 0 elsewhere

    Every exponent is shifted by the row's maximum, which changes no weight and lets none overflow.

    Arguments:
        scores: float `(...,k)`.
        visible: boolean, broadcasts to `scores`; True where a key may be attended to. None is everywhere.
        sinks: of the dtype of `scores`, broadcasts to them without their last axis; a logit that joins the denominator
            and has no weight of its own.

    Returns:
        The weights `(...,k)` in the dtype of `scores`; float16 and bfloat16 are computed in float32. A row without
        visible keys has weights 0; one that sees NaN or +inf has NaN for every visible key.

    Raises:
        SpecificationError: for scores or sinks that are not floats, a visibility that is not boolean, and what does
            not broadcast.

    Example:
        >>> scores = np.array([1.0, 2.0, 3.0])
        >>> softmax(scores, visible=np.array([True, True, False])).round(3)
        array([0.269, 0.731, 0.   ])
    """
    scores, visible, sinks = _operands("softmax", scores, visible, sinks)
    exponentials, denominator, _, _ = _shifted(widen(scores), visible, sinks)
    weights = np.where(visible, exponentials / denominator, 0)
    return weights.astype(scores.dtype)


@np.errstate(all="ignore")
def log_sum_exp(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Return the logarithm of the softmax's denominator, `log(sum_l exp(s_l) + exp(sink))` over the visible keys l.

    Arguments:
        scores, visible, sinks: as in `softmax`.

    Returns:
        `(...)`, float32 for float16 and bfloat16, otherwise in the dtype of `scores`. A row without visible keys gives
        -inf, with a sink too.

    Raises:
        SpecificationError: as `softmax`.

    Example:
        >>> log_sum_exp(np.array([[0.0, 0.0], [1.0, 2.0]])).round(3)
        array([0.693, 2.313])
    """
    scores, visible, sinks = _operands("log_sum_exp", scores, visible, sinks)
    _, denominator, shift, is_empty = _shifted(widen(scores), visible, sinks)
    log_sums = np.where(is_empty, -np.inf, shift + np.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = converted(operation, "scores", scores, as_array)
    visible = converted(operation, "visible", True if visible is None else visible, as_array)
    sinks = None if sinks is None else converted(operation, "sinks", sinks, as_array)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = np.broadcast_to(visible, scores.shape)
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ~np.any(visible, axis=-1, keepdims=True)  # (...,1)
    logits = np.where(visible, scores, -np.inf)
    maximum = np.max(logits, axis=-1, keepdims=True, initial=-np.inf)
    if sinks is not None:
        sinks = np.where(is_empty, -np.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = np.maximum(maximum, sinks)
    shift = np.where(is_empty, 0, maximum)
    exponentials = np.exp(logits - shift)
    denominator = np.sum(exponentials, axis=-1, keepdims=True)
    if sinks is not None:
        denominator = denominator + np.exp(sinks - shift)
    return exponentials, np.where(is_empty, 1, denominator), shift, is_empty


def linear(array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
    """Multiply the last axes by a kernel and add a bias: `y = x kernel + bias`.

    Arguments:
        array: `(..., *contracted)`.
        kernel: `(*contracted, *outputs)`.
        bias: `outputs`.
        inputs: how many axes are contracted.

    Returns:
        `(..., *outputs)`.

    Example:
        >>> kernel = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> linear(np.array([1.0, 2.0]), kernel).round(3)
        array([1., 2., 3.])
    """
    array, kernel, bias = checked("linear", array=array, kernel=kernel, bias=bias, inputs=inputs)
    leading, outputs = array.shape[: array.ndim - inputs], kernel.shape[inputs:]
    contracted = math.prod(kernel.shape[:inputs])
    rows = widen(array).reshape(*leading, contracted)  # (..., contracted)
    matrix = widen(kernel).reshape(contracted, math.prod(outputs))  # (contracted, outputs)
    product = (rows @ matrix).reshape(*leading, *outputs)
    return (product if bias is None else product + bias).astype(array.dtype)


def layer_norm(array: Array, gain: Array, bias: Array | None = None, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift it.

        y = (x - mean(x)) / sqrt(variance(x) + eps) * (gain + gain_offset) + bias

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        bias: `(m,)` or None.
        eps: added to the biased variance inside the root; at least 0.
        gain_offset: added to the gain.

    Returns:
        `(..., m)`.

    Example:
        >>> gain = np.array([1.0, 1.0, 1.0])
        >>> layer_norm(np.array([1.0, 2.0, 3.0]), gain, eps=1e-5).round(3)
        array([-1.225,  0.   ,  1.225])
    """
    given = {"array": array, "gain": gain, "bias": bias}
    array, gain, bias = checked("layer_norm", **given, eps=eps, gain_offset=gain_offset)
    x = widen(array)
    centred = x - x.mean(axis=-1, keepdims=True)
    return _scaled(centred, gain, bias, eps, gain_offset).astype(array.dtype)


def rms_norm(array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
    """Divide the last axis by its root mean square, then scale it.

        y = x / sqrt(mean(x^2) + eps) * (gain + gain_offset)

    Arguments:
        array: `(..., m)`.
        gain: `(m,)`.
        eps: added to the mean square inside the root; at least 0.
        gain_offset: added to the gain.

    Returns:
        `(..., m)`.

    Example:
        >>> rms_norm(np.array([3.0, 4.0]), np.array([1.0, 1.0]), eps=1e-6).round(3)
        array([0.849, 1.131])
    """
    array, gain = checked("rms_norm", array=array, gain=gain, eps=eps, gain_offset=gain_offset)
    return _scaled(widen(array), gain, None, eps, gain_offset).astype(array.dtype)


def normalize(array: Array, config: Norm, parameters: Mapping[str, Array], name: str) -> Array:
    """Apply the normalisation that a configuration describes, with the gain and bias under `name`.

    Example:
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": np.array([1.0, 1.0])}
        >>> normalize(np.array([3.0, 4.0]), config, parameters, "norm").round(3)
        array([0.849, 1.131])
    """
    check_norm(config, parameters, name)
    gain = parameters.get(f"{name}.gain")
    if gain is None:
        gain = np.ones(array.shape[-1:], array.dtype)
    if config.kind == "rms":
        return rms_norm(array, gain, eps=config.eps, gain_offset=config.gain_offset)
    return layer_norm(array, gain, parameters.get(f"{name}.bias"), eps=config.eps, gain_offset=config.gain_offset)


def normalize_heads(array: Array, config: Norm, heads: NormHeads, parameters: Mapping[str, Array], name: str) -> Array:
    """Apply a normalisation to the heads of queries or keys.

        shared      each head over d, with one gain (d)
        separate    each head over d, with a gain of its own (h,d)
        joint       all heads together, over (h,d)

    Arguments:
        array: `(...,h,d)`; of `shared`, any array.
        config: the kind of the normalisation.
        heads: what is normalised.
        parameters: its gain and bias under `name`.

    Returns:
        `(...,h,d)`.

    Example:
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": np.array([1.0, 1.0])}
        >>> normalize_heads(np.array([[3.0, 4.0]]), config, "shared", parameters, "norm").round(3)
        array([[0.849, 1.131]])
    """
    if heads == "shared":
        return normalize(array, config, parameters, name)
    scope, (count, size) = f"{name}.", array.shape[-2:]
    own = {leaf: parameter for leaf, parameter in parameters.items() if leaf.startswith(scope)}  # (h,d) each
    if heads == "joint":
        own = {leaf: parameter.reshape(-1) for leaf, parameter in own.items()}
        joined = array.reshape(*array.shape[:-2], count * size)  # (...,h,d) -> (...,h*d)
        return normalize(joined, config, own, name).reshape(array.shape)
    each = [
        normalize(array[..., i, :], config, {leaf: parameter[i] for leaf, parameter in own.items()}, name)
        for i in range(count)
    ]
    return np.stack(each, axis=-2)


def _scaled(x: Array, gain: Array, bias: Array | None, eps: float, gain_offset: float) -> Array:
    mean_square = (x * x).mean(axis=-1, keepdims=True)
    y = x / np.sqrt(mean_square + eps) * (widen(gain) + gain_offset)
    return y if bias is None else y + bias


@of_an_array
def relu(x: Array) -> Array:
    """`max(x, 0)`.

    Example:
        >>> relu(np.array([-1.0, 0.0, 2.0])).round(3)
        array([0., 0., 2.])
    """
    return np.maximum(x, 0)


@of_an_array
def relu_squared(x: Array) -> Array:
    """`max(x, 0)^2`.

    Example:
        >>> relu_squared(np.array([-1.0, 0.0, 3.0])).round(3)
        array([0., 0., 9.])
    """
    return np.square(np.maximum(x, 0))


@of_an_array
def gelu(x: Array) -> Array:
    """`x/2 (1 + erf(x / sqrt(2)))`, exact.

    Example:
        >>> gelu(np.array([-1.0, 0.0, 1.0])).round(3)
        array([-0.159,  0.   ,  0.841])
    """
    return times_normal_distribution(widen(x)).astype(x.dtype, copy=False)


@of_an_array
def gelu_tanh(x: Array) -> Array:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.

    Example:
        >>> gelu_tanh(np.array([-1.0, 0.0, 1.0])).round(3)
        array([-0.159,  0.   ,  0.841])
    """
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@of_an_array
def quick_gelu(x: Array) -> Array:
    """`x / (1 + exp(-1.702 x))`.

    Example:
        >>> quick_gelu(np.array([-1.0, 0.0, 1.0])).round(3)
        array([-0.154,  0.   ,  0.846])
    """
    return x / (1 + np.exp(-1.702 * x))


@of_an_array
def silu(x: Array) -> Array:
    """`x / (1 + exp(-x))`.

    Example:
        >>> silu(np.array([-1.0, 0.0, 1.0])).round(3)
        array([-0.269,  0.   ,  0.731])
    """
    return x / (1 + np.exp(-x))


ACTIVATIONS = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "tanh": np.tanh,
}


@np.errstate(over="ignore")  # exp(-x) of a large negative x is infinite, and x over it 0
def activate(array: Array, name: str) -> Array:
    """Apply an activation by its name to every number.

    Example:
        >>> activate(np.array([-1.0, 0.0, 1.0]), "silu").round(3)
        array([-0.269,  0.   ,  0.731])
    """
    (array,) = checked("activate", array=array, name=name)
    return ACTIVATIONS[name](widen(array)).astype(array.dtype)


def clipped(array: Array, limit: float, *, one_sided: bool = False) -> Array:
    """Set numbers above `limit` to it and, unless `one_sided`, those below `-limit` to that; NaN stays NaN.

    Example:
        >>> clipped(np.array([-9.0, 0.5, 9.0]), 2.0).round(3)
        array([-2. ,  0.5,  2. ])
    """
    (array,) = checked("clipped", array=array, limit=limit, one_sided=one_sided)
    least = None if one_sided else -limit
    return np.clip(array, least, limit).astype(array.dtype, copy=False)  # bfloat16 would become float32


def dropout(array: Array, dropout_mask: Array | None, rate: float) -> Array:
    """Drop numbers and divide what is kept by `1 - rate`.

    Arguments:
        array: `(...)`.
        dropout_mask: boolean, broadcasts to `array`; True where a number is kept. None keeps all, undivided.
        rate: the fraction of weights that was dropped on average, at least 0 and below 1.

    Returns:
        `(...)`.

    Example:
        >>> dropout(np.array([1.0, 2.0]), np.array([True, False]), 0.5).round(3)
        array([2., 0.])
    """
    array, dropout_mask = checked("dropout", array=array, dropout_mask=dropout_mask, rate=rate)
    return array if dropout_mask is None else np.where(dropout_mask, array / (1 - rate), 0)
