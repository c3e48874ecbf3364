"""Deviations of activations and gates."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import ACTIVATIONS
from attention_ref.spec.config import FeedForwardConfig


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


class ReluSquaredOfNegative(Deviation):
    """The squared ReLU squares negative numbers too."""

    slug, clause = "relu-squared.of-negative", "activations.relu-squared"
    correction = "max(x, 0)^2"

    def activate(self, array: Array, name: str) -> Array:
        return array**2 if name == "relu_squared" else super().activate(array, name)


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


class GateExchanged(Deviation):
    """The activation is applied to the input projection, and the gate multiplies."""

    slug = "gate.exchanged"
    clause = "feedforward.gated"
    correction = "activation(x W_gate) * (x W_input)"

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        return super().gated(hidden, gate, config)


class GateActivatedTwice(Deviation):
    """The activation is applied to the input projection as well as to the gate."""

    slug = "gate.both-activated"
    clause = "feedforward.gated"
    correction = "activation(x W_gate) * (x W_input)"

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        return super().gated(gate, self.activate(hidden, config.activation), config)


class GateLimitMissing(Deviation):
    """Neither the gate nor the input projection is limited."""

    slug = "gate.limit-missing"
    clause = "feedforward.clip"
    correction = "min(gate, clip), and the input projection between -clip and clip"

    def limited(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> tuple[Array, Array]:
        return gate, hidden


class GateLimitedBelow(Deviation):
    """The gate is limited from below too."""

    slug = "gate.limited-below"
    clause = "feedforward.clip"
    correction = "min(gate, clip)"

    def limited(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> tuple[Array, Array]:
        gate, hidden = super().limited(gate, hidden, config)
        return gate if config.clip is None else np.maximum(gate, -config.clip), hidden


class GateOffsetMissing(Deviation):
    """Nothing is added to the input projection."""

    slug = "gate.input-offset-missing"
    clause = "feedforward.input-offset"
    correction = "activation(gate) * (input + input_offset), 1 in gpt-oss"

    def input_offset(self, config: FeedForwardConfig) -> float:
        return 0.0


class GateMissing(Deviation):
    """The gate is left out: the network is a plain one."""

    slug = "gate.missing"
    clause = "feedforward.gated"
    correction = "activation(x W_gate) * (x W_input)"

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        return self.activate(hidden, config.activation)


FORMULAS = {
    "relu": "max(x, 0)",
    "relu_squared": "max(x, 0)^2",
    "gelu": "x/2 (1 + erf(x / sqrt(2))), which libraries call gelu without approximation",
    "gelu_tanh": 'x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), approximate="tanh" in libraries',
    "quick_gelu": "x / (1 + exp(-1.702 x))",
    "silu": "x / (1 + exp(-x))",
    "tanh": "tanh(x)",
}

ACTIVATION: tuple[type[Deviation], ...] = (
    *_exchanged(),
    ActivationMissing,
    ReluLeaky,
    ReluSquaredOfNegative,
    TanhClipped,
    SiluOverflows,
)

FEEDFORWARD: tuple[type[Deviation], ...] = (
    GateExchanged, GateMissing, GateActivatedTwice, GateLimitMissing, GateLimitedBelow, GateOffsetMissing,
)  # fmt: skip
