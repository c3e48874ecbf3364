"""Positional codes: sinusoids, rotary positions, linear biases and relative biases.

Angles are computed in float64 and rounded once by whoever stores them: in float32 the angle itself is off by 1e-3 at
position 131071.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from attention_ref.spec.arrays import Array, indices
from attention_ref.spec.call_checks import check_call
from attention_ref.spec.checks import checked
from attention_ref.spec.config import SINUSOID, RelativeBias, Rotary, RotaryScaling, Sinusoid
from attention_ref.spec.numbers import Number, cos, double, power, rounded, sin, single, stored


def sinusoidal_positions(
    positions: Sequence[int] | Array, size: int, config: Sinusoid = SINUSOID, *, like: Number = 1.0
) -> Array:
    """Code positions by sines and cosines of wavelengths in a geometric progression.

        angle_pi = (p + offset) / base^(2i/m)                   interleaved, concatenated
        angle_pi = (p + offset) / base^(i/(m/2 - 1))            tensor2tensor
        interleaved:                   sin angle_p0, cos angle_p0, sin angle_p1, ...
        concatenated, tensor2tensor:   sin angle_p0, sin angle_p1, ..., cos angle_p0, cos angle_p1, ...

    Arguments:
        positions: integers `(l,)`, or of any other shape.
        size: m, even; at least 4 for tensor2tensor.
        config: the variant, the base and the offset.
        like: a number of the type to compute with.

    Returns:
        `(..., m)` for positions of shape `(...)`.

    Raises:
        SpecificationError: for an odd size.

    Source: Vaswani et al. (2017), section 3.5; the third variant is tensor2tensor's `get_timing_signal_1d`.

    How others differ: keras-hub and DistilBERT interleave; Marian and x-transformers concatenate; Whisper and fairseq
    use tensor2tensor's denominator.
    """
    (places,) = checked("sinusoidal_positions", positions=positions, size=size, config=config, like=like)
    frequencies = sinusoid_frequencies(size, config, like=like)
    rows = [_sinusoid_row(double(place + config.offset, like), frequencies, config) for place in places.values]
    return Array((*places.shape, size), [number for row in rows for number in row], "real")


def sinusoid_frequencies(size: int, config: Sinusoid, *, like: Number = 1.0) -> list[Number]:
    """Return the `m/2` frequencies of the code, in radians for each position."""
    half = size // 2
    steps = half - 1 if config.variant == "tensor2tensor" else half
    return _geometric(config.base, half, steps, like)


def _geometric(base: Number, count: int, steps: int, like: Number) -> list[Number]:
    """Return `base^(-i/steps)` for the first `count` integers."""
    exponents = [double(-i, like) / double(steps, like) for i in range(count)]
    return [power(base, exponent) for exponent in exponents]


def _sinusoid_row(position: Number, frequencies: Sequence[Number], config: Sinusoid) -> list[Number]:
    sines = [stored(rounded(sin(position * frequency))) for frequency in frequencies]
    cosines = [stored(rounded(cos(position * frequency))) for frequency in frequencies]
    if config.variant == "interleaved":
        return [number for pair in zip(sines, cosines, strict=True) for number in pair]
    return sines + cosines


def rotary_frequencies(dimension: int, config: Rotary, *, length: int = 0, like: Number = 1.0) -> list[Number]:
    """Return the frequencies of rotary positions, one for each rotated pair.

        frequency_i = base^(-2i/dimension)

    then changed as `config.scaling` says:

        linear   frequency / factor
        ntk      base * factor^(dimension / (dimension - 2)) in place of base
        dynamic  ntk with factor * length / original_length - (factor - 1) for the factor, in calls longer than
                 original_length
        longrope frequency_i / long_factors_i in calls longer than original_length, frequency_i / short_factors_i in
                 others
        llama3   frequency / factor for wavelengths above original_length / low_frequency_factor, unchanged below
                 original_length / high_frequency_factor, a blend of both between them
        yarn     a blend of frequency / factor and frequency by a ramp over i, between the pairs that turn
                 slow_rotations and fast_rotations times within original_length

    Arguments:
        dimension: how many leading sizes of a head are rotated, even.
        config: base and scaling.
        length: of the call: the largest position and 1.
        like: a number of the type to compute with.

    Returns:
        `dimension/2` frequencies in radians for each position.

    Source: Su et al., "RoFormer" (2021); linear: Chen et al. (2023); NTK-aware: bloc97 (2023); YaRN: Peng et al.
    (2023), section 3.2; dynamic: emozilla (2023); longrope: Ding et al. (2024); llama3: the released Llama 3.1 code.
    """
    check_call("rotary_frequencies", {"dimension": dimension, "config": config})
    scaling = config.scaling
    frequencies = _geometric(config.base, dimension // 2, dimension // 2, like)
    if scaling is None:
        return frequencies
    if scaling.kind in ("ntk", "dynamic"):
        # base^(-2i/n) * factor^(-2i/(n - 2)), the second part being 1 for the first pair
        stretch = _geometric(_stretch(scaling, length), dimension // 2, max(dimension // 2 - 1, 1), like)
        return [frequency * change for frequency, change in zip(frequencies, stretch, strict=True)]
    if scaling.kind == "longrope":
        factors = scaling.long_factors if length > scaling.original_length else scaling.short_factors
        return [frequency / double(factor, like) for frequency, factor in zip(frequencies, factors or (), strict=True)]
    if scaling.kind == "linear":
        fractions = [0.0] * len(frequencies)
    elif scaling.kind == "llama3":
        fractions = [_llama3_fraction(float(frequency), scaling) for frequency in frequencies]
    else:
        fractions = _yarn_fractions(dimension, config.base, scaling)
    return [_blend(frequency, fraction, scaling) for frequency, fraction in zip(frequencies, fractions, strict=True)]


def _stretch(scaling: RotaryScaling, length: int) -> float:
    """Return the factor of ntk: the configured one, or that of a call of this length."""
    if scaling.kind == "ntk":
        return scaling.factor
    return scaling.factor * max(length, scaling.original_length) / scaling.original_length - (scaling.factor - 1)


def _blend(frequency: Number, fraction: float, scaling: RotaryScaling) -> Number:
    """Keep a fraction of a frequency and divide the rest by the factor."""
    kept, slowed = double(fraction, frequency), double(1 - fraction, frequency)
    return frequency * kept + frequency / double(scaling.factor, frequency) * slowed


def _llama3_fraction(frequency: float, scaling: RotaryScaling) -> float:
    turns = scaling.original_length * frequency / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return min(1.0, max(0.0, (turns - low) / (high - low)))


def yarn_range(dimension: int, base: float, scaling: RotaryScaling) -> tuple[float, float]:
    """Return the ends of yarn's ramp as indices of pairs, the first one of pairs that turn `fast_rotations` times."""

    def pair_that_turns(rotations: float) -> float:
        return dimension * math.log(scaling.original_length / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first, last = pair_that_turns(scaling.fast_rotations), pair_that_turns(scaling.slow_rotations)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    return max(first, 0), min(last, dimension - 1)


def _yarn_fractions(dimension: int, base: float, scaling: RotaryScaling) -> list[float]:
    first, last = yarn_range(dimension, base, scaling)
    width = max(last - first, 0.001)  # the ramp must not divide by zero
    return [1 - min(1.0, max(0.0, (i - first) / width)) for i in range(dimension // 2)]


def rotary_amplitude(config: Rotary) -> float:
    """Return the factor of sines and cosines: what is configured, or for a factor above 1 as follows.

        yarn        0.1 log(factor) + 1
        longrope    sqrt(1 + log(factor) / log(original_length))

    Otherwise it is 1.
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


def rotate(array: Array, positions: Array, config: Rotary) -> Array:
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

    How others differ: Llama and its relatives, keras-hub and ONNX's default pair halves; GPT-J and x-transformers
    interleave.
    """
    array, positions = checked("rotate", array=array, positions=positions, config=config)
    if not array.values:
        return array
    like = array.values[0]
    dimension = config.dimension or array.shape[-1]
    length = max(positions.values) + 1
    frequencies = rotary_frequencies(dimension, config, length=length, like=like)
    amplitude = rotary_amplitude(config)
    turns = {place: _turn(double(place, like), frequencies, amplitude, config) for place in set(positions.values)}
    rotated: list[Number] = []
    for index in indices(array.shape[:-1]):
        *batch, _, place = index
        position = positions[(place,) if len(positions.shape) == 1 else (*batch, place)]
        rotated += _rotate_row(array[index], *turns[position], config.interleaved)
    return Array(array.shape, rotated, "real")


def _turn(
    position: Number, frequencies: Sequence[Number], amplitude: float, config: Rotary
) -> tuple[list[Number], list[Number]]:
    """Return the cosines and sines of one position's angles."""
    angles = [position * frequency for frequency in frequencies]
    if config.angles == "float32":
        angles = [double(single(single(position) * single(frequency)), position) for frequency in frequencies]
    factor = double(amplitude, position)
    return [rounded(cos(angle) * factor) for angle in angles], [rounded(sin(angle) * factor) for angle in angles]


def _rotate_row(
    row: Sequence[Number], cosines: Sequence[Number], sines: Sequence[Number], interleaved: bool
) -> list[Number]:
    half = len(cosines)
    result = list(row)
    for i, (cosine, sine) in enumerate(zip(cosines, sines, strict=True)):
        first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
        result[first] = row[first] * cosine - row[second] * sine
        result[second] = row[second] * cosine + row[first] * sine
    return result


def alibi_slopes(heads: int, *, like: Number = 1.0) -> list[Number]:
    """Return the slope of each head: `2^(-8i/n)`, i from 1, for n heads a power of two.

    Otherwise the slopes of the next smaller power of two come first, then every second slope of the power above it.

    Source: Press, Smith and Lewis, "Train Short, Test Long" (2022), section 3, and its released code.
    """
    check_call("alibi_slopes", {"heads": heads})
    largest = 2 ** math.floor(math.log2(heads))
    exponents = [-8 * i / largest for i in range(1, largest + 1)]
    exponents += [-4 * i / largest for i in range(1, 2 * largest + 1, 2)]
    return [_power_of_two(exponent, like) for exponent in exponents[:heads]]


def _power_of_two(exponent: float, like: Number) -> Number:
    """Return `2^exponent`, as an exact constant where it is one."""
    return double(2.0**exponent, like) if exponent.is_integer() else power(2.0, double(exponent, like))


def alibi_bias(
    heads: int,
    query_length: int,
    key_length: int,
    *,
    query_offset: int | Sequence[int] | Array = 0,
    like: Number = 1.0,
) -> Array:
    """Return the bias of attention with linear biases: `-slope_h * |i + query_offset - j|`.

    Arguments:
        heads: h.
        query_length: q.
        key_length: k.
        query_offset: an integer or one for each batch row `(b,)`.
        like: a number of the type to compute with.

    Returns:
        `(h,q,k)`, or `(b,h,q,k)` with one offset for each batch row.

    How others differ: Bloom, MPT and FlashAttention shift each row by a constant, which causal softmax cancels.
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    (offsets,) = checked("alibi_bias", heads=heads, **lengths, query_offset=query_offset, like=like)
    values = [
        rounded(-slope * double(abs(i + offset - j), like))
        for offset in offsets.values
        for slope in alibi_slopes(heads, like=like)
        for i in range(query_length)
        for j in range(key_length)
    ]
    return Array((*offsets.shape, heads, query_length, key_length), values, "real")


def relative_bucket(distance: int, config: RelativeBias) -> int:
    """Return the bucket of a key at `distance = j - (i + query_offset)`.

    Half of the buckets (of each direction, when bidirectional) hold one distance each; the others grow
    logarithmically up to `maximum_distance`, and hold all that is farther. Without both directions every later key
    shares bucket 0.

    Source: Raffel et al., "Exploring the Limits of Transfer Learning" (2020), section 2.1, and the released T5 code.
    """
    buckets, start = config.buckets, 0
    if config.bidirectional:
        buckets //= 2
        start = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return start + distance
    fraction = math.log(distance / exact) / math.log(config.maximum_distance / exact)
    return start + min(exact + int(fraction * (buckets - exact)), buckets - 1)


def relative_bias(
    table: Array,
    query_length: int,
    key_length: int,
    config: RelativeBias,
    *,
    query_offset: int | Sequence[int] | Array = 0,
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
    """
    lengths = {"query_length": query_length, "key_length": key_length}
    table, offsets = checked("relative_bias", table=table, **lengths, config=config, query_offset=query_offset)
    heads = table.shape[1]
    values = [
        table[(relative_bucket(j - i - offset, config), head)]
        for offset in offsets.values
        for head in range(heads)
        for i in range(query_length)
        for j in range(key_length)
    ]
    return Array((*offsets.shape, heads, query_length, key_length), values, "real")
