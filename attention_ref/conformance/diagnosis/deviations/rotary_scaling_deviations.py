"""Deviations of the scaling of rotary frequencies for longer contexts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.spec.config import Rotary, RotaryScaling

_NAMES = {
    "linear": "linear",
    "ntk": "NTK",
    "yarn": "YaRN",
    "llama3": "Llama 3",
    "dynamic": "dynamic",
    "longrope": "LongRoPE",
}


class RotaryScalingIgnored(Deviation):
    """The scaling of the frequencies is ignored."""

    slug = "rotary.scaling-ignored"
    clause = "positions.rotary-linear"
    correction = "scale the frequencies as configured, rope_scaling in checkpoints"
    scalings = tuple(_NAMES)

    def rotary(self, config: Rotary) -> Rotary:
        is_ignored = config.scaling is not None and config.scaling.kind in self.scalings
        return replace(super().rotary(config), scaling=None) if is_ignored else super().rotary(config)


class _Frequencies(Deviation):
    """Other frequencies for some kinds of scaling; sines and cosines have the factor of the right kind."""

    kinds: tuple[str, ...]

    def rotary_frequencies(self, dimension: int, head_size: int, config: Rotary, length: int) -> list[float]:
        if config.scaling is not None and config.scaling.kind in self.kinds:
            config, length = self.changed(config, config.scaling, length)
        return super().rotary_frequencies(dimension, head_size, config, length)

    def changed(self, config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
        """Return the configuration and the length of call whose frequencies are taken."""
        raise NotImplementedError


def frequencies(
    slug_: str,
    clause_: str,
    what: str,
    correction_: str,
    change: Callable[[Rotary, RotaryScaling, int], tuple[Rotary, int]],
    *kinds_: str,
) -> type[Deviation]:
    """Return the deviation that takes the frequencies of another configuration for some kinds of scaling.

    Arguments:
        slug_, clause_, what, correction_: its description, the slug and clause without what all have in common.
        change: returns the configuration and the length of call whose frequencies are taken.
        kinds_: the kinds of scaling; that of the clause when left out.
    """

    class RotaryFrequencies(_Frequencies):
        __doc__ = what
        slug = f"rotary.{slug_}"
        clause = f"positions.rotary-{clause_}"
        correction = correction_
        kinds = kinds_ or (clause_,)

        def changed(self, config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
            return change(config, scaling, length)

    return RotaryFrequencies


def _as_kind(kind: str) -> Callable[[Rotary, RotaryScaling, int], tuple[Rotary, int]]:
    """Return the change to another kind of scaling with the same factor."""
    return lambda config, scaling, length: (
        replace(config, scaling=RotaryScaling(kind=kind, factor=scaling.factor)),  # type: ignore[arg-type]
        length,
    )


def _truncated(truncate: bool) -> Callable[[Rotary, RotaryScaling, int], tuple[Rotary, int]]:
    return lambda config, scaling, length: (replace(config, scaling=replace(scaling, truncate=truncate)), length)


def _of_length(is_long: bool) -> Callable[[Rotary, RotaryScaling, int], tuple[Rotary, int]]:
    return lambda config, scaling, _: (config, scaling.original_length + is_long)


def _grown_base(config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
    factor = scaling.factor
    if scaling.kind == "dynamic":
        factor = max(1.0, factor * length / scaling.original_length - (factor - 1))
    return replace(config, base=config.base * factor, scaling=None), length


def _multiplied(config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
    return replace(config, scaling=replace(scaling, factor=1 / scaling.factor)), length


def _without_blend(config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
    """Move the upper end of Llama 3's interpolation down to the lower one."""
    end = scaling.low_frequency_factor
    return replace(config, scaling=replace(scaling, high_frequency_factor=end * (1 + 1e-9))), length


def _shrunk(config: Rotary, scaling: RotaryScaling, length: int) -> tuple[Rotary, int]:
    """Let the factor of dynamic scaling fall below 1 in calls shorter than the original length."""
    factor = scaling.factor * length / scaling.original_length - (scaling.factor - 1)
    if length >= scaling.original_length or factor <= 0:
        return config, length
    return replace(config, scaling=RotaryScaling(kind="ntk", factor=factor)), length


class RotaryFactorMissing(Deviation):
    """Sines and cosines are not multiplied by the attention factor."""

    slug = "rotary.attention-factor-missing"
    clause = "positions.rotary-yarn"
    correction = (
        "multiply sines and cosines: by 0.1 log(factor) + 1 in YaRN, sqrt(1 + log(factor) / log(length)) in LongRoPE"
    )
    kinds: tuple[str, ...] = ("yarn", "longrope")

    def rotary_amplitude(self, config: Rotary) -> float:
        is_meant = config.scaling is not None and config.scaling.kind in self.kinds
        return 1.0 if is_meant else super().rotary_amplitude(config)


class RotaryFactorComputed(Deviation):
    """An attention factor that is configured is ignored, and computed instead."""

    slug = "rotary.attention-factor-ignored"
    clause = "positions.rotary-yarn"
    correction = "multiply sines and cosines by the configured attention factor"

    def rotary_amplitude(self, config: Rotary) -> float:
        scaling = config.scaling
        return super().rotary_amplitude(
            config if scaling is None else replace(config, scaling=replace(scaling, attention_factor=None))
        )


ROTARY_SCALINGS: tuple[type[Deviation], ...] = (
    RotaryScalingIgnored,
    *(
        variant(
            RotaryScalingIgnored,
            f"The {name} scaling of the frequencies is ignored.",
            scalings=(kind,),
            clause=f"positions.rotary-{kind}",
        )
        for kind, name in _NAMES.items()
    ),
    RotaryFactorMissing,
    *(
        variant(
            RotaryFactorMissing,
            f"Sines and cosines are not multiplied by the attention factor of {_NAMES[kind]}.",
            kinds=(kind,),
            clause=f"positions.rotary-{kind}",
        )
        for kind in ("yarn", "longrope")
    ),
    RotaryFactorComputed,
    frequencies(
        "linear-multiplied",
        "linear",
        "The frequencies are multiplied by the factor instead of divided.",
        "divide the frequencies, or the positions, by the factor",
        _multiplied,
    ),
    frequencies(
        "ntk-exponent",
        "ntk",
        "The base is multiplied by the factor itself.",
        "multiply the base by factor^(n / (n - 2))",
        _grown_base,
        "ntk",
        "dynamic",
    ),
    frequencies(
        "ntk-exponent",
        "ntk",
        "The base is multiplied by the factor itself in NTK scaling; in dynamic scaling it is right.",
        "multiply the base by factor^(n / (n - 2))",
        _grown_base,
    ),
    frequencies(
        "other-scaling",
        "ntk",
        "The frequencies are divided by the factor, where NTK scaling is configured.",
        "multiply the base by factor^(n / (n - 2))",
        _as_kind("linear"),
    ),
    frequencies(
        "other-scaling",
        "linear",
        "The base grows as in NTK scaling, where linear scaling is configured.",
        "divide the frequencies by the factor",
        _as_kind("ntk"),
    ),
    frequencies(
        "ramp-missing",
        "yarn",
        "All frequencies are divided by the factor: YaRN without its ramp.",
        "keep the frequencies that turn fast, and divide those that turn slowly",
        _as_kind("linear"),
    ),
    frequencies(
        "ramp-missing",
        "llama3",
        "All frequencies are divided by the factor, whatever their wavelength.",
        "keep short wavelengths, and divide long ones",
        _as_kind("linear"),
    ),
    frequencies(
        "blend-missing",
        "llama3",
        "Frequencies between the two ends are kept instead of blended.",
        "blend the kept and the divided frequency between the two ends",
        _without_blend,
    ),
    frequencies(
        "ends-rounded",
        "truncate",
        "The ends of YaRN's ramp are moved outwards to whole pairs, although this is not configured.",
        "round the ends only where truncate is set",
        _truncated(True),
        "yarn",
    ),
    frequencies(
        "ends-not-rounded",
        "yarn",
        "The ends of YaRN's ramp are not rounded.",
        "round the lower end down and the upper one up, where truncate is set",
        _truncated(False),
    ),
    frequencies(
        "length-ignored",
        "dynamic",
        "The factor of dynamic scaling does not depend on the length of the call.",
        "grow the factor with the length of the call, and scale nothing within original_length",
        _as_kind("ntk"),
    ),
    frequencies(
        "length-ignored",
        "longrope",
        "The factors of long calls are taken in short ones too.",
        "divide by short_factors within original_length, by long_factors beyond it",
        _of_length(is_long=True),
    ),
    frequencies(
        "length-ignored",
        "longrope",
        "The factors of short calls are taken in long ones too.",
        "divide by short_factors within original_length, by long_factors beyond it",
        _of_length(is_long=False),
    ),
    frequencies(
        "scaled-within-length",
        "dynamic",
        "The base shrinks in calls shorter than the original length.",
        "scale nothing within original_length",
        _shrunk,
    ),
)
