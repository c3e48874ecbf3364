"""Wrong positional codes beyond those of the gallery's pages, and wrong scalings of rotary frequencies."""

# ruff: noqa: ARG001 - the functions of frequencies have the same arguments

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from attention_ref import numpy as right
from attention_ref.numpy import positions as codes
from attention_ref.spec.config import RotaryScaling
from tests.wrong_layers.record import Mistake


def _rotating(kind, change):
    """Return a rotation whose configuration a function changes where the scaling is of a kind."""

    def rotate(array, positions, config):
        is_meant = config.scaling is not None and config.scaling.kind == kind
        return right.rotate(array, positions, change(config, config.scaling) if is_meant else config)

    return rotate


def _with_frequencies(kind, frequencies):
    """Return a rotation with other frequencies for a kind of scaling, computed from `base^(-2i/n)`."""

    def rotate(array, positions, config):
        scaling = config.scaling
        if scaling is None or scaling.kind != kind:
            return right.rotate(array, positions, config)
        size = config.dimension or array.shape[-1]
        usual = config.base ** (-np.arange(0, size, 2) / size)
        turns = frequencies(usual, size, config, scaling, int(np.max(positions)) + 1)
        angles = np.asarray(positions)[..., None] * turns
        angles = angles[:, None] if angles.ndim == 3 else angles
        amplitude = codes.rotary_amplitude(config)
        cosine, sine = np.cos(angles) * amplitude, np.sin(angles) * amplitude
        rows = array.astype(np.float64)
        first, second = (
            (rows[..., 0:size:2], rows[..., 1:size:2])
            if config.interleaved
            else (rows[..., : size // 2], rows[..., size // 2 : size])
        )
        pair = first * cosine - second * sine, second * cosine + first * sine
        turned = (
            np.stack(pair, -1).reshape(*pair[0].shape[:-1], size) if config.interleaved else np.concatenate(pair, -1)
        )
        return np.concatenate([turned, rows[..., size:]], -1).astype(array.dtype)

    return rotate


def _without_factor(array, positions, config):
    scaling = config.scaling
    if scaling is None or scaling.kind not in ("yarn", "longrope"):
        return right.rotate(array, positions, config)
    return right.rotate(array, positions, replace(config, scaling=replace(scaling, attention_factor=1.0)))


def _with_computed_factor(array, positions, config):
    scaling = None if config.scaling is None else replace(config.scaling, attention_factor=None)
    return right.rotate(array, positions, replace(config, scaling=scaling))


def _of_two_ends(usual, size, config, scaling, length):
    """Divide wavelengths above the lower end of Llama 3's blend, and leave the others."""
    wavelengths = 2 * np.pi / usual
    return np.where(wavelengths > scaling.original_length / scaling.low_frequency_factor, usual / scaling.factor, usual)


def _on_unrounded_ramp(usual, size, config, scaling, length):
    def place(turns):
        return size * math.log(scaling.original_length / (turns * 2 * math.pi)) / (2 * math.log(config.base))

    low, high = max(place(scaling.fast_rotations), 0), min(place(scaling.slow_rotations), size - 1)
    ramp = np.clip((np.arange(size // 2) - low) / (high - low), 0, 1)
    return usual / scaling.factor * ramp + usual * (1 - ramp)


def _dynamic_of_any_length(usual, size, config, scaling, length):
    stretch = scaling.factor * length / scaling.original_length - (scaling.factor - 1)
    return (config.base * stretch ** (size / (size - 2))) ** (-np.arange(0, size, 2) / size)


def _partial_as_whole(array, positions, config):
    if config.dimension is None:
        return right.rotate(array, positions, config)
    whole = np.pad(array[..., : config.dimension], [(0, 0)] * 3 + [(0, array.shape[-1] - config.dimension)])
    pairs = config.dimension // 2
    if not config.interleaved:  # place the pairs as they stand in a whole head
        half = array.shape[-1] // 2
        whole = np.zeros_like(array)
        whole[..., :pairs], whole[..., half : half + pairs] = array[..., :pairs], array[..., pairs : 2 * pairs]
    turned = right.rotate(whole, positions, replace(config, dimension=None))
    if not config.interleaved:
        turned = np.concatenate([turned[..., :pairs], turned[..., half : half + pairs]], axis=-1)
    return np.concatenate([turned[..., : 2 * pairs], array[..., 2 * pairs :]], axis=-1)


def _of_half_exponents(array, positions, config):
    if config.scaling is not None:
        return right.rotate(array, positions, config)
    return right.rotate(array, positions, replace(config, base=config.base**0.5))


def _of_first_row(array, positions, config):
    return right.rotate(array, positions[0] if positions.ndim == 2 else positions, config)


def _alibi(slopes=right.alibi_slopes, distance=abs):
    def alibi_bias(heads, query_length, key_length, *, query_offset=0, like):
        places = np.arange(query_length)[:, None] + np.asarray(query_offset)[..., None, None, None]
        products = -slopes(heads)[:, None, None] * distance(places - np.arange(key_length))
        return products.astype(like.dtype)

    return alibi_bias


def _clipped_distances(table, query_length, key_length, config, *, query_offset=0):
    places = np.arange(query_length)[:, None] + np.asarray(query_offset)[..., None, None]
    distance = np.arange(key_length) - places
    if config.bidirectional:
        half = config.buckets // 2
        buckets = np.minimum(abs(distance), half - 1) + half * (distance > 0)
    else:
        buckets = np.clip(-distance, 0, config.buckets - 1)
    return np.moveaxis(table[buckets], -1, -3)


ROTATE = "rotate"
POSITIONS: tuple[Mistake, ...] = (
    Mistake("rotary.attention-factor-missing", ROTATE, _without_factor),
    Mistake("rotary.attention-factor-ignored", ROTATE, _with_computed_factor),
    Mistake("rotary.linear-multiplied", ROTATE, _with_frequencies("linear", lambda f, _, c, s, n: f * s.factor)),
    Mistake(
        "rotary.ntk-exponent",
        ROTATE,
        _rotating("ntk", lambda c, s: replace(c, base=c.base * s.factor, scaling=None)),
    ),
    Mistake(
        "rotary.other-scaling",
        ROTATE,
        _rotating("ntk", lambda c, s: replace(c, scaling=RotaryScaling(kind="linear", factor=s.factor))),
    ),
    Mistake("rotary.ramp-missing", ROTATE, _with_frequencies("llama3", lambda f, _, c, s, n: f / s.factor)),
    Mistake("rotary.blend-missing", ROTATE, _with_frequencies("llama3", _of_two_ends)),
    Mistake("rotary.ends-not-rounded", ROTATE, _with_frequencies("yarn", _on_unrounded_ramp)),
    Mistake(
        "rotary.length-ignored",
        ROTATE,
        _rotating("dynamic", lambda c, s: replace(c, scaling=RotaryScaling(kind="ntk", factor=s.factor))),
    ),
    Mistake("rotary.scaled-within-length", ROTATE, _with_frequencies("dynamic", _dynamic_of_any_length)),
    Mistake("rotary.partial-frequencies", ROTATE, _partial_as_whole),
    Mistake("rotary.exponent-halved", ROTATE, _of_half_exponents),
    Mistake("rotary.low-precision", ROTATE, lambda array, p, c: right.rotate(array, p, replace(c, angles="float32"))),
    Mistake("positions.of-first-row", ROTATE, _of_first_row),
    Mistake("alibi.later-not-penalised", "alibi_bias", _alibi(distance=lambda d: np.maximum(d, 0))),
    Mistake("alibi.slopes-reversed", "alibi_bias", _alibi(lambda heads: right.alibi_slopes(heads)[::-1])),
    Mistake(
        "alibi.slopes-from-one",
        "alibi_bias",
        _alibi(lambda heads: right.alibi_slopes(heads) / right.alibi_slopes(heads)[0]),
    ),
    Mistake("relative-bias.not-logarithmic", "relative_bias", _clipped_distances),
)
