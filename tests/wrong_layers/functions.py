"""Mistakes in positional codes, linear maps, normalisations and activations."""

# ruff: noqa: ARG001 - a mistake may be to leave an argument out

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import primitives
from attention_ref.spec.config import RotaryScaling
from tests.wrong_layers.record import WrongLayer


def _as_variant(taken, variant):
    def sinusoidal_positions(positions, size, config, *, like):
        config = replace(config, variant=variant if config.variant == taken else config.variant)
        return right.sinusoidal_positions(positions, size, config, like=like)

    return sinusoidal_positions


def _without_offset(positions, size, config, *, like):
    return right.sinusoidal_positions(positions, size, replace(config, offset=0), like=like)


def _float32_angles(positions, size, config, *, like):
    steps = size // 2 - (config.variant == "tensor2tensor")
    frequencies = np.float32(config.base) ** (-np.arange(size // 2, dtype=np.float32) / np.float32(steps))
    angles = (positions[..., None] + config.offset).astype(np.float32) * frequencies
    pair = np.sin(angles), np.cos(angles)
    interleaved = np.stack(pair, axis=-1).reshape(*positions.shape, size)
    return (interleaved if config.variant == "interleaved" else np.concatenate(pair, axis=-1)).astype(like.dtype)


def _turned_back(array, positions, config):
    return right.rotate(array, -positions, config)


def _rotated_as(change):
    return lambda array, positions, config: right.rotate(array, positions, change(config))


def _without_scaling(kind):
    def change(config):
        is_dropped = isinstance(config.scaling, RotaryScaling) and config.scaling.kind == kind
        return replace(config, scaling=None if is_dropped else config.scaling)

    return _rotated_as(change)


def _truncated(config):
    is_yarn = config.scaling is not None and config.scaling.kind == "yarn"
    return replace(config, scaling=replace(config.scaling, truncate=True)) if is_yarn else config


def _alibi(heads, query_length, key_length, *, query_offset=0, like, slopes=None, sign=abs):
    slopes = right.alibi_slopes(heads) if slopes is None else slopes
    places = np.arange(query_length)[:, None] + np.asarray(query_offset)[..., None, None]
    distances = sign(np.arange(key_length) - places)
    return (-slopes[:, None, None] * distances[..., None, :, :]).astype(like.dtype)


def _alibi_for_earlier_keys(heads, query_length, key_length, *, query_offset=0, like):
    return _alibi(heads, query_length, key_length, query_offset=query_offset, like=like, sign=np.negative)


def _alibi_of_one_power(heads, query_length, key_length, *, query_offset=0, like):
    slopes = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
    return _alibi(heads, query_length, key_length, query_offset=query_offset, like=like, slopes=slopes)


def _alibi_from_0(heads, query_length, key_length, *, query_offset=0, like):
    offsets = np.zeros_like(query_offset)
    return _alibi(heads, query_length, key_length, query_offset=offsets, like=like)


def _relative_turned_round(table, query_length, key_length, config, *, query_offset=0):
    offsets = np.asarray(query_offset)[..., None, None]
    distances = np.arange(query_length)[:, None] + offsets - np.arange(key_length)
    return np.moveaxis(table[right.relative_bucket(distances, config)], -1, -3)


def _relative_both_ways(table, query_length, key_length, config, *, query_offset=0):
    config = replace(config, bidirectional=True)
    return right.relative_bias(table, query_length, key_length, config, query_offset=query_offset)


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


SINUSOID, ALIBI = "sinusoidal_positions", "alibi_bias"

MISTAKES = (
    WrongLayer(
        "Sines and cosines in two halves", "positions.interleaved", SINUSOID, _as_variant("interleaved", "concatenated")
    ),
    WrongLayer(
        "Sines and cosines alternate", "positions.concatenated", SINUSOID, _as_variant("concatenated", "interleaved")
    ),
    WrongLayer(
        "The other denominator", "positions.tensor2tensor", SINUSOID, _as_variant("tensor2tensor", "concatenated")
    ),
    WrongLayer("No offset", "positions.sinusoid-offset", SINUSOID, _without_offset),
    WrongLayer("Angles in float32", "positions.angles", SINUSOID, _float32_angles, ("float32",), pervasive=True),
    WrongLayer("The sign of the sine", "positions.rotary", "rotate", _turned_back),
    WrongLayer(
        "Neighbours are paired",
        "positions.rotary-halves",
        "rotate",
        _rotated_as(lambda c: replace(c, interleaved=True)),
    ),
    WrongLayer(
        "Halves are paired",
        "positions.rotary-interleaved",
        "rotate",
        _rotated_as(lambda c: replace(c, interleaved=False)),
    ),
    WrongLayer(
        "The whole head is rotated",
        "positions.rotary-partial",
        "rotate",
        _rotated_as(lambda c: replace(c, dimension=None)),
    ),
    WrongLayer("No linear scaling", "positions.rotary-linear", "rotate", _without_scaling("linear")),
    WrongLayer("No NTK scaling", "positions.rotary-ntk", "rotate", _without_scaling("ntk")),
    WrongLayer("No YaRN", "positions.rotary-yarn", "rotate", _without_scaling("yarn")),
    WrongLayer("Rounded ends", "positions.rotary-truncate", "rotate", _rotated_as(_truncated)),
    WrongLayer("No dynamic scaling", "positions.rotary-dynamic", "rotate", _without_scaling("dynamic")),
    WrongLayer("No LongRoPE", "positions.rotary-longrope", "rotate", _without_scaling("longrope")),
    WrongLayer("No Llama 3 scaling", "positions.rotary-llama3", "rotate", _without_scaling("llama3")),
    WrongLayer("Later keys are rewarded", "positions.alibi", ALIBI, _alibi_for_earlier_keys),
    WrongLayer("One formula for every head count", "positions.alibi-slopes", ALIBI, _alibi_of_one_power),
    WrongLayer("The offset is ignored", "positions.offset", ALIBI, _alibi_from_0),
    WrongLayer("Distances turned round", "positions.relative", "relative_bias", _relative_turned_round),
    WrongLayer("A decoder with both directions", "positions.relative-one-sided", "relative_bias", _relative_both_ways),
    WrongLayer(
        "Sums in the inputs' dtype", "linear.precision", "linear", _linear_in_its_dtype, ("float16", "bfloat16"), True
    ),
    WrongLayer(
        "Squares in the inputs' dtype", "norms.precision", "layer_norm", _layer_norm_in_its_dtype, ("float16",), True
    ),
    WrongLayer("Squares in the inputs' dtype", "norms.precision", "rms_norm", _rms_norm_in_its_dtype, ("float16",)),
    WrongLayer("Kernels output-first", "linear.formula", "linear", _output_first, pervasive=True),
    WrongLayer("The mean is kept", "norms.layer", "layer_norm", _layer_norm_not_centred),
    WrongLayer("Variance over m - 1", "norms.variance", "layer_norm", _layer_norm_unbiased),
    WrongLayer("eps outside the root", "norms.eps", "layer_norm", _layer_norm_eps_outside),
    WrongLayer("A default of eps", "norms.eps", "layer_norm", _layer_norm_fixed_eps),
    WrongLayer("The dtype's eps", "norms.eps", "rms_norm", _rms_norm_fixed_eps),
    WrongLayer(
        "Mean of squares less square of mean", "norms.cancellation", "layer_norm", _layer_norm_cancelling, ("float32",)
    ),
    WrongLayer("Stored gains as they are", "norms.gain-offset", "layer_norm", _layer_norm_plain_gain),
    WrongLayer("Stored gains as they are", "norms.gain-offset", "rms_norm", _rms_norm_plain_gain),
    WrongLayer("The mean is subtracted", "norms.rms", "rms_norm", _rms_norm_centred),
    WrongLayer("A leak", "activations.relu", "activate", _activated("relu", lambda x: np.where(x > 0, x, x / 100))),
    WrongLayer("Negative numbers too", "activations.relu-squared", "activate", _activated("relu_squared", np.square)),
    WrongLayer("tanh for the exact form", "activations.gelu", "activate", _activated("gelu", primitives.gelu_tanh)),
    WrongLayer(
        "The exact form for tanh", "activations.gelu-tanh", "activate", _activated("gelu_tanh", primitives.gelu)
    ),
    WrongLayer(
        "tanh for the sigmoid", "activations.quick-gelu", "activate", _activated("quick_gelu", primitives.gelu_tanh)
    ),
    WrongLayer("A scaled argument", "activations.silu", "activate", _activated("silu", _silu_of_quick_gelu)),
    WrongLayer("A clipped line", "activations.tanh", "activate", _activated("tanh", lambda x: np.clip(x, -1, 1))),
    WrongLayer(
        "Infinity over infinity", "activations.range", "activate", _activated("silu", _silu_of_two_exponentials)
    ),
)
