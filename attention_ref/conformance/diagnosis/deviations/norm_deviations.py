"""Deviations of normalisations and activations."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.layer_formula import ACTIVATIONS, Parameters


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


class HeadNormMissing(Deviation):
    """The queries and keys are not normalised."""

    slug = "query-key-norm.missing"
    clause = "multihead.query-key-norm"
    correction = "normalise each head of queries and keys"

    def head_norm(self, heads: Array, name: str, config: Any, parameters: Parameters) -> Array:
        return heads


class HeadNormAfterRotary(Deviation):
    """The queries and keys are normalised after the rotation."""

    slug = "query-key-norm.after-rotary"
    clause = "multihead.query-key-norm"
    correction = "normalise first, then rotate"

    def heads(self, array: Array, name: str, config: Any, parameters: Parameters, places: Array) -> Array:
        heads = self.split_heads(self.project(array, parameters, name))
        return self.head_norm(self.rotated(heads, name, config, places), name, config, parameters)


class ActivationMissing(Deviation):
    """The activation is left out."""

    slug = "activation.missing"
    clause = "feedforward.formula"
    correction = "apply the configured activation"

    def activate(self, array: Array, name: str) -> Array:
        return array


class ReluLeaky(Deviation):
    """ReLU multiplies negative numbers by 0.01 instead of setting them to 0."""

    slug, clause = "relu.leaky", "activations.relu"
    correction = "max(x, 0)"

    def activate(self, array: Array, name: str) -> Array:
        return np.where(array > 0, array, array / 100) if name == "relu" else super().activate(array, name)


class TanhClipped(Deviation):
    """Tanh is a line between -1 and 1."""

    slug, clause = "tanh.clipped", "activations.tanh"
    correction = "tanh(x)"

    def activate(self, array: Array, name: str) -> Array:
        return np.clip(array, -1, 1) if name == "tanh" else super().activate(array, name)


class SiluOverflows(Deviation):
    """SiLU divides exp(x) by 1 + exp(x), which gives NaN where exp(x) overflows."""

    slug, clause = "silu.overflow", "activations.range"
    correction = "x / (1 + exp(-x))"

    def activate(self, array: Array, name: str) -> Array:
        if name != "silu":
            return super().activate(array, name)
        highest = np.log(np.finfo(self.dtype).max.astype(np.float64))
        exponential = np.where(array > highest, np.inf, np.exp(np.minimum(array, highest)))
        return array * exponential / (1 + exponential)


def _exchanged() -> list[type[Deviation]]:
    """Return a deviation for each activation and each other one, those between the two GELUs first."""
    pairs = [("gelu", "gelu_tanh"), ("gelu_tanh", "gelu")]
    pairs += [pair for pair in permutations(ACTIVATIONS, 2) if pair not in pairs]
    return [_activation(asked, computed) for asked, computed in pairs]


def _activation(asked: str, computed: str) -> type[Deviation]:
    slugs = {("gelu", "gelu_tanh"): "gelu.tanh-for-exact", ("gelu_tanh", "gelu"): "gelu.exact-for-tanh"}
    one, other = asked.replace("_", "-"), computed.replace("_", "-")

    class Activation(Deviation):
        __doc__ = f"{computed} is computed where {asked} is configured."
        slug = slugs.get((asked, computed), f"activation.{other}-for-{one}")
        clause = f"activations.{one}"
        correction = f"compute {asked}: {FORMULAS[asked]}"

        def activate(self, array: Array, name: str) -> Array:
            return super().activate(array, computed if name == asked else name)

    return Activation


FORMULAS = {
    "relu": "max(x, 0)",
    "relu_squared": "max(x, 0)^2",
    "gelu": "x/2 (1 + erf(x / sqrt(2))), which libraries call gelu without approximation",
    "gelu_tanh": 'x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), approximate="tanh" in libraries',
    "quick_gelu": "x / (1 + exp(-1.702 x))",
    "silu": "x / (1 + exp(-x))",
    "tanh": "tanh(x)",
}
_EPS = (1e-5, 1e-6, 1e-3, 1e-12, 1e-8, 0.0)

NORMS: tuple[type[Deviation], ...] = (
    *(variant(NormEps, f"Eps is {eps:g}, whatever is configured.", constant=eps) for eps in _EPS),
    NormEpsOfDtype, NormUnbiasedVariance, NormRootMeanSquareForLayer, NormLayerForRootMeanSquare, NormEpsOutside,
    NormGainOffsetIgnored, NormGainMissing, NormBiasMissing, NormOverLength, NormVarianceForRoot,
)  # fmt: skip
HEAD_NORMS: tuple[type[Deviation], ...] = (HeadNormMissing, HeadNormAfterRotary)
ACTIVATION: tuple[type[Deviation], ...] = (*_exchanged(), ActivationMissing, ReluLeaky, TanhClipped, SiluOverflows)
