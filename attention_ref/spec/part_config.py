"""Configurations of parts of layers: normalisations and codes of position."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from attention_ref.spec.records import Record


@dataclass(frozen=True)
class Norm(Record):
    """A normalisation of vectors, over their last axis.

    Arguments:
        kind: `layer` (subtract the mean, divide by the standard deviation) or `rms` (divide by the root mean square).
        eps: added to the variance or mean square inside the root; without a default, because libraries' defaults range
            from 1e-12 to 1e-3.
        bias: whether a LayerNorm has a bias; an RMSNorm has none.
        gain_offset: added to the stored gain; 1 in Gemma, which stores gains minus 1.
        gain: whether there is a gain; without one, nothing is scaled.
    """

    kind: Literal["layer", "rms"]
    eps: float
    bias: bool = True
    gain_offset: float = 0.0
    gain: bool = True

    def _check(self) -> None:
        self.require(self.gain or not self.gain_offset, "a gain_offset needs a gain", self.gain_offset)
        self.require(self.eps >= 0, "eps must be at least 0", self.eps)

    @property
    def has_bias(self) -> bool:
        """Whether the normalisation has a bias."""
        return self.bias and self.kind == "layer"


def require_base(record: Record, base: float) -> None:
    """Reject the record unless all powers of the base from -1 to 0 are finite."""
    record.require(base > 0, "base must be above 0", base)
    record.require(base >= sys.float_info.min, "base must be a normal number of float64", base)


@dataclass(frozen=True, kw_only=True)
class Sinusoid(Record):
    """Sinusoidal positions, added to the embedding; see `sinusoidal_positions`.

    Arguments:
        variant: the order of sines and cosines, and the denominator.
        base: the base of the frequencies.
        offset: added to every position: padding index + 1 in M2M-100.
    """

    variant: Literal["interleaved", "concatenated", "tensor2tensor"] = "interleaved"
    base: float = 10000.0
    offset: int = 0

    def _check(self) -> None:
        self.require(0 <= self.offset < 2**24, "offset must be at least 0 and below 2^24", self.offset)
        require_base(self, self.base)


SINUSOID = Sinusoid()
"""The positions of "Attention Is All You Need"."""


@dataclass(frozen=True, kw_only=True)
class Learned(Record):
    """A trained table of position vectors, added to the embedding.

    Arguments:
        length: how many positions the table has, without the offset.
        offset: the row of position 0: 2 in BART, padding index + 1 in RoBERTa. The table has `length + offset` rows.
    """

    length: int
    offset: int = 0

    def _check(self) -> None:
        self.require_positive("length")
        self.require(self.offset >= 0, "offset must be at least 0", self.offset)


@dataclass(frozen=True, kw_only=True)
class RotaryScaling(Record):
    """A change of rotary frequencies for longer contexts; see `rotary_frequencies`.

    Arguments:
        kind: `linear`, `ntk`, `dynamic`, `yarn`, `longrope` or `llama3`.
        factor: the ratio of the new length to the original one.
        original_length: the context length that the model was trained on; of all but linear and ntk.
        low_frequency_factor, high_frequency_factor: the ends of llama3's interpolation, in rotations within
            `original_length`.
        slow_rotations, fast_rotations: the ends of yarn's ramp, in rotations within `original_length`.
        truncate: whether the ends of yarn's ramp are moved outwards to whole pairs.
        attention_factor: the factor of sines and cosines of yarn and longrope; computed from `factor` when None.
        short_factors, long_factors: by what longrope divides the frequency of each pair, in calls within
            `original_length` and in longer ones.
    """

    kind: Literal["linear", "ntk", "dynamic", "yarn", "longrope", "llama3"]
    factor: float
    original_length: int = 8192
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    slow_rotations: float = 1.0
    fast_rotations: float = 32.0
    truncate: bool = True
    attention_factor: float | None = None
    short_factors: tuple[float, ...] | None = None
    long_factors: tuple[float, ...] | None = None

    def _check(self) -> None:
        self.require(self.factor > 0, "factor must be above 0", self.factor)
        self.require_positive("original_length")
        self.require_order("low_frequency_factor", "high_frequency_factor")
        self.require_order("slow_rotations", "fast_rotations")
        self.require_positive("slow_rotations")
        for name, kinds in _READ_BY.items():
            is_read = self.kind in kinds or getattr(self, name) == type(self).__dataclass_fields__[name].default
            self.require(is_read, f"{name} is an option of {' and '.join(kinds)} only", f"{name} with {self.kind}")
        if self.kind == "longrope":
            for name in ("short_factors", "long_factors"):
                factors = getattr(self, name)
                is_right = factors is not None and all(factor > 0 for factor in factors)
                self.require(is_right, f"longrope needs {name} above 0", factors)
            self.require(self.original_length > 1, "longrope needs an original_length above 1", self.original_length)


_READ_BY = {
    "original_length": ("dynamic", "yarn", "longrope", "llama3"),
    "low_frequency_factor": ("llama3",),
    "high_frequency_factor": ("llama3",),
    "slow_rotations": ("yarn",),
    "fast_rotations": ("yarn",),
    "truncate": ("yarn",),
    "attention_factor": ("yarn", "longrope"),
    "short_factors": ("longrope",),
    "long_factors": ("longrope",),
}


@dataclass(frozen=True, kw_only=True)
class Rotary(Record):
    """Rotary positions; see `rotate`.

    Arguments:
        base: the base of the frequencies.
        dimension: how many leading components of a head are rotated, even; all when None.
        interleaved: rotate pairs of adjacent components, instead of component i of the first half with i of the second.
        scaling: a change of the frequencies.
        angles: the dtype in which angles are computed; `float32` only for parity with checkpoints that were trained
            with it.
    """

    base: float = 10000.0
    dimension: int | None = None
    interleaved: bool = False
    scaling: RotaryScaling | None = None
    angles: Literal["float64", "float32"] = "float64"

    def _check(self) -> None:
        require_base(self, self.base)
        if self.dimension is not None:
            is_even = self.dimension > 0 and self.dimension % 2 == 0
            self.require(is_even, "dimension must be even and above 0", self.dimension)
        if self.scaling is not None and self.scaling.kind == "yarn":
            self.require(self.base > 1, "yarn needs a base above 1", self.base)

    def check_factors(self, dimension: int) -> None:
        """Reject the record unless longrope has a factor for every pair."""
        if self.scaling is not None and self.scaling.kind == "longrope":
            counts = [len(self.scaling.short_factors or ()), len(self.scaling.long_factors or ())]
            rule = f"longrope needs {dimension // 2} factors of each kind, one for every rotated pair"
            self.require(counts == [dimension // 2] * 2, rule, counts)


@dataclass(frozen=True, kw_only=True)
class RelativeBias(Record):
    """T5's relative bias: one trained number for each bucket of distances and head; see `relative_bucket`."""

    buckets: int = 32
    maximum_distance: int = 128
    bidirectional: bool = True

    def _check(self) -> None:
        directions = 2 if self.bidirectional else 1
        self.require(self.buckets >= 2 * directions, f"buckets must be at least {2 * directions}", self.buckets)
        exact = self.buckets // directions // 2
        rule = f"maximum_distance must be above the {exact} distances that have a bucket each"
        self.require(self.maximum_distance > exact, rule, self.maximum_distance)
