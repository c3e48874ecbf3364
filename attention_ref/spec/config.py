"""Configurations of layers: frozen, validated records from which every backend builds.

A configuration has no weights, dtype or device. It is converted to JSON and back by `to_json` and `from_json` in
`attention_ref.spec.records`. Attention layers are described in `attention_ref.spec.attention_config`, feed-forward
networks in `attention_ref.spec.feedforward_config`, normalisations and codes of position in
`attention_ref.spec.part_config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attention_ref.spec.attention_config import AttentionConfig, LatentAttentionConfig, NormHeads
from attention_ref.spec.feedforward_config import Activation, FeedForwardConfig, MixtureConfig
from attention_ref.spec.part_config import (
    SINUSOID,
    Learned,
    Norm,
    RelativeBias,
    Rotary,
    RotaryScaling,
    Sinusoid,
)
from attention_ref.spec.records import Record

__all__ = [
    "SINUSOID",
    "Activation",
    "AttentionConfig",
    "BlockConfig",
    "FeedForwardConfig",
    "LatentAttentionConfig",
    "Learned",
    "MixtureConfig",
    "Norm",
    "NormHeads",
    "Order",
    "RelativeBias",
    "Rotary",
    "RotaryScaling",
    "Sinusoid",
]

Order = Literal["post", "pre", "output", "sandwich", "parallel"]
"""The position of the normalisations of a block; see `BlockConfig`."""


@dataclass(frozen=True, kw_only=True)
class BlockConfig(Record):
    """A Transformer block: self-attention, cross-attention if configured, feed-forward network.

    Arguments:
        attention: the self-attention, multi-head or latent.
        feedforward: the feed-forward network, or the mixture of several.
        norm: the kind of every normalisation.
        order: where the normalisations are, with S a sublayer:
            `post`      x = norm(x + S(x))
            `pre`       x = x + S(norm(x))
            `output`    x = x + norm'(S(x))
            `sandwich`  x = x + norm'(S(norm(x)))
            `parallel`  x = x + attention(norm(x)) + feedforward(norm'(x))
        cross_attention: attention to a memory, between the two; not in parallel blocks.
        shared_norm: in a parallel block, both branches read the same normalised input.
        self_attention_norm: in a pre-norm block, whether self-attention reads a normalised input.
        residual: in a pre-norm block, whether the residual connections start at the `input` of a sublayer or behind
            its `norm`: x = norm(x) + S(norm(x)).
        dropout: the rate of dropout on the output of each sublayer in training.
    """

    attention: AttentionConfig | LatentAttentionConfig
    feedforward: FeedForwardConfig | MixtureConfig
    norm: Norm
    order: Order
    cross_attention: AttentionConfig | None = None
    shared_norm: bool = False
    self_attention_norm: bool = True
    residual: Literal["input", "norm"] = "input"
    dropout: float = 0.0

    def _check(self) -> None:
        model = self.attention.model
        for name in ("attention", "cross_attention", "feedforward"):
            part = getattr(self, name)
            if part is not None:
                self.require(part.model == model, f"{name} must have the block's model size {model}", part.model)
        for name in ("attention", "cross_attention"):
            part = getattr(self, name)
            if part is not None:
                rule = f"{name} must have the output size {model}, the model size"
                self.require(part.sizes.output == model, rule, part.sizes.output)
                sizes = (part.sizes.memory, part.sizes.value_memory)
                self.require(sizes[0] == sizes[1], f"{name} must read keys and values of one memory", sizes)
        in_order = self.order != "parallel" or self.cross_attention is None
        self.require(in_order, "a parallel block must not have a cross_attention", "one")
        shares = self.order == "parallel" or not self.shared_norm
        self.require(shares, "shared_norm is an option of parallel blocks only", self.order)
        is_plain = self.order == "pre" or self.self_attention_norm
        self.require(is_plain, "self_attention_norm may be left out in pre-norm blocks only", self.order)
        is_plain = self.order == "pre" or self.residual == "input"
        self.require(
            is_plain, "a residual that starts behind the norm is an option of pre-norm blocks only", self.order
        )
        has_norm = self.self_attention_norm or self.residual == "input"
        self.require(has_norm, "a residual that starts behind the norm needs a self_attention_norm", "none")
        self.require_rate("dropout")

    @property
    def model(self) -> int:
        """Model width m."""
        return self.attention.model

    def norms_of(self, sublayer: str) -> tuple[str, ...]:
        """Return the names of the normalisations of a sublayer, in order."""
        is_shared = self.shared_norm and sublayer == "feedforward"
        is_left_out = not self.self_attention_norm and sublayer == "self_attention"
        has_own = not (self.order == "output" or is_shared or is_left_out)
        has_output = self.order in ("output", "sandwich")
        return ((f"{sublayer}_norm",) if has_own else ()) + ((f"{sublayer}_output_norm",) if has_output else ())
