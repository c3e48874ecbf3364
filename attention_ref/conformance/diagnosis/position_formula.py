"""Positional codes in named steps: sinusoids, the rotation of queries and keys, biases of distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import PrimitivesFormula
from attention_ref.spec.config import RelativeBias, Rotary, Sinusoid
from attention_ref.spec.positions import (
    alibi_slopes,
    relative_bucket,
    rotary_amplitude,
    rotary_frequencies,
    sinusoid_frequencies,
)


class PositionFormula(PrimitivesFormula):
    """Positional codes as specified."""

    def sinusoidal_positions(self, positions: Array, size: int, config: Sinusoid) -> Array:
        """Return sines and cosines of positions, `(...,m)`."""
        frequencies = self.sinusoid_frequencies(size, config)
        angles = (np.asarray(positions) + config.offset)[..., None] * np.array(frequencies)  # (...,m/2)
        return self.sines_and_cosines(np.sin(angles), np.cos(angles), config.variant)

    def sinusoid_frequencies(self, size: int, config: Sinusoid) -> list[float]:
        """Return the frequencies of the code."""
        return sinusoid_frequencies(size, config)

    def sines_and_cosines(self, sines: Array, cosines: Array, variant: str) -> Array:
        """Arrange sines and cosines along the last axis."""
        if variant == "interleaved":
            return np.stack([sines, cosines], axis=-1).reshape(*sines.shape[:-1], -1 if sines.size else 0)
        return np.concatenate([sines, cosines], axis=-1)

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        """Rotate pairs of a head's numbers, `(b,h,l,d)`, by position times frequency."""
        config = self.rotary(config)
        dimension = config.dimension or array.shape[-1]
        places = np.asarray(positions)
        length = int(places.max(initial=-1)) + 1
        frequencies = np.array(self.rotary_frequencies(dimension, array.shape[-1], config, length))
        places = places[:, None] if places.ndim == 2 else places  # (l) or (b,1,l)
        angles = self.rotary_angles(places, frequencies, config)  # (...,l,dimension/2)
        amplitude = self.rotary_amplitude(config)
        cosines, sines = np.cos(angles) * amplitude, np.sin(angles) * amplitude
        turned, rest = array[..., :dimension], array[..., dimension:]
        half = dimension // 2
        first, second = (
            (slice(0, None, 2), slice(1, None, 2)) if config.interleaved else (slice(half), slice(half, None))
        )
        rotated = np.empty_like(turned)
        rotated[..., first] = turned[..., first] * cosines - turned[..., second] * sines
        rotated[..., second] = turned[..., second] * cosines + turned[..., first] * sines
        return np.concatenate([rotated, rest], axis=-1)

    def rotary(self, config: Rotary) -> Rotary:
        """Return how heads are rotated."""
        return config

    def rotary_frequencies(self, dimension: int, head_size: int, config: Rotary, length: int) -> list[float]:  # noqa: ARG002
        """Return the frequency of each rotated pair, in a call with positions below `length`."""
        return rotary_frequencies(dimension, config, length=length)

    def rotary_angles(self, places: Array, frequencies: Array, config: Rotary) -> Array:
        """Multiply positions and frequencies, in the dtype that is configured."""
        if config.angles == "float32":
            return places[..., None].astype(np.float32) * frequencies.astype(np.float32)
        return places[..., None] * frequencies

    def rotary_amplitude(self, config: Rotary) -> float:
        """Return the factor of sines and cosines."""
        return rotary_amplitude(config)

    def alibi_bias(self, heads: int, query_length: int, key_length: int, *, query_offset: Any = 0) -> Array:
        """Return `-slope_h |i + query_offset - j|`, `(h,q,k)` or `(b,h,q,k)`."""
        distance = self.bias_distance(query_length, key_length, query_offset)[..., None, :, :]
        return -np.array(self.alibi_slopes(heads))[:, None, None] * self.alibi_distance(distance)

    def alibi_slopes(self, heads: int) -> list[float]:
        """Return the slope of each head."""
        return alibi_slopes(heads)

    def alibi_distance(self, distance: Array) -> Array:
        """Return the distance that the slope multiplies, from `j - (i + query_offset)`."""
        return np.abs(distance)

    def bias_distance(self, query_length: int, key_length: int, query_offset: Any) -> Array:
        """Return `j - (i + query_offset)`, `(q,k)` or `(b,q,k)`."""
        offsets = np.asarray(query_offset)[..., None, None]
        return np.arange(key_length) - (np.arange(query_length)[:, None] + offsets)

    def relative_bias(
        self, table: Array, query_length: int, key_length: int, config: RelativeBias, *, query_offset: Any = 0
    ) -> Array:
        """Look up the bucket of each distance in the table, `(h,q,k)` or `(b,h,q,k)`."""
        distance = self.bias_distance(query_length, key_length, query_offset)
        buckets = np.vectorize(lambda d: self.relative_bucket(int(d), config), otypes=[np.int64])(distance)
        return np.moveaxis(table[buckets], -1, -3)

    def relative_bucket(self, distance: int, config: RelativeBias) -> int:
        """Return the bucket of a key at this distance."""
        return relative_bucket(distance, config)
