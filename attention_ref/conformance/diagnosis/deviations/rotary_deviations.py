"""Deviations of the rotation of queries and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.spec.config import (
    Rotary,
)


def pairing(what: str, clause_: str, *taken: bool) -> type[Deviation]:
    """Return the deviation that pairs the components of a head otherwise where `interleaved` is as taken."""

    class RotaryPairing(Deviation):
        __doc__ = what
        slug = "rotary.pairing"
        clause = f"positions.{clause_}"
        correction = "pair i with i + d/2 as Llama does, or 2i with 2i + 1 as GPT-J does: as configured"

        def rotary(self, config: Rotary) -> Rotary:
            config = super().rotary(config)
            return replace(config, interleaved=not config.interleaved) if config.interleaved in taken else config

    return RotaryPairing


class RotaryBase(Deviation):
    """The base of the rotation is a constant, whatever is configured."""

    slug = "rotary.base"
    clause = "positions.rotary"
    correction = "use the configured base, rope_theta in checkpoints"
    rotary_base = 10000.0

    def rotary(self, config: Rotary) -> Rotary:
        return replace(super().rotary(config), base=self.rotary_base)


class RotaryScalingIgnored(Deviation):
    """The scaling of the frequencies is ignored."""

    slug = "rotary.scaling-ignored"
    clause = "positions.rotary-linear"
    correction = "scale the frequencies as configured, rope_scaling in checkpoints"
    scalings = ("linear", "ntk", "yarn", "llama3")

    def rotary(self, config: Rotary) -> Rotary:
        is_ignored = config.scaling is not None and config.scaling.kind in self.scalings
        return replace(super().rotary(config), scaling=None) if is_ignored else super().rotary(config)


class RotaryWhole(Deviation):
    """The whole head is rotated, although a part is configured."""

    slug = "rotary.partial-ignored"
    clause = "positions.rotary-partial"
    correction = "rotate the first `dimension` components, and leave the others as they are"

    def rotary(self, config: Rotary) -> Rotary:
        return replace(super().rotary(config), dimension=None)


class RotaryReversed(Deviation):
    """The rotation turns the other way: the sign of the sine is wrong."""

    slug = "rotary.reversed"
    clause = "positions.rotary"
    correction = "x_a cos - x_b sin, and x_b cos + x_a sin"

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        return super().rotate(array, -np.asarray(positions), config)


class RotaryMissing(Deviation):
    """Queries and keys are not rotated."""

    slug = "rotary.missing"
    clause = "multihead.rotary"
    correction = "rotate queries and keys by their positions"

    def rotate(self, array: Array, positions: Array, config: Rotary) -> Array:
        return array


_SCALINGS = {"linear": "linear", "ntk": "NTK", "yarn": "YaRN", "llama3": "Llama 3"}

ROTATIONS: tuple[type[Deviation], ...] = (
    pairing("Neighbours are paired, where halves are configured.", "rotary-halves", False),
    pairing("Halves are paired, where neighbours are configured.", "rotary-interleaved", True),
    pairing(
        "Neighbours are paired where halves are configured, and halves where neighbours are.", "rotary", False, True
    ),
    *(
        variant(RotaryBase, f"The base is {base:g}, whatever is configured.", rotary_base=base)
        for base in (1e4, 5e5, 1e6)
    ),
    RotaryReversed,
    RotaryMissing,
    RotaryScalingIgnored,
    *(
        variant(
            RotaryScalingIgnored,
            f"The {name} scaling of the frequencies is ignored.",
            scalings=(kind,),
            clause=f"positions.rotary-{kind}",
        )
        for kind, name in _SCALINGS.items()
    ),
    RotaryWhole,
)
