"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Mapping

from attention_ref.spec import primitives
from attention_ref.spec.arrays import Array, inspect
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.layer_checks import check_feedforward
from attention_ref.spec.numbers import constant, stored
from attention_ref.spec.taps import Tap, report


class FeedForward:
    """A position-wise feed-forward network.

        y = activation(x W_input + b_input) W_output + b_output                             plain
        y = (activation(x W_gate + b_gate) * (x W_input + b_input)) W_output + b_output     gated

    With `clip`, both factors of a gated network are limited first, the gate from above alone; `input_offset` is then
    added to the projected input.

    Arguments:
        config: sizes and options.
        parameters: `input.kernel (m,f)`, `output.kernel (f,m)` and, if configured, `gate.kernel (m,f)`,
            `input.bias (f)`, `gate.bias (f)`, `output.bias (m)`.

    Source: Vaswani et al. (2017), section 3.3; gated: Shazeer, "GLU Variants Improve Transformer" (2020); limited and
    with an offset: OpenAI, gpt-oss (2025).

    Example:
        >>> config = FeedForwardConfig(model=8, hidden=16)
        >>> parameters = {name: as_array(array.tolist()) for name, array in weights.init(config).items()}
        >>> layer = FeedForward(config, parameters)
        >>> layer(as_array([[[0.0] * 8] * 3])).shape
        (1, 3, 8)
    """

    def __init__(self, config: FeedForwardConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters

    def __call__(self, array: Array, *, tap: Tap | None = None) -> Array:
        """Apply the network at every position.

        Arguments:
            array: `(..., m)`.
            tap: receives `input`, `gate`, `hidden` (before dropout) and `output`.

        Returns:
            `(..., m)`.
        """
        given = {"array": array, "input.kernel": self.parameters["input.kernel"], "tap": tap}
        check_feedforward(self.config, given, inspect)
        hidden = report(tap, "input", self._linear(array, "input"))
        if self.config.gated:
            gate = report(tap, "gate", self._linear(array, "gate"))
            if self.config.clip is not None:
                gate = primitives.clipped(gate, self.config.clip, one_sided=True)
                hidden = primitives.clipped(hidden, self.config.clip)
            if self.config.input_offset:
                hidden = hidden.map(lambda number: stored(number + constant(self.config.input_offset, number)))
            hidden = primitives.multiplied(primitives.activate(gate, self.config.activation), hidden)
        else:
            hidden = primitives.activate(hidden, self.config.activation)
        report(tap, "hidden", hidden)
        return report(tap, "output", self._linear(hidden, "output"))

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias"))
