"""Deviations of the scale of the scores."""

from __future__ import annotations

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class ScaleNone(Deviation):
    """The scores are not scaled unless a scale is given."""

    slug = "scale.none"
    clause = "attention.scale"
    correction = "divide the scores by sqrt(d), the size of a head"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return 1.0


class ScaleInverseD(Deviation):
    """The scores are divided by d instead of sqrt(d)."""

    slug = "scale.inverse-d"
    clause = "attention.scale"
    correction = "divide by sqrt(d), the size of a head"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return 1 / query.shape[-1]


class ScaleModelSize(Deviation):
    """The scores are divided by sqrt(h d), the size of all heads together."""

    slug = "scale.model-size"
    clause = "attention.scale"
    correction = "divide by sqrt(d), the size of one head"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return 1 / np.sqrt(query.shape[-1] * query.shape[-3])


class ScaleValueSize(Deviation):
    """The scores are divided by sqrt(v), the size of the values."""

    slug = "scale.value-size"
    clause = "attention.value-size"
    correction = "divide by sqrt(d), the size of queries and keys"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return 1 / np.sqrt(value.shape[-1])


class ScaleKeyLength(Deviation):
    """The scores are divided by sqrt(k), the number of keys."""

    slug = "scale.key-length"
    clause = "attention.scale"
    correction = "divide by sqrt(d), the size of a head"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return 1 / np.sqrt(key.shape[-2])


class ScaleIgnored(Deviation):
    """A scale that is given is ignored."""

    slug = "scale.ignored"
    clause = "attention.scale"
    correction = "multiply the scores by the given scale instead of 1/sqrt(d)"

    def given_scale(self, scale: float, query: Array) -> float:
        return self.default_scale(query, query, query)


class ScaleNotReplaced(Deviation):
    """A scale that is given multiplies 1/sqrt(d) instead of replacing it."""

    slug = "scale.not-replaced"
    clause = "attention.scale"
    correction = "use either the given scale or 1/sqrt(d)"

    def given_scale(self, scale: float, query: Array) -> float:
        return scale * self.default_scale(query, query, query)


class ScaleMultiplied(Deviation):
    """The scores are multiplied by sqrt(d) instead of divided."""

    slug = "scale.inverted"
    clause = "attention.scale"
    correction = "divide by sqrt(d), the size of a head"

    def default_scale(self, query: Array, key: Array, value: Array) -> float:
        return float(np.sqrt(query.shape[-1]))


SCALES: tuple[type[Deviation], ...] = (
    ScaleNone, ScaleInverseD, ScaleModelSize, ScaleValueSize, ScaleKeyLength, ScaleIgnored, ScaleNotReplaced,
    ScaleMultiplied,
)  # fmt: skip
