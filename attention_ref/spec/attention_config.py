"""Configurations of attention layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from attention_ref.spec.part_config import Norm, RelativeBias, Rotary
from attention_ref.spec.records import Record

NormHeads = Literal["shared", "separate", "joint"]
"""What a normalisation of queries and keys normalises; see `AttentionConfig`."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(Record):
    """A multi-head attention layer.

    Arguments:
        model: m, the size of the query input.
        heads: h.
        kv_heads: g; h when None.
        head_size: d; m/h when None.
        value_size: v; d when None.
        memory_size: the size of the key and value input; m when None.
        value_memory_size: the size of the value input where it is another.
        output_size: the size of the output; m when None.
        query_bias, key_bias, value_bias, output_bias: which projections have a bias.
        clip: the largest absolute value of projected queries, keys and values; larger ones are set to it.
        query_key_norm: a normalisation of queries and keys, before rotary positions.
        query_key_norm_heads: what it normalises: each head over d with one gain (`shared`), each head over d with a
            gain of its own (`separate`), or all heads together over (h,d) (`joint`).
        rotary: rotary positions of queries and keys.
        alibi: add ALiBi's linear bias.
        alibi_factor: what that bias is multiplied by; 1/sqrt(d) in Falcon, which scales it with the scores.
        relative_bias: add a relative bias with a table of this layer's own.
        causal, window, scale, softcap: as in `attention`.
        sinks: add one trained sink logit for each head.
        trained_key_value: put a trained key and value, which every query sees, before the others.
        dropout: the rate of dropout on the weights in training.
    """

    model: int
    heads: int
    kv_heads: int | None = None
    head_size: int | None = None
    value_size: int | None = None
    memory_size: int | None = None
    value_memory_size: int | None = None
    output_size: int | None = None
    query_bias: bool = True
    key_bias: bool = True
    value_bias: bool = True
    output_bias: bool = True
    clip: float | None = None
    query_key_norm: Norm | None = None
    query_key_norm_heads: NormHeads = "shared"
    rotary: Rotary | None = None
    alibi: bool = False
    alibi_factor: float = 1.0
    relative_bias: RelativeBias | None = None
    causal: bool = False
    window: tuple[int | None, int | None] | None = None
    scale: float | None = None
    softcap: float | None = None
    sinks: bool = False
    trained_key_value: bool = False
    dropout: float = 0.0

    def _check(self) -> None:
        self.require_positive("model", "heads")
        for name in (
            "kv_heads",
            "head_size",
            "value_size",
            "memory_size",
            "value_memory_size",
            "output_size",
            "clip",
            "softcap",
        ):
            if getattr(self, name) is not None:
                self.require_positive(name)
        is_open = self.window is None or all(side is None or side >= 0 for side in self.window)
        self.require(is_open, "the distances of window must be at least 0, None where open", self.window)
        groups = self.kv_heads or self.heads
        received = f"{self.heads} and {groups}"
        self.require(self.heads % groups == 0, "heads must be a multiple of kv_heads", received)
        divides = self.head_size is not None or self.model % self.heads == 0
        self.require(divides, "without head_size, model must be a multiple of heads", f"{self.model} and {self.heads}")
        rule = "a trained_key_value, which every query sees, excludes a window"
        self.require(not self.trained_key_value or self.window is None, rule, self.window)
        is_read = self.alibi or self.alibi_factor == 1
        self.require(is_read, "alibi_factor is an option of alibi only", self.alibi_factor)
        is_read = self.query_key_norm is not None or self.query_key_norm_heads == "shared"
        self.require(is_read, "query_key_norm_heads needs a query_key_norm", self.query_key_norm_heads)
        self.require_rate("dropout")
        if self.rotary is not None:
            dimension = self.rotary.dimension or self.sizes.head
            fits = dimension <= self.sizes.head and dimension % 2 == 0
            self.require(fits, "the rotary dimension must be even and at most the head size", dimension)
            self.rotary.check_factors(dimension)

    @property
    def sizes(self) -> AttentionSizes:
        """All sizes, with defaults resolved."""
        head = self.head_size or self.model // self.heads
        return AttentionSizes(
            heads=self.heads,
            groups=self.kv_heads or self.heads,
            head=head,
            value=self.value_size or head,
            memory=self.memory_size or self.model,
            value_memory=self.value_memory_size or self.memory_size or self.model,
            output=self.output_size or self.model,
        )


class AttentionSizes(NamedTuple):
    """The sizes of an attention layer: h, g, d, v, and those of its key input, its value input and its output."""

    heads: int
    groups: int
    head: int
    value: int
    memory: int
    value_memory: int
    output: int


INTERLEAVED = Rotary(interleaved=True)
"""The rotary positions of DeepSeek's models."""


@dataclass(frozen=True, kw_only=True)
class LatentAttentionConfig(Record):
    """A multi-head latent attention layer; see `LatentAttention`.

    Arguments:
        model: m, the size of the input and of the output.
        heads: h.
        latent_size: the size of the latent of keys and values.
        query_latent_size: the size of the latent of queries; queries are projected from the input when None.
        content_size: the size of the part of a query or key that is not rotated.
        rotary_size: the size of the rotated part, even; all heads have this part of a key in common.
        value_size: v.
        norm: the normalisation of both latents; DeepSeek's models have an eps of 1e-6 in it, whatever the others have.
        latent_bias: whether the projections to the latents and to the rotated part of keys have a bias.
        output_bias: whether the output projection has a bias.
        rotary: how the rotated parts are rotated; without a dimension, because they are rotated as a whole.
        mscale: YaRN's coefficient of the scores' factor, `mscale_all_dim` in DeepSeek's models; 0 for none.
        causal: as in `attention`.
        scale: as in `attention`; 1/sqrt(d) when None, d being the sum of both sizes.
        dropout: the rate of dropout on the weights in training.
    """

    model: int
    heads: int
    latent_size: int
    query_latent_size: int | None = None
    content_size: int
    rotary_size: int
    value_size: int
    norm: Norm
    latent_bias: bool = False
    output_bias: bool = False
    rotary: Rotary = INTERLEAVED
    mscale: float = 0.0
    causal: bool = False
    scale: float | None = None
    dropout: float = 0.0

    def _check(self) -> None:
        self.require_positive("model", "heads", "latent_size", "content_size", "rotary_size", "value_size")
        if self.query_latent_size is not None:
            self.require_positive("query_latent_size")
        self.require(self.rotary_size % 2 == 0, "rotary_size must be even", self.rotary_size)
        rule = "rotary must have no dimension of its own: rotary_size says what is rotated"
        self.require(self.rotary.dimension is None, rule, self.rotary.dimension)
        self.rotary.check_factors(self.rotary_size)
        self.require(self.mscale >= 0, "mscale must be at least 0", self.mscale)
        is_read = self.mscale == 0 or self.rotary.scaling is not None
        self.require(is_read, "mscale needs a scaling of rotary, whose factor it depends on", self.mscale)
        is_one = self.mscale == 0 or self.scale is None
        self.require(is_one, "scale and mscale exclude each other: mscale is a factor of the default", self.scale)
        self.require_rate("dropout")

    @property
    def sizes(self) -> AttentionSizes:
        """All sizes, as those of an `AttentionConfig`."""
        return AttentionSizes(
            heads=self.heads,
            groups=self.heads,
            head=self.content_size + self.rotary_size,
            value=self.value_size,
            memory=self.model,
            value_memory=self.model,
            output=self.model,
        )
