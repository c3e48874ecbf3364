"""Positional codes. Angles are computed in float64 and rounded once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, checked, widen
from attention_ref.numpy._remembered import remembered
from attention_ref.spec.call_checks import check_call
from attention_ref.spec.config import SINUSOID, RelativeBias, Rotary, RotaryScaling, Sinusoid


def sinusoidal_positions(positions: Any, size: int, config: Sinusoid = SINUSOID, *, like: Array) -> Array:
    """Code positions by sines and cosines of wavelengths in a geometric progression.

        angle_pi = (p + offset) / base^(2i/m)                   interleaved, concatenated
        angle_pi = (p + offset) / base^(i/(m/2 - 1))            tensor2tensor
        interleaved:                   sin angle_p0, cos angle_p0, sin angle_p1, ...
        concatenated, tensor2tensor:   sin angle_p0, sin angle_p1, ..., cos angle_p0, cos angle_p1, ...

    Arguments:
        positions: integers `(...)`.
        size: m, even; at least 4 for tensor2tensor.
        config: the variant, the base and the offset.
        like: an array of the dtype to give.

    Returns:
        `(..., m)`.

    Raises:
        SpecificationError: for a size that cannot hold the code.

    Example:
        >>> sinusoidal_positions(np.array([0, 1]), 4, like=np.zeros(1)).round(3)
        array([[0.   , 1.   , 0.   , 1.   ],
               [0.841, 0.54 , 0.01 , 1.   ]])
    """
    positions, like = checked("sinusoidal_positions", positions=positions, size=size, config=config, like=like)
    half = size // 2
    steps = half - 1 if config.variant == "tensor2tensor" else half
    frequencies = config.base ** (-np.arange(half) / steps)  # (m/2,) float64
    angles = (np.asarray(positions)[..., None] + config.offset) * frequencies  # (..., m/2)
    pair = np.sin(angles), np.cos(angles)
    if config.variant == "interleaved":
        code = np.stack(pair, axis=-1).reshape(*angles.shape[:-1], size)  # (..., m/2, 2) -> (..., m)
    else:
        code = np.concatenate(pair, axis=-1)  # (..., m)
    return code.astype(like.dtype)


def rotary_frequencies(dimension: int, config: Rotary, *, length: int = 0) -> Array:
    """Return the frequencies of rotary positions, `base^(-2i/dimension)` changed as `config.scaling` says.

    Arguments:
        dimension: how many leading sizes of a head are rotated, even.
        config: base and scaling; the formulas stand in `attention_ref.spec.positions`.
        length: of the call: the largest position and 1; of the scalings dynamic and longrope.

    Returns:
        `(dimension/2,)`, float64, in radians for each position.

    Example:
        >>> rotary_frequencies(4, spec.Rotary()).round(3)
        array([1.  , 0.01])
    """
    check_call("rotary_frequencies", {"dimension": dimension, "config": config})
    pairs = np.arange(dimension // 2)
    frequencies = config.base ** (-2 * pairs / dimension)
    scaling = config.scaling
    if scaling is None:
        return frequencies
    if scaling.kind in ("ntk", "dynamic"):
        return frequencies * _stretch(scaling, length) ** (-pairs / max(dimension // 2 - 1, 1))
    if scaling.kind == "longrope":
        return frequencies / np.array(
            scaling.long_factors if length > scaling.original_length else scaling.short_factors
        )
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        kept = _llama3_fractions(frequencies, scaling)
    else:
        kept = _yarn_fractions(pairs, dimension, config.base, scaling)
    return kept * frequencies + (1 - kept) * frequencies / scaling.factor


def _stretch(scaling: RotaryScaling, length: int) -> float:
    """Return the factor of ntk: the configured one, or that of a call of this length."""
    if scaling.kind == "ntk":
        return scaling.factor
    longest = max(length, scaling.original_length)
    return scaling.factor * longest / scaling.original_length - (scaling.factor - 1)


def _llama3_fractions(frequencies: Array, scaling: RotaryScaling) -> Array:
    turns = scaling.original_length * frequencies / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return np.clip((turns - low) / (high - low), 0, 1)


def _yarn_fractions(pairs: Array, dimension: int, base: float, scaling: RotaryScaling) -> Array:
    def pair_that_turns(rotations: float) -> float:
        return dimension * math.log(scaling.original_length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_that_turns(scaling.fast_rotations), pair_that_turns(scaling.slow_rotations)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dimension - 1)
    width = max(last - first, 0.001)  # the ramp must not divide by zero
    return 1 - np.clip((pairs - first) / width, 0, 1)


def rotary_amplitude(config: Rotary) -> float:
    """Return the factor of sines and cosines: what is configured, or for a factor above 1 as follows.

        yarn        0.1 log(factor) + 1
        longrope    sqrt(1 + log(factor) / log(original_length))

    Otherwise it is 1.

    Example:
        >>> rotary_amplitude(spec.Rotary())
        1.0
    """
    check_call("rotary_amplitude", {"config": config})
    scaling = config.scaling
    if scaling is None or scaling.kind not in ("yarn", "longrope"):
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor <= 1:
        return 1.0
    if scaling.kind == "yarn":
        return 0.1 * math.log(scaling.factor) + 1.0
    return math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_length))


def rotate(array: Array, positions: Any, config: Rotary) -> Array:
    """Turn pairs of a head's numbers by an angle proportional to the position.

        x_a' = x_a cos - x_b sin
        x_b' = x_b cos + x_a sin          angle = position * frequency_i

    The pair `i` is `(i, i + dimension/2)`, or `(2i, 2i + 1)` when interleaved. Sizes from `dimension` on stay as they
    are.

    Arguments:
        array: queries or keys `(b,h,l,d)`.
        positions: integers `(l,)` or, one row for each batch row, `(b,l)`.
        config: see `rotary_frequencies`.

    Returns:
        `(b,h,l,d)`.

    Example:
        >>> rotate(np.array([[[[1.0, 0.0]]]]), np.array([1]), spec.Rotary()).round(3)
        array([[[[0.54 , 0.841]]]])
    """
    array, positions = checked("rotate", array=array, positions=positions, config=config)
    dimension, x = config.dimension or array.shape[-1], widen(array)
    cosine, sine = remembered(_turns, positions, dimension, config, x)  # (l,n/2) or (b,l,n/2)
    if cosine.ndim == 3:
        cosine, sine = cosine[:, None], sine[:, None]  # (b,1,l,n/2)
    rotated, kept = x[..., :dimension], x[..., dimension:]
    if config.interleaved:
        first, second = rotated[..., 0::2], rotated[..., 1::2]  # (b,h,l,n/2) each
    else:
        first, second = np.split(rotated, 2, axis=-1)
    pair = first * cosine - second * sine, second * cosine + first * sine
    if config.interleaved:
        rotated = np.stack(pair, axis=-1).reshape(rotated.shape)  # (b,h,l,n/2,2) -> (b,h,l,n)
    else:
        rotated = np.concatenate(pair, axis=-1)  # (b,h,l,n)
    whole = np.concatenate([rotated, kept], axis=-1) if kept.shape[-1] else rotated
    return whole.astype(array.dtype, copy=False)


def _turns(positions: Array, dimension: int, config: Rotary, like: Array) -> tuple[Array, Array]:
    """Return cosines and sines of the angles of positions."""
    length = int(np.max(positions, initial=0)) + 1
    angles = _angles(positions, rotary_frequencies(dimension, config, length=length), config)
    amplitude = rotary_amplitude(config)
    return (np.cos(angles) * amplitude).astype(like.dtype), (np.sin(angles) * amplitude).astype(like.dtype)


def _angles(positions: Array, frequencies: Array, config: Rotary) -> Array:
    if config.angles == "float32":
        return positions[..., None].astype(np.float32) * frequencies.astype(np.float32)
    return positions[..., None] * frequencies


def alibi_slopes(heads: int) -> Array:
    """Return the slope of each head: `2^(-8i/n)`, i from 1, for n heads a power of two.

    Otherwise the slopes of the next smaller power of two come first, then every second slope of the power above it.

    Returns:
        `(h,)`, float64.

    Example:
        >>> alibi_slopes(4).round(3)
        array([0.25 , 0.062, 0.016, 0.004])
    """
    check_call("alibi_slopes", {"heads": heads})
    power = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-4 * np.arange(1, 2 * power + 1, 2) / power)
    return np.concatenate([slopes, between[: heads - power]])


def alibi_bias(heads: int, query_length: int, key_length: int, *, query_offset: Any = 0, like: Array) -> Array:
    """Return the bias of attention with linear biases: `-slope_h * |i + query_offset - j|`.

    Arguments:
        heads: h.
        query_length: q.
        key_length: k.
        query_offset: an integer or one for each batch row `(b,)`.
        like: an array of the dtype to give.

    Returns:
        `(h,q,k)`, or `(b,h,q,k)` with one offset for each batch row.

    Example:
        >>> alibi_bias(2, 1, 2, query_offset=2, like=np.zeros(1))[:, 0].round(3)
        array([[-0.125, -0.062],
               [-0.008, -0.004]])
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    query_offset, like = checked("alibi_bias", heads=heads, **lengths, query_offset=query_offset, like=like)
    distances = np.abs(_distances(query_length, key_length, query_offset))  # (q,k) or (b,q,k)
    slopes = alibi_slopes(heads)[:, None, None]  # (h,1,1)
    return (-slopes * distances[..., None, :, :]).astype(like.dtype)


def relative_bucket(distances: Any, config: RelativeBias) -> Array:
    """Return the bucket of keys at `distance = j - (i + query_offset)`.

    Half of the buckets (of each direction, when bidirectional) hold one distance each; the others grow
    logarithmically up to `maximum_distance`, and hold all that is farther. Without both directions every later key
    shares bucket 0.

    Arguments:
        distances: integers `(...)`.
        config: the buckets.

    Returns:
        Integers `(...)`.

    Example:
        >>> config = spec.RelativeBias(buckets=8, maximum_distance=16)
        >>> relative_bucket(np.array([-2, -1, 0, 1, 2]), config).tolist()
        [2, 1, 0, 5, 6]
    """
    (distances,) = checked("relative_bucket", distances=distances, config=config)
    return _bucket(distances, config)


def _bucket(distances: Array, config: RelativeBias) -> Array:
    buckets, start = config.buckets, 0
    if config.bidirectional:
        buckets //= 2
        start = np.where(distances > 0, buckets, 0)
        distances = np.abs(distances)
    else:
        distances = np.maximum(-distances, 0)
    exact = buckets // 2
    fraction = np.log(np.maximum(distances, 1) / exact) / math.log(config.maximum_distance / exact)
    far = np.minimum(exact + (fraction * (buckets - exact)).astype(distances.dtype), buckets - 1)
    return start + np.where(distances < exact, distances, far)


def relative_bias(
    table: Array, query_length: int, key_length: int, config: RelativeBias, *, query_offset: Any = 0
) -> Array:
    """Look the bias of every query and key up by the bucket of their distance.

    Arguments:
        table: `(buckets,h)`.
        query_length: q.
        key_length: k.
        config: see `relative_bucket`.
        query_offset: an integer or one for each batch row `(b,)`.

    Returns:
        `(h,q,k)`, or `(b,h,q,k)` with one offset for each batch row.

    Example:
        >>> config = spec.RelativeBias(buckets=4, maximum_distance=8)
        >>> table = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> relative_bias(table, 2, 2, config).round(3)
        array([[[0., 3.],
                [1., 0.]]])
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    table, query_offset = checked("relative_bias", table=table, **lengths, config=config, query_offset=query_offset)
    distances = _distances(query_length, key_length, query_offset)  # (q,k) or (b,q,k)
    buckets = _bucket(distances, config)
    return np.moveaxis(table[buckets], -1, -3)  # (...,q,k,h) -> (...,h,q,k)


def _distances(query_length: int, key_length: int, query_offset: Any) -> Array:
    """Return `j - (i + query_offset)`: `(q,k)`, or `(b,q,k)` with one offset for each batch row."""
    offsets = np.asarray(query_offset)[..., None, None]  # () or (b,1,1)
    return np.arange(key_length) - (np.arange(query_length)[:, None] + offsets)
