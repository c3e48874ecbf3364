"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Mapping

from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array, inspect
from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.layer_checks import check_feedforward
from attention_ref.spec.parameters import check_arrays
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

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> config = spec.FeedForwardConfig(model=8, hidden=16)
        >>> layer = FeedForward(config, weights.init(config))
        >>> layer(np.zeros((1, 3, 8), np.float32)).shape
        (1, 3, 8)
    """

    def __init__(self, config: FeedForwardConfig, parameters: Mapping[str, Array]) -> None:
        check_arrays("FeedForward", config, parameters)
        self.config = config
        self.parameters = dict(parameters)

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
                hidden = (hidden + self.config.input_offset).astype(array.dtype)  # bfloat16 would become float32
            hidden = primitives.activate(gate, self.config.activation) * hidden
        else:
            hidden = primitives.activate(hidden, self.config.activation)
        report(tap, "hidden", hidden)
        return report(tap, "output", self._linear(hidden, "output"))

    def _linear(self, array: Array, name: str) -> Array:
        return primitives.linear(array, self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias"))
