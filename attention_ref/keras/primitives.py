"""The steps that layers are made of: softmax, linear maps, normalisations, activations, dropout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from attention_ref.keras._arrays import Array, as_array, checked, describe, of_an_array, symbolic, tanh, widen
from attention_ref.spec.attention_checks import check_softmax
from attention_ref.spec.checks import converted
from attention_ref.spec.config import Norm, NormHeads
from attention_ref.spec.parameters import check_norm


@symbolic
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
        >>> scores = ops.array([1.0, 2.0, 3.0])
        >>> print(ops.convert_to_numpy(softmax(scores, visible=ops.array([True, True, False]))).round(3))
        [0.269 0.731 0.   ]
    """
    scores, visible, sinks = _operands("softmax", scores, visible, sinks)
    exponentials, denominator, _, _ = _shifted(widen(scores), visible, sinks)
    weights = ops.where(visible, exponentials / denominator, 0)
    return ops.cast(weights, scores.dtype)


@symbolic
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
        >>> print(ops.convert_to_numpy(log_sum_exp(ops.array([[0.0, 0.0], [1.0, 2.0]]))).round(3))
        [0.693 2.313]
    """
    scores, visible, sinks = _operands("log_sum_exp", scores, visible, sinks)
    _, denominator, shift, is_empty = _shifted(widen(scores), visible, sinks)
    log_sums = ops.where(is_empty, -math.inf, shift + ops.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = converted(operation, "scores", scores, as_array)
    visible = converted(operation, "visible", True if visible is None else visible, as_array)
    sinks = None if sinks is None else converted(operation, "sinks", sinks, as_array)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = ops.broadcast_to(visible, ops.shape(scores))
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ops.logical_not(ops.any(visible, axis=-1, keepdims=True))  # (...,1)
    logits = ops.where(visible, scores, -math.inf)
    maximum = _largest(ops.stop_gradient(logits))  # (...,1)
    if sinks is not None:
        sinks = ops.where(is_empty, -math.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = ops.stop_gradient(ops.where(sinks > maximum, sinks, maximum))  # ops.maximum may round float64
    shift = ops.where(is_empty, 0, maximum)
    exponentials = ops.exp(logits - shift)
    denominator = ops.sum(exponentials, axis=-1, keepdims=True)
    if sinks is not None:
        denominator = denominator + ops.exp(sinks - shift)
    return exponentials, ops.where(is_empty, 1, denominator), shift, is_empty


def _largest(logits: Array) -> Array:
    """Return the row maximum, -inf of no logits at all, where `ops.amax` has no answer."""
    if 0 in logits.shape:
        return ops.full((*ops.shape(logits)[:-1], 1), -math.inf, dtype=logits.dtype)
    return ops.amax(logits, axis=-1, keepdims=True)


def linear(array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
    """Multiply the last axes by a kernel and add a bias: `y = x kernel + bias`.

    Arguments:
        array: `(..., *contracted)`.
        kernel: `(*contracted, *outputs)`.
        bias: `outputs`.
        inputs: how many axes are contracted.

    Returns:
        `(..., *outputs)` in the dtype of `array`.

    Example:
        >>> kernel = ops.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
        >>> print(ops.convert_to_numpy(linear(ops.array([1.0, 2.0]), kernel)).round(3))
        [1. 2. 3.]
    """
    array, kernel, bias = checked("linear", array=array, kernel=kernel, bias=bias, inputs=inputs)
    leading, outputs = ops.shape(array)[: len(array.shape) - inputs], kernel.shape[inputs:]
    contracted = math.prod(kernel.shape[:inputs])
    rows = ops.reshape(widen(array), (*(leading or (1,)), contracted))  # (..., contracted); TensorFlow needs two axes
    matrix = ops.reshape(widen(kernel), (contracted, math.prod(outputs)))  # (contracted, outputs)
    product = ops.reshape(rows @ matrix, (*leading, *outputs))  # ops.matmul may round float64
    return ops.cast(product if bias is None else product + widen(bias), array.dtype)


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
        >>> gain = ops.array([1.0, 1.0, 1.0])
        >>> print(ops.convert_to_numpy(layer_norm(ops.array([1.0, 2.0, 3.0]), gain, eps=1e-5)).round(3))
        [-1.225  0.     1.225]
    """
    given = {"array": array, "gain": gain, "bias": bias}
    array, gain, bias = checked("layer_norm", **given, eps=eps, gain_offset=gain_offset)
    x = widen(array)
    centred = x - _mean(x)
    return ops.cast(_scaled(centred, gain, bias, eps, gain_offset), array.dtype)


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
        >>> print(ops.convert_to_numpy(rms_norm(ops.array([3.0, 4.0]), ops.array([1.0, 1.0]), eps=1e-6)).round(3))
        [0.849 1.131]
    """
    array, gain = checked("rms_norm", array=array, gain=gain, eps=eps, gain_offset=gain_offset)
    return ops.cast(_scaled(widen(array), gain, None, eps, gain_offset), array.dtype)


def normalize(array: Array, config: Norm, parameters: Mapping[str, Array], name: str) -> Array:
    """Apply the normalisation that a configuration describes, with the gain and bias under `name`.

    Example:
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": ops.array([1.0, 1.0])}
        >>> print(ops.convert_to_numpy(normalize(ops.array([3.0, 4.0]), config, parameters, "norm")).round(3))
        [0.849 1.131]
    """
    check_norm(config, parameters, name)
    gain = parameters.get(f"{name}.gain")
    if gain is None:
        gain = ops.ones(array.shape[-1:], dtype=array.dtype)
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
        >>> config, parameters = spec.Norm("rms", eps=1e-6), {"norm.gain": ops.array([1.0, 1.0])}
        >>> normalized = normalize_heads(ops.array([[3.0, 4.0]]), config, "shared", parameters, "norm")
        >>> print(ops.convert_to_numpy(normalized).round(3))
        [[0.849 1.131]]
    """
    if heads == "shared":
        return normalize(array, config, parameters, name)
    scope, (count, size) = f"{name}.", array.shape[-2:]
    own = {leaf: parameter for leaf, parameter in parameters.items() if leaf.startswith(scope)}  # (h,d) each
    if heads == "joint":
        own = {leaf: ops.reshape(parameter, (-1,)) for leaf, parameter in own.items()}
        joined = ops.reshape(array, (*ops.shape(array)[:-2], count * size))  # (...,h,d) -> (...,h*d)
        return ops.reshape(normalize(joined, config, own, name), ops.shape(array))
    each = [
        normalize(array[..., i, :], config, {leaf: parameter[i] for leaf, parameter in own.items()}, name)
        for i in range(count)
    ]
    return ops.stack(each, axis=-2)


def _scaled(x: Array, gain: Array, bias: Array | None, eps: float, gain_offset: float) -> Array:
    y = x / ops.sqrt(_mean(x * x) + eps) * (widen(gain) + gain_offset)
    return y if bias is None else y + widen(bias)


def _mean(x: Array) -> Array:
    """Return the mean of the last axis; `ops.mean` computes float64 in float32 on the JAX and PyTorch engines."""
    return ops.sum(x, axis=-1, keepdims=True) / x.shape[-1]


@of_an_array
def relu(x: Array) -> Array:
    """`max(x, 0)`.

    Example:
        >>> print(ops.convert_to_numpy(relu(ops.array([-1.0, 0.0, 2.0]))).round(3))
        [0. 0. 2.]
    """
    return ops.relu(x)


@of_an_array
def relu_squared(x: Array) -> Array:
    """`max(x, 0)^2`.

    Example:
        >>> print(ops.convert_to_numpy(relu_squared(ops.array([-1.0, 0.0, 3.0]))).round(3))
        [0. 0. 9.]
    """
    return ops.square(ops.relu(x))


@of_an_array
def gelu(x: Array) -> Array:
    """`x/2 (1 + erf(x / sqrt(2)))`, exact.

    Example:
        >>> print(ops.convert_to_numpy(gelu(ops.array([-1.0, 0.0, 1.0]))).round(3))
        [-0.159  0.     0.841]
    """
    return x / 2 * (1 + ops.erf(x / math.sqrt(2)))


@of_an_array
def gelu_tanh(x: Array) -> Array:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.

    Example:
        >>> print(ops.convert_to_numpy(gelu_tanh(ops.array([-1.0, 0.0, 1.0]))).round(3))
        [-0.159  0.     0.841]
    """
    return x / 2 * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@of_an_array
def quick_gelu(x: Array) -> Array:
    """`x / (1 + exp(-1.702 x))`.

    Example:
        >>> print(ops.convert_to_numpy(quick_gelu(ops.array([-1.0, 0.0, 1.0]))).round(3))
        [-0.154  0.     0.846]
    """
    return x * ops.sigmoid(1.702 * x)  # the quotient would have NaN for the gradient where exp is infinite


@of_an_array
def silu(x: Array) -> Array:
    """`x / (1 + exp(-x))`.

    Example:
        >>> print(ops.convert_to_numpy(silu(ops.array([-1.0, 0.0, 1.0]))).round(3))
        [-0.269  0.     0.731]
    """
    return x * ops.sigmoid(x)


ACTIVATIONS = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "tanh": tanh,
}


def activate(array: Array, name: str) -> Array:
    """Apply an activation by its name to every number.

    Example:
        >>> print(ops.convert_to_numpy(activate(ops.array([-1.0, 0.0, 1.0]), "silu")).round(3))
        [-0.269  0.     0.731]
    """
    (array,) = checked("activate", array=array, name=name)
    return ops.cast(ACTIVATIONS[name](widen(array)), array.dtype)


def clipped(array: Array, limit: float, *, one_sided: bool = False) -> Array:
    """Set numbers above `limit` to it and, unless `one_sided`, those below `-limit` to that; NaN stays NaN.

    Example:
        >>> print(ops.convert_to_numpy(clipped(ops.array([-9.0, 0.5, 9.0]), 2.0)).round(3))
        [-2.   0.5  2. ]
    """
    (array,) = checked("clipped", array=array, limit=limit, one_sided=one_sided)
    least, most = (ops.convert_to_tensor(end, dtype=array.dtype) for end in (-limit, limit))  # not in float32
    return ops.where(array > most, most, array) if one_sided else ops.clip(array, least, most)


def draw_dropout_mask(shape: Sequence[Any], rate: float, generator: keras.random.SeedGenerator | None) -> Array | None:
    """Draw a dropout mask, True with probability `1 - rate`, by Keras's generator; None if nothing is dropped."""
    return keras.random.uniform(shape, dtype="float32", seed=generator) >= rate if rate else None


def dropout(array: Array, dropout_mask: Array | None, rate: float) -> Array:
    """Drop numbers and divide what is kept by `1 - rate`.

    Arguments:
        array: `(...)`.
        dropout_mask: boolean, broadcasts to `array`; True where a number is kept. None keeps all, undivided.
        rate: the fraction of weights that was dropped on average, at least 0 and below 1.

    Returns:
        `(...)`.

    Example:
        >>> print(ops.convert_to_numpy(dropout(ops.array([1.0, 2.0]), ops.array([True, False]), 0.5)).round(3))
        [2. 0.]
    """
    array, dropout_mask = checked("dropout", array=array, dropout_mask=dropout_mask, rate=rate)
    return array if dropout_mask is None else ops.where(dropout_mask, array / (1 - rate), 0)
