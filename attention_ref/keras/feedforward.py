"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, inspect
from attention_ref.keras._parameters import Configured, given_or_drawn
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.layer_checks import check_feedforward
from attention_ref.spec.taps import Tap, told


@keras.saving.register_keras_serializable(package="attention_ref")
class FeedForward(Configured):
    """A position-wise feed-forward network.

        y = activation(x W_input + b_input) W_output + b_output                             plain
        y = (activation(x W_gate + b_gate) * (x W_input + b_input)) W_output + b_output     gated

    In training, `config.dropout` is applied to what `W_output` multiplies.

    Arguments:
        config: sizes and options.
        parameters: `input.kernel (m,f)`, `output.kernel (f,m)` and, where configured, `gate.kernel (m,f)`,
            `input.bias (f)`, `gate.bias (f)`, `output.bias (m)`; drawn when None.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        SpecificationError: for parameters that are not those of the configuration.
    """

    record = FeedForwardConfig
    is_positionwise = True

    def __init__(self, config: FeedForwardConfig, parameters: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        parameters = given_or_drawn("FeedForward", config, parameters)
        self.config = config
        self.hold(parameters)

    def call(self, array: Array, *, tap: Tap | None = None, training: bool | None = None) -> Array:
        """Apply the network to every place.

        Arguments:
            array: `(..., m)`.
            tap: is told of `input`, `gate`, `hidden` (before dropout) and `output`.
            training: apply dropout; as Keras is set when None.

        Returns:
            `(..., m)`.
        """
        given = {"array": array, "input.kernel": self.tensors["input.kernel"]}
        check_feedforward(self.config, given, inspect)
        hidden = told(tap, "input", self._linear(array, "input"))
        if self.config.gated:
            gate = told(tap, "gate", self._linear(array, "gate"))
            hidden = primitives.activate(gate, self.config.activation) * hidden
        else:
            hidden = primitives.activate(hidden, self.config.activation)
        told(tap, "hidden", hidden)
        rate = self.config.dropout if training else 0.0
        dropout_mask = primitives.draw_dropout_mask(ops.shape(hidden), rate, self.seed_generator)
        hidden = primitives.dropout(hidden, dropout_mask, rate)
        return told(tap, "output", self._linear(hidden, "output"))

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.tensors[f"{name}.kernel"], self.tensors.get(f"{name}.bias"))
