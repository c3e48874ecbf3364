"""Feed-forward networks and blocks in named steps: sublayers with their normalisations and residual connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.multihead_formula import MultiHeadFormula
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import BlockConfig, FeedForwardConfig, Order
from attention_ref.spec.parameters import under

Sublayers = list[tuple[str, Callable[[Array], Array]]]
"""Sublayers by name."""


class BlockFormula(MultiHeadFormula):
    """Feed-forward networks and blocks as specified, of arrays `(b,l,m)`."""

    def own_attention(self, config: Any, parameters: Parameters, array: Array, **options: Any) -> dict[str, Array]:
        """Apply the self-attention of a block."""
        return self.multihead(config, parameters, array, **options)

    def network(self, config: Any, parameters: Parameters, array: Array) -> Array:
        """Apply the feed-forward network of a block."""
        return self.feedforward(config, parameters, array)

    def feedforward(self, config: FeedForwardConfig, parameters: Parameters, array: Array) -> Array:
        """Apply the network."""
        hidden = self.project(array, parameters, "input")
        if config.gated:
            gate, hidden = self.limited(self.project(array, parameters, "gate"), hidden, config)
            hidden = self.gated(gate, hidden + self.input_offset(config), config)
        else:
            hidden = self.activate(hidden, config.activation)
        return self.project(hidden, parameters, "output")

    def limited(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> tuple[Array, Array]:
        """Limit the gate from above and the input projection on both sides, if configured."""
        if config.clip is None:
            return gate, hidden
        return np.minimum(gate, config.clip), np.clip(hidden, -config.clip, config.clip)

    def input_offset(self, config: FeedForwardConfig) -> float:
        """Return the number that is added to the input projection."""
        return config.input_offset

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        """Multiply by the activated gate."""
        return self.activate(gate, config.activation) * hidden

    def block(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        memory: Array | None = None,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        key_lengths: Array | None = None,
        positions: Array | None = None,
        memory_mask: Array | None = None,
        memory_lengths: Array | None = None,
    ) -> Array:
        """Apply the block."""

        def self_attention(x: Array) -> Array:
            options = {"mask": mask, "bias": bias, "key_lengths": key_lengths, "positions": positions}
            return self.own_attention(config.attention, under(parameters, "self_attention"), x, **options)["output"]

        def cross_attention(x: Array) -> Array:
            options = self.memory_rules(memory_mask, memory_lengths, mask)
            found = self.cross(config, under(parameters, "cross_attention"), x, memory, **options)
            return found["output"]

        def feedforward(x: Array) -> Array:
            return self.network(config.feedforward, under(parameters, "feedforward"), x)

        if config.order == "parallel":
            return self.parallel(config, parameters, array, self_attention, feedforward)
        sublayers: Sublayers = [("self_attention", self_attention), ("feedforward", feedforward)]
        if config.cross_attention is not None:
            sublayers.insert(1, ("cross_attention", cross_attention))
        for name, function in self.sublayers(sublayers):
            array = self.sublayer(config, parameters, array, function, name)
        return array

    def sublayers(self, sublayers: Sublayers) -> Sublayers:
        """Return the sublayers in the order in which they are applied."""
        return sublayers

    def memory_rules(self, mask: Array | None, lengths: Array | None, own_mask: Array | None) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of cross-attention."""
        return {"mask": mask, "key_lengths": lengths}

    def cross(
        self, config: BlockConfig, parameters: Parameters, array: Array, memory: Array | None, **options: Any
    ) -> dict[str, Array]:
        """Attend to the memory."""
        attention: Any = config.cross_attention
        cached, self.cached = self.cached, None  # all of the memory is there from the first chunk on
        found = self.multihead(attention, parameters, array, memory, **options)
        self.cached = cached
        return found

    def order(self, config: BlockConfig) -> Order:
        """Return where the normalisations are."""
        return config.order

    def sublayer(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        function: Callable[[Array], Array],
        name: str,
    ) -> Array:
        """Apply a sublayer with its normalisations and its residual connection."""
        order = self.order(config)
        has_norm = order not in ("post", "output") and (config.self_attention_norm or name != "self_attention")
        normal = self.block_norm(array, config, parameters, f"{name}_norm") if has_norm else array
        branch = function(normal)
        if order in ("output", "sandwich"):
            branch = self.block_norm(branch, config, parameters, f"{name}_output_norm")
        result = self.residual(normal if config.residual == "norm" else array, branch, normal, name)
        return self.block_norm(result, config, parameters, f"{name}_norm") if order == "post" else result

    def residual(self, array: Array, branch: Array, normal: Array, name: str) -> Array:  # noqa: ARG002
        """Add the input of a sublayer to its output."""
        return array + branch

    def block_norm(self, array: Array, config: BlockConfig, parameters: Parameters, name: str) -> Array:
        """Apply a normalisation of a block."""
        return self.normalize(array, config.norm, parameters, name)

    def parallel(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        self_attention: Callable[[Array], Array],
        feedforward: Callable[[Array], Array],
    ) -> Array:
        """Add self-attention and feed-forward network, both applied to the same input."""
        normal = self.block_norm(array, config, parameters, "self_attention_norm")
        other = normal if config.shared_norm else self.block_norm(array, config, parameters, "feedforward_norm")
        branch = self.residual(array, self_attention(normal), normal, "self_attention")
        return self.residual(branch, feedforward(other), other, "feedforward")
