"""Positional codes. Angles are computed in float64, on the device of the positions, and rounded once."""

from __future__ import annotations

import math
from typing import Any

import torch

from attention_ref.spec.call_checks import check_call
from attention_ref.spec.config import SINUSOID, RelativeBias, Rotary, RotaryScaling, Sinusoid
from attention_ref.torch._arrays import Array, as_array, checked, widen
from attention_ref.torch._remembered import remembered


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
        like: a tensor of the dtype and on the device to give.

    Returns:
        `(..., m)`.

    Raises:
        SpecificationError: for a size that cannot hold the code.

    Example:
        >>> sinusoidal_positions(torch.tensor([0, 1]), 4, like=torch.zeros(1))
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    positions, like = checked("sinusoidal_positions", positions=positions, size=size, config=config, like=like)
    half = size // 2
    steps = half - 1 if config.variant == "tensor2tensor" else half
    frequencies = config.base ** (-_count(half, like.device) / steps)  # (m/2,) float64
    angles = (as_array(positions, like.device)[..., None] + config.offset) * frequencies  # (..., m/2)
    pair = torch.sin(angles), torch.cos(angles)
    if config.variant == "interleaved":
        code = torch.stack(pair, dim=-1).flatten(-2)  # (..., m/2, 2) -> (..., m)
    else:
        code = torch.cat(pair, dim=-1)  # (..., m)
    return code.to(like.dtype)


def rotary_frequencies(dimension: int, config: Rotary, *, length: Any = 0, device: torch.device | None = None) -> Array:
    """Return the frequencies of rotary positions, `base^(-2i/dimension)` changed as `config.scaling` says.

    Arguments:
        dimension: how many leading sizes of a head are rotated, even.
        config: base and scaling; the formulas stand in `attention_ref.spec.positions`.
        length: of the call: the largest position and 1; of the scalings dynamic and longrope.
        device: where to give them.

    Returns:
        `(dimension/2,)`, float64, in radians for each position.

    Example:
        >>> rotary_frequencies(4, spec.Rotary())
        tensor([1.0000, 0.0100], dtype=torch.float64)
    """
    check_call("rotary_frequencies", {"dimension": dimension, "config": config})
    pairs = _count(dimension // 2, device)
    frequencies = config.base ** (-2 * pairs / dimension)
    scaling = config.scaling
    if scaling is None:
        return frequencies
    if scaling.kind in ("ntk", "dynamic"):
        return frequencies * _stretch(scaling, length) ** (-pairs / max(dimension // 2 - 1, 1))
    if scaling.kind == "longrope":
        short, long = (
            torch.tensor(factors, dtype=torch.float64, device=device)
            for factors in (scaling.short_factors, scaling.long_factors)
        )
        return frequencies / torch.where(torch.as_tensor(length) > scaling.original_length, long, short)
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "llama3":
        kept = _llama3_fractions(frequencies, scaling)
    else:
        kept = _yarn_fractions(pairs, dimension, config.base, scaling)
    return kept * frequencies + (1 - kept) * frequencies / scaling.factor


def _stretch(scaling: RotaryScaling, length: Any) -> Any:
    """Return the factor of ntk: the configured one, or that of a call of this length."""
    if scaling.kind == "ntk":
        return scaling.factor
    longest = torch.as_tensor(length).double().clamp(min=scaling.original_length)
    return scaling.factor * longest / scaling.original_length - (scaling.factor - 1)


def _llama3_fractions(frequencies: Array, scaling: RotaryScaling) -> Array:
    turns = scaling.original_length * frequencies / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return torch.clip((turns - low) / (high - low), 0, 1)


def _yarn_fractions(pairs: Array, dimension: int, base: float, scaling: RotaryScaling) -> Array:
    def pair_that_turns(rotations: float) -> float:
        return dimension * math.log(scaling.original_length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_that_turns(scaling.fast_rotations), pair_that_turns(scaling.slow_rotations)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dimension - 1)
    width = max(last - first, 0.001)  # the ramp must not divide by zero
    return 1 - torch.clip((pairs - first) / width, 0, 1)


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
        >>> rotate(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([1]), spec.Rotary())
        tensor([[[[0.5403, 0.8415]]]])
    """
    array, positions = checked("rotate", array=array, positions=positions, config=config)
    dimension, x = config.dimension or array.shape[-1], widen(array)
    positions = as_array(positions, array.device)
    cosine, sine = remembered(_turns, positions, dimension, config, x)  # (l,n/2) or (b,l,n/2)
    if cosine.ndim == 3:
        cosine, sine = cosine[:, None], sine[:, None]  # (b,1,l,n/2)
    rotated, kept = x[..., :dimension], x[..., dimension:]
    if config.interleaved:
        first, second = rotated[..., 0::2], rotated[..., 1::2]  # (b,h,l,n/2) each
    else:
        first, second = rotated.chunk(2, dim=-1)
    pair = first * cosine - second * sine, second * cosine + first * sine
    if config.interleaved:
        rotated = torch.stack(pair, dim=-1).flatten(-2)  # (b,h,l,n/2,2) -> (b,h,l,n)
    else:
        rotated = torch.cat(pair, dim=-1)  # (b,h,l,n)
    whole = torch.cat([rotated, kept], dim=-1) if kept.shape[-1] else rotated
    return whole.to(array.dtype)


def _turns(positions: Array, dimension: int, config: Rotary, like: Array) -> tuple[Array, Array]:
    """Return cosines and sines of the angles of positions."""
    length = _length(positions, config)
    angles = _angles(positions, rotary_frequencies(dimension, config, length=length, device=like.device), config)
    amplitude = rotary_amplitude(config)
    return (torch.cos(angles) * amplitude).to(like.dtype), (torch.sin(angles) * amplitude).to(like.dtype)


def _length(positions: Array, config: Rotary) -> Any:
    """Return the largest position and 1 where the frequencies depend on it, otherwise 0."""
    if config.scaling is None or config.scaling.kind not in ("dynamic", "longrope"):
        return 0
    return torch.cat([positions.flatten(), positions.new_zeros(1)]).max() + 1


def _angles(positions: Array, frequencies: Array, config: Rotary) -> Array:
    if config.angles == "float32":
        return positions[..., None].float() * frequencies.float()
    return positions[..., None] * frequencies


def alibi_slopes(heads: int, *, device: torch.device | None = None) -> Array:
    """Return the slope of each head: `2^(-8i/n)`, i from 1, for n heads a power of two.

    Otherwise the slopes of the next smaller power of two come first, then every second slope of the power above it.

    Returns:
        `(h,)`, float64.

    Example:
        >>> alibi_slopes(4)
        tensor([0.2500, 0.0625, 0.0156, 0.0039], dtype=torch.float64)
    """
    check_call("alibi_slopes", {"heads": heads})
    power = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8 * (_count(power, device) + 1) / power)
    between = 2.0 ** (-4 * (2 * _count(power, device) + 1) / power)
    return torch.cat([slopes, between[: heads - power]])


def alibi_bias(heads: int, query_length: int, key_length: int, *, query_offset: Any = 0, like: Array) -> Array:
    """Return the bias of attention with linear biases: `-slope_h * |i + query_offset - j|`.

    Arguments:
        heads: h.
        query_length: q.
        key_length: k.
        query_offset: an integer or one for each batch row `(b,)`.
        like: a tensor of the dtype and on the device to give.

    Returns:
        `(h,q,k)`, or `(b,h,q,k)` with one offset for each batch row.

    Example:
        >>> alibi_bias(2, 1, 2, query_offset=2, like=torch.zeros(1))[:, 0]
        tensor([[-0.1250, -0.0625],
                [-0.0078, -0.0039]])
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    query_offset, like = checked("alibi_bias", heads=heads, **lengths, query_offset=query_offset, like=like)
    distances = torch.abs(_distances(query_length, key_length, query_offset, like.device))  # (q,k) or (b,q,k)
    slopes = alibi_slopes(heads, device=like.device)[:, None, None]  # (h,1,1)
    return (-slopes * distances[..., None, :, :]).to(like.dtype)


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
        >>> relative_bucket(torch.tensor([-2, -1, 0, 1, 2]), config).tolist()
        [2, 1, 0, 5, 6]
    """
    (distances,) = checked("relative_bucket", distances=distances, config=config)
    return _bucket(distances, config)


def _bucket(distances: Array, config: RelativeBias) -> Array:
    buckets, start = config.buckets, 0
    if config.bidirectional:
        buckets //= 2
        start = torch.where(distances > 0, buckets, 0)
        distances = torch.abs(distances)
    else:
        distances = torch.clamp(-distances, min=0)
    exact = buckets // 2
    fraction = torch.log(torch.clamp(distances, min=1).double() / exact) / math.log(config.maximum_distance / exact)
    far = torch.clamp(exact + (fraction * (buckets - exact)).to(distances.dtype), max=buckets - 1)
    return start + torch.where(distances < exact, distances, far)


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
        >>> table = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> relative_bias(table, 2, 2, config)
        tensor([[[0., 3.],
                 [1., 0.]]])
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    table, query_offset = checked("relative_bias", table=table, **lengths, config=config, query_offset=query_offset)
    distances = _distances(query_length, key_length, query_offset, table.device)  # (q,k) or (b,q,k)
    buckets = _bucket(distances, config)
    return torch.movedim(table[buckets], -1, -3)  # (...,q,k,h) -> (...,h,q,k)


def _count(length: int, device: torch.device | None) -> Array:
    return torch.arange(length, dtype=torch.float64, device=device)


def _distances(query_length: int, key_length: int, query_offset: Any, device: torch.device) -> Array:
    """Return `j - (i + query_offset)`: `(q,k)`, or `(b,q,k)` with one offset for each batch row."""
    offsets = as_array(query_offset, device)[..., None, None]  # () or (b,1,1)
    return torch.arange(key_length, device=device) - (torch.arange(query_length, device=device)[:, None] + offsets)
