"""Linear maps, normalisations and activations in named steps: the specification once more in NumPy float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array, Formula
from attention_ref.spec.config import Norm

Parameters = Mapping[str, Array]
"""The parameters of a layer, with the names and shapes of the specification."""


class PrimitivesFormula(Formula):
    """Linear maps, normalisations and activations as specified, of arrays `(...,m)`."""

    contracted = 1
    """How many axes the projection contracts that is being computed."""

    def linear(self, array: Array, kernel: Array, bias: Array | None = None, *, inputs: int = 1) -> Array:
        """Contract the last axes with the kernel, input-first, and add the bias."""
        size, outputs = math.prod(kernel.shape[:inputs]), kernel.shape[inputs:]
        leading = array.shape[: array.ndim - inputs]
        product = array.reshape(*leading, size) @ kernel.reshape(size, math.prod(outputs))
        product = product.reshape(*leading, *outputs)
        return product if bias is None else product + bias

    def project(self, array: Array, parameters: Parameters, name: str, inputs: int = 1) -> Array:
        """Apply the projection with this name."""
        self.contracted = inputs
        return self.linear(array, self.kernel(parameters, name), self.bias(parameters, name), inputs=inputs)

    def kernel(self, parameters: Parameters, name: str) -> Array:
        """Return the kernel of a projection."""
        return parameters[f"{name}.kernel"]

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        """Return the bias of a projection, if it has one."""
        return parameters.get(f"{name}.bias")

    def normalize(self, array: Array, norm: Norm, parameters: Parameters, name: str) -> Array:
        """Apply the normalisation with this name."""
        gain = parameters[f"{name}.gain"] if norm.gain else np.ones(array.shape[-1:])
        options = {"eps": norm.eps, "gain_offset": norm.gain_offset}
        if norm.kind == "rms":
            return self.rms_norm(array, gain, **options)
        return self.layer_norm(array, gain, parameters.get(f"{name}.bias"), **options)

    def layer_norm(
        self, array: Array, gain: Array, bias: Array | None = None, *, eps: float, gain_offset: float = 0.0
    ) -> Array:
        """Subtract the mean, divide by the standard deviation, scale and shift."""
        array = array - array.mean(axis=-1, keepdims=True)
        root = self.root(self.variance(array), self.eps(eps))
        return self.scaled_and_shifted(array / root, gain, bias, gain_offset)

    def rms_norm(self, array: Array, gain: Array, *, eps: float, gain_offset: float = 0.0) -> Array:
        """Divide by the root mean square, and scale."""
        root = self.root((array * array).mean(axis=-1, keepdims=True), self.eps(eps))
        return self.scaled_and_shifted(array / root, gain, None, gain_offset)

    def variance(self, centred: Array) -> Array:
        """Return the mean of the squares of numbers whose mean is 0."""
        return (centred * centred).mean(axis=-1, keepdims=True)

    def eps(self, eps: float) -> float:
        """Return the number that is added inside the root."""
        return eps

    def root(self, mean_square: Array, eps: float) -> Array:
        """Return the divisor of a normalisation."""
        return np.sqrt(mean_square + eps)

    def scaled_and_shifted(self, array: Array, gain: Array, bias: Array | None, gain_offset: float) -> Array:
        """Multiply by the gain and add the bias."""
        array = array * (gain + gain_offset)
        return array if bias is None else array + bias

    def activate(self, array: Array, name: str) -> Array:
        """Apply the activation with this name."""
        return ACTIVATIONS[name](array)


def gelu(array: Array) -> Array:
    """`x/2 (1 + erf(x / sqrt(2)))`."""
    return array / 2 * (1 + np.vectorize(math.erf, otypes=[float])(array / np.sqrt(2)))


def gelu_tanh(array: Array) -> Array:
    """`x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`."""
    return array / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (array + 0.044715 * array**3)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.where(x > 0, x, x * 0),
    "relu_squared": lambda x: np.where(x > 0, x, x * 0) ** 2,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
