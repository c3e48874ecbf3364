"""Deviations of output heads."""

from __future__ import annotations

from dataclasses import replace

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.architecture import HeadConfig


class HeadNotTransposed(Deviation):
    """The token embedding is used as the kernel of the head without transposing it."""

    slug = "head.tied-not-transposed"
    clause = "model.tied-head"
    correction = "multiply by the transposed token embedding"

    def tied_kernel(self, token: Array) -> Array:
        return token.reshape(token.shape[::-1])


class HeadBiasMissing(Deviation):
    """The bias of the head is left out."""

    slug = "head.bias-missing"
    clause = "model.head-bias"
    correction = "add the bias of the head"

    def head_bias(self, parameters: Parameters) -> Array | None:
        return None

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        return None if name == "pooler" else super().bias(parameters, name)


class HeadNotScaled(Deviation):
    """The input of the head is not scaled."""

    slug = "head.not-scaled"
    clause = "model.head-scale"
    correction = "multiply the input of the last projection by the configured scale, m^-0.5 in T5"

    def head_scale(self, config: HeadConfig) -> float:
        return 1.0


class HeadSoftcapMissing(Deviation):
    """The scores of the head are not bounded."""

    slug = "head.softcap-missing"
    clause = "model.head-softcap"
    correction = "softcap * tanh(scores / softcap)"

    def head_softcap(self, config: HeadConfig) -> float | None:
        return None


class HeadTransformMissing(Deviation):
    """The projection before the last one is left out."""

    slug = "head.transform-missing"
    clause = "model.head-transform"
    correction = "apply the transform and its norm before the last projection"

    def transform(self, config: HeadConfig, parameters: Parameters, array: Array) -> Array:
        fits = config.transform_size is None  # without it the last projection would not fit
        return array if fits else super().transform(config, parameters, array)


class HeadAveraged(Deviation):
    """The head reads the mean of all positions."""

    slug = "head.mean-of-positions"
    clause = "model.one-place"
    correction = "read one position, the first or the last"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return array.mean(axis=1)


class HeadFirstPlace(Deviation):
    """The head reads the first position, although the last one is configured."""

    slug = "head.first-for-last"
    clause = "model.last-place"
    correction = "read the last position that is not padding"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(replace(config, place="first"), array, lengths)


class HeadLastPlace(Deviation):
    """The head reads the last position, although the first one is configured."""

    slug = "head.last-for-first"
    clause = "model.one-place"
    correction = "read the first position"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(replace(config, place="last"), array, lengths)


class HeadPlaceOfPadding(Deviation):
    """The head reads the last position of the batch, which may be padding."""

    slug = "head.place-of-padding"
    clause = "model.last-place"
    correction = "read the position lengths - 1"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(config, array, None)


HEAD: tuple[type[Deviation], ...] = (
    HeadNotTransposed, HeadBiasMissing, HeadNotScaled, HeadSoftcapMissing, HeadTransformMissing, HeadFirstPlace,
    HeadLastPlace, HeadPlaceOfPadding, HeadAveraged,
)  # fmt: skip
