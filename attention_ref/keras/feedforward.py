"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from attention_ref.keras import primitives
from attention_ref.keras._arrays import Array, inspect
from attention_ref.keras._parameters import Configured, init_or_check
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.layer_checks import check_feedforward
from attention_ref.spec.taps import Tap, report


@keras.saving.register_keras_serializable(package="attention_ref")
class FeedForward(Configured):
    """A position-wise feed-forward network.

        y = activation(x W_input + b_input) W_output + b_output                             plain
        y = (activation(x W_gate + b_gate) * (x W_input + b_input)) W_output + b_output     gated

    With `clip`, both factors of a gated network are limited first, the gate from above alone; `input_offset` is then
    added to the projected input.

    In training, `config.dropout` is applied before `W_output`.

    Arguments:
        config: sizes and options.
        parameters: `input.kernel (m,f)`, `output.kernel (f,m)` and, if configured, `gate.kernel (m,f)`,
            `input.bias (f)`, `gate.bias (f)`, `output.bias (m)`; initialised when None.
        options: those of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> config = spec.FeedForwardConfig(model=8, hidden=16)
        >>> layer = FeedForward(config, weights.init(config))
        >>> tuple(layer(ops.zeros((1, 3, 8))).shape)
        (1, 3, 8)
    """

    record = FeedForwardConfig
    is_positionwise = True

    def __init__(self, config: FeedForwardConfig, parameters: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        parameters = init_or_check("FeedForward", config, parameters)
        self.config = config
        self.register(parameters)

    def call(self, array: Array, *, tap: Tap | None = None, training: bool | None = None) -> Array:
        """Apply the network at every position.

        Arguments:
            array: `(..., m)`.
            tap: receives `input`, `gate`, `hidden` (before dropout) and `output`.
            training: apply dropout; as Keras is set when None.

        Returns:
            `(..., m)`.
        """
        given = {"array": array, "input.kernel": self.tensors["input.kernel"], "tap": tap}
        check_feedforward(self.config, given, inspect)
        hidden = report(tap, "input", self._linear(array, "input"))
        if self.config.gated:
            gate = report(tap, "gate", self._linear(array, "gate"))
            if self.config.clip is not None:
                gate = primitives.clipped(gate, self.config.clip, one_sided=True)
                hidden = primitives.clipped(hidden, self.config.clip)
            if self.config.input_offset:
                hidden = hidden + self.config.input_offset
            hidden = primitives.activate(gate, self.config.activation) * hidden
        else:
            hidden = primitives.activate(hidden, self.config.activation)
        report(tap, "hidden", hidden)
        rate = self.config.dropout if training else 0.0
        dropout_mask = primitives.draw_dropout_mask(ops.shape(hidden), rate, self.seed_generator)
        hidden = primitives.dropout(hidden, dropout_mask, rate)
        return report(tap, "output", self._linear(hidden, "output"))

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.tensors[f"{name}.kernel"], self.tensors.get(f"{name}.bias"))
