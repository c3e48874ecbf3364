"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from attention_ref.spec.config import FeedForwardConfig
from attention_ref.spec.layer_checks import check_feedforward
from attention_ref.spec.parameters import under
from attention_ref.spec.taps import Tap, report
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, inspect, to_compare
from attention_ref.torch._parameters import Linear, init_or_check


class FeedForward(nn.Module):
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

    Raises:
        SpecificationError: for parameters that do not match the configuration.

    Example:
        >>> config = spec.FeedForwardConfig(model=8, hidden=16)
        >>> layer = FeedForward(config, weights.init(config))
        >>> tuple(layer(torch.zeros(1, 3, 8)).shape)
        (1, 3, 8)
    """

    def __init__(self, config: FeedForwardConfig, parameters: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        parameters = init_or_check("FeedForward", config, parameters)
        self.config = config
        self.input = Linear(under(parameters, "input"))
        self.gate = Linear(under(parameters, "gate")) if config.gated else None
        self.output = Linear(under(parameters, "output"))

    def forward(self, array: Array, *, tap: Tap | None = None) -> Array:
        """Apply the network at every position.

        Arguments:
            array: `(..., m)`.
            tap: receives `input`, `gate`, `hidden` (before dropout) and `output`.

        Returns:
            `(..., m)`.
        """
        given = {"array": array, "input.kernel": to_compare(self.input.kernel), "tap": tap}
        check_feedforward(self.config, given, inspect)
        hidden = report(tap, "input", self.input(array))
        if self.gate is not None:
            gate = report(tap, "gate", self.gate(array))
            if self.config.clip is not None:
                gate = primitives.clipped(gate, self.config.clip, one_sided=True)
                hidden = primitives.clipped(hidden, self.config.clip)
            if self.config.input_offset:
                hidden = hidden + self.config.input_offset
            hidden = primitives.activate(gate, self.config.activation) * hidden
        else:
            hidden = primitives.activate(hidden, self.config.activation)
        report(tap, "hidden", hidden)
        rate = self.config.dropout if self.training else 0.0
        hidden = primitives.dropout(hidden, primitives.draw_dropout_mask(hidden.shape, rate, hidden.device), rate)
        return report(tap, "output", self.output(hidden))
