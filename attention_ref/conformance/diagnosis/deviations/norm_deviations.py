"""Deviations of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import Norm


class NormEps(Deviation):
    """Eps is a constant, whatever is configured."""

    slug = "norm.eps"
    clause = "norms.eps"
    correction = "pass the configured eps on: libraries' defaults range from 1e-12 to 1e-3"
    constant: float

    def eps(self, eps: float) -> float:
        return self.constant


class NormEpsOfDtype(Deviation):
    """Eps is the machine epsilon of the dtype, as torch.nn.RMSNorm has it by default."""

    slug = "norm.eps"
    clause = "norms.eps"
    correction = "pass the configured eps on"

    def eps(self, eps: float) -> float:
        return float(np.finfo(self.dtype).eps)


class NormEpsOutside(Deviation):
    """Eps is added to the root instead of inside it."""

    slug = "norm.eps-outside-root"
    clause = "norms.eps"
    correction = "sqrt(variance + eps)"

    def root(self, mean_square: Array, eps: float) -> Array:
        return np.sqrt(mean_square) + eps


class NormUnbiasedVariance(Deviation):
    """The variance divides by m - 1, as torch.std and numpy's ddof=1 do."""

    slug = "norm.unbiased-variance"
    clause = "norms.variance"
    correction = "divide by m: var(unbiased=False)"

    def variance(self, centred: Array) -> Array:
        size = centred.shape[-1]
        return super().variance(centred) * size / (size - 1) if size > 1 else super().variance(centred) * np.nan


class NormRootMeanSquareForLayer(Deviation):
    """A LayerNorm does not subtract the mean, as an RMSNorm."""

    slug = "norm.rms-for-layer"
    clause = "norms.layer"
    correction = "subtract the mean before dividing"

    def layer_norm(self, array: Array, gain: Array, bias: Any = None, *, eps: float, gain_offset: float = 0.0) -> Array:
        root = self.root((array * array).mean(axis=-1, keepdims=True), self.eps(eps))
        return self.scaled_and_shifted(array / root, gain, bias, gain_offset)


class NormLayerForRootMeanSquare(Deviation):
    """An RMSNorm subtracts the mean, as a LayerNorm."""

    slug = "norm.layer-for-rms"
    clause = "norms.rms"
    correction = "divide by the root mean square, without subtracting the mean"

    def rms_norm(self, array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
        return self.layer_norm(array, gain, eps=eps, gain_offset=gain_offset)


class NormVarianceForRoot(Deviation):
    """A normalisation divides by the mean square, without its root."""

    slug = "norm.root-missing"
    clause = "norms.layer"
    correction = "divide by sqrt(variance + eps)"

    def root(self, mean_square: Array, eps: float) -> Array:
        return mean_square + eps


class NormGainOffsetIgnored(Deviation):
    """The offset of the gain is ignored: stored gains are used as they are."""

    slug = "norm.gain-offset-ignored"
    clause = "norms.gain-offset"
    correction = "multiply by gain + gain_offset; Gemma stores its gains minus 1"

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        return super().scaled_and_shifted(array, gain, bias, 0.0)


class NormWithoutGainMissing(Deviation):
    """A normalisation without a gain is left out."""

    slug = "norm.without-gain-missing"
    clause = "norms.no-gain"
    correction = "normalise, and leave out the gain alone"

    def normalize(self, array: Array, norm: Norm, parameters: Parameters, name: str) -> Array:
        return super().normalize(array, norm, parameters, name) if norm.gain else array


class NormSumForMean(Deviation):
    """A normalisation divides by the root of the sum of squares instead of their mean."""

    slug = "norm.sum-for-mean"
    clause = "norms.rms"
    correction = "divide by sqrt(mean(x^2) + eps)"

    def layer_norm(self, array: Array, gain: Array, bias: Any = None, *, eps: float, gain_offset: float = 0.0) -> Array:
        centred = array - array.mean(axis=-1, keepdims=True)
        return self.scaled_and_shifted(centred / self._length(centred, eps), gain, bias, gain_offset)

    def rms_norm(self, array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
        return self.scaled_and_shifted(array / self._length(array, eps), gain, None, gain_offset)

    def _length(self, array: Array, eps: float) -> Array:
        return self.root((array * array).sum(axis=-1, keepdims=True), self.eps(eps))


class NormBiasBeforeGain(Deviation):
    """The bias of a LayerNorm is added before the gain is multiplied."""

    slug = "norm.bias-before-gain"
    clause = "norms.layer"
    correction = "multiply by the gain, then add the bias"

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        return super().scaled_and_shifted(array if bias is None else array + bias, gain, None, gain_offset)


class NormGainMissing(Deviation):
    """The gain is left out."""

    slug = "norm.gain-missing"
    clause = "norms.layer"
    correction = "multiply by the gain"

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        return super().scaled_and_shifted(array, np.ones_like(gain), bias, 0.0)


class NormBiasMissing(Deviation):
    """The bias of a LayerNorm is left out."""

    slug = "norm.bias-missing"
    clause = "norms.layer"
    correction = "add the bias"

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        return super().scaled_and_shifted(array, gain, None, gain_offset)


class NormOverLength(Deviation):
    """A normalisation runs over the positions and the model size together."""

    slug = "norm.over-positions"
    clause = "norms.layer"
    correction = "normalise each position over its last axis"

    def layer_norm(self, array: Array, gain: Array, bias: Any = None, *, eps: float, gain_offset: float = 0.0) -> Array:
        axes = tuple(range(max(array.ndim - 2, 0), array.ndim))
        centred = array - array.mean(axis=axes, keepdims=True)
        root = self.root((centred * centred).mean(axis=axes, keepdims=True), self.eps(eps))
        return self.scaled_and_shifted(centred / root, gain, bias, gain_offset)


_EPS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-8, 0.0)

NORMS: tuple[type[Deviation], ...] = (
    *(variant(NormEps, f"Eps is {eps:g}, whatever is configured.", constant=eps) for eps in _EPS),
    NormEpsOfDtype, NormUnbiasedVariance, NormRootMeanSquareForLayer, NormLayerForRootMeanSquare, NormEpsOutside,
    NormGainOffsetIgnored, NormGainMissing, NormBiasMissing, NormOverLength, NormVarianceForRoot,
    NormSumForMean, NormBiasBeforeGain, NormWithoutGainMissing,
)  # fmt: skip
