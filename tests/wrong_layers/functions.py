"""Mistakes in linear maps, normalisations and activations."""

# ruff: noqa: ARG001 - a mistake may be to leave an argument out

from __future__ import annotations

import math

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import primitives
from tests.wrong_layers.record import WrongLayer


def _output_first(array, kernel, bias=None, *, inputs=1):
    size = math.prod(kernel.shape[:inputs])
    transposed = kernel.reshape(-1, size).T.reshape(kernel.shape)
    return right.linear(array, transposed, bias, inputs=inputs)


def _normalised(x, gain, bias, root, gain_offset=0.0):
    y = x / root * (gain + gain_offset)
    return (y if bias is None else y + bias).astype(x.dtype)


def _centred(x):
    return x - x.mean(-1, keepdims=True)


def _mean_square(x):
    return (x * x).mean(-1, keepdims=True)


def _linear_in_its_dtype(array, kernel, bias=None, *, inputs=1):
    leading, outputs = array.shape[: array.ndim - inputs], kernel.shape[inputs:]
    rows = array.reshape(*leading, -1)
    matrix = kernel.reshape(rows.shape[-1], -1)
    product = sum(rows[..., i, None] * matrix[i] for i in range(rows.shape[-1])).reshape(*leading, *outputs)
    return product if bias is None else product + bias


def _over_root(array, eps):
    with np.errstate(over="ignore"):
        mean_square = sum(np.moveaxis(array * array, -1, 0))[..., None] / array.dtype.type(array.shape[-1])
    return array / np.sqrt(mean_square + array.dtype.type(eps))


def _layer_norm_in_its_dtype(array, gain, bias=None, *, eps, gain_offset=0.0):
    mean = array.astype(np.float32).mean(axis=-1, keepdims=True).astype(array.dtype)
    scaled = _over_root(array - mean, eps) * (gain + array.dtype.type(gain_offset))
    return scaled if bias is None else scaled + bias


def _rms_norm_in_its_dtype(array, gain, *, eps, gain_offset=0.0):
    return _over_root(array, eps) * (gain + array.dtype.type(gain_offset))


def _layer_norm_not_centred(array, gain, bias=None, *, eps, gain_offset=0.0):
    return _normalised(array, gain, bias, np.sqrt(_mean_square(array) + eps), gain_offset)


def _layer_norm_unbiased(array, gain, bias=None, *, eps, gain_offset=0.0):
    root = np.sqrt(array.var(-1, keepdims=True, ddof=1) + eps)
    return _normalised(_centred(array), gain, bias, root, gain_offset)


def _layer_norm_eps_outside(array, gain, bias=None, *, eps, gain_offset=0.0):
    return _normalised(_centred(array), gain, bias, array.std(-1, keepdims=True) + eps, gain_offset)


def _layer_norm_fixed_eps(array, gain, bias=None, *, eps, gain_offset=0.0):
    return right.layer_norm(array, gain, bias, eps=1e-5, gain_offset=gain_offset)


def _layer_norm_cancelling(array, gain, bias=None, *, eps, gain_offset=0.0):
    variance = _mean_square(array) - array.mean(-1, keepdims=True) ** 2
    return _normalised(
        _centred(array), gain, bias, np.sqrt(np.maximum(variance, 0) + array.dtype.type(eps)), gain_offset
    )


def _layer_norm_plain_gain(array, gain, bias=None, *, eps, gain_offset=0.0):
    return right.layer_norm(array, gain, bias, eps=eps)


def _rms_norm_centred(array, gain, *, eps, gain_offset=0.0):
    return right.layer_norm(array, gain, eps=eps, gain_offset=gain_offset)


def _rms_norm_fixed_eps(array, gain, *, eps, gain_offset=0.0):
    return right.rms_norm(array, gain, eps=np.finfo(array.dtype).eps, gain_offset=gain_offset)


def _rms_norm_plain_gain(array, gain, *, eps, gain_offset=0.0):
    return right.rms_norm(array, gain, eps=eps)


def _activated(name, wrong):
    def activate(array, asked):
        return wrong(array) if asked == name else right.activate(array, asked)

    return activate


def _silu_of_two_exponentials(x):
    with np.errstate(all="ignore"):
        return x * np.exp(x) / (1 + np.exp(x))


def _silu_of_quick_gelu(x):
    with np.errstate(over="ignore"):
        return primitives.quick_gelu(x)


MISTAKES = (
    WrongLayer(
        "Sums in the inputs' dtype",
        "linear.precision",
        "linear",
        _linear_in_its_dtype,
        ("float16", "bfloat16"),
        True,
        slug="precision.rounding",
    ),
    WrongLayer(
        "Squares in the inputs' dtype",
        "norms.precision",
        "layer_norm",
        _layer_norm_in_its_dtype,
        ("float16",),
        True,
        slug="precision.rounding",
    ),
    WrongLayer(
        "Squares in the inputs' dtype",
        "norms.precision",
        "rms_norm",
        _rms_norm_in_its_dtype,
        ("float16",),
        slug="precision.rounding",
    ),
    WrongLayer(
        "Kernels output-first", "linear.formula", "linear", _output_first, pervasive=True, slug="projection.transposed"
    ),
    WrongLayer("The mean is kept", "norms.layer", "layer_norm", _layer_norm_not_centred, slug="norm.rms-for-layer"),
    WrongLayer(
        "Variance over m - 1", "norms.variance", "layer_norm", _layer_norm_unbiased, slug="norm.unbiased-variance"
    ),
    WrongLayer(
        "eps outside the root", "norms.eps", "layer_norm", _layer_norm_eps_outside, slug="norm.eps-outside-root"
    ),
    WrongLayer("A default of eps", "norms.eps", "layer_norm", _layer_norm_fixed_eps, slug="norm.eps"),
    WrongLayer("The dtype's eps", "norms.eps", "rms_norm", _rms_norm_fixed_eps, slug="norm.eps"),
    WrongLayer(
        "Mean of squares less square of mean",
        "norms.cancellation",
        "layer_norm",
        _layer_norm_cancelling,
        ("float32",),
        slug="precision.rounding",
    ),
    WrongLayer(
        "Stored gains as they are",
        "norms.gain-offset",
        "layer_norm",
        _layer_norm_plain_gain,
        slug="norm.gain-offset-ignored",
    ),
    WrongLayer(
        "Stored gains as they are",
        "norms.gain-offset",
        "rms_norm",
        _rms_norm_plain_gain,
        slug="norm.gain-offset-ignored",
    ),
    WrongLayer("The mean is subtracted", "norms.rms", "rms_norm", _rms_norm_centred, slug="norm.layer-for-rms"),
    WrongLayer(
        "A leak",
        "activations.relu",
        "activate",
        _activated("relu", lambda x: np.where(x > 0, x, x / 100)),
        slug="relu.leaky",
    ),
    WrongLayer(
        "Negative numbers too",
        "activations.relu-squared",
        "activate",
        _activated("relu_squared", np.square),
        slug="relu-squared.of-negative",
    ),
    WrongLayer(
        "tanh for the exact form",
        "activations.gelu",
        "activate",
        _activated("gelu", primitives.gelu_tanh),
        slug="gelu.tanh-for-exact",
    ),
    WrongLayer(
        "The exact form for tanh",
        "activations.gelu-tanh",
        "activate",
        _activated("gelu_tanh", primitives.gelu),
        slug="gelu.exact-for-tanh",
    ),
    WrongLayer(
        "tanh for the sigmoid",
        "activations.quick-gelu",
        "activate",
        _activated("quick_gelu", primitives.gelu_tanh),
        slug="activation.gelu-tanh-for-quick-gelu",
    ),
    WrongLayer(
        "A scaled argument",
        "activations.silu",
        "activate",
        _activated("silu", _silu_of_quick_gelu),
        slug="activation.quick-gelu-for-silu",
    ),
    WrongLayer(
        "A clipped line",
        "activations.tanh",
        "activate",
        _activated("tanh", lambda x: np.clip(x, -1, 1)),
        slug="tanh.clipped",
    ),
    WrongLayer(
        "Infinity over infinity",
        "activations.range",
        "activate",
        _activated("silu", _silu_of_two_exponentials),
        slug="silu.overflow",
    ),
)
