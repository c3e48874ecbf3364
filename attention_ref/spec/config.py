"""Configurations of layers: frozen, validated records from which every backend builds.

A configuration has no weights, dtype or device. It is converted to JSON and back by `to_json` and `from_json` in
`attention_ref.spec.records`. Those of feed-forward networks are described in `attention_ref.spec.feedforward_config`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, NamedTuple

from attention_ref.spec.feedforward_config import Activation, FeedForwardConfig, MixtureConfig
from attention_ref.spec.records import Record

__all__ = [
    "SINUSOID",
    "Activation",
    "AttentionConfig",
    "AttentionSizes",
    "BlockConfig",
    "FeedForwardConfig",
    "Learned",
    "MixtureConfig",
    "Norm",
    "NormHeads",
    "Order",
    "RelativeBias",
    "Rotary",
    "RotaryScaling",
    "Sinusoid",
    "require_base",
]

Order = Literal["post", "pre", "output", "sandwich", "parallel"]
"""The position of the normalisations of a block; see `BlockConfig`."""
NormHeads = Literal["shared", "separate", "joint"]
"""What a normalisation of queries and keys normalises; see `AttentionConfig`."""


@dataclass(frozen=True)
class Norm(Record):
    """A normalisation of vectors, over their last axis.

    Arguments:
        kind: `layer` (subtract the mean, divide by the standard deviation) or `rms` (divide by the root mean square).
        eps: added to the variance or mean square inside the root; without a default, because libraries' defaults range
            from 1e-12 to 1e-3.
        bias: whether a LayerNorm has a bias; an RMSNorm has none.
        gain_offset: added to the stored gain; 1 in Gemma, which stores gains minus 1.
        gain: whether there is a gain; without one, nothing is scaled.
    """

    kind: Literal["layer", "rms"]
    eps: float
    bias: bool = True
    gain_offset: float = 0.0
    gain: bool = True

    def _check(self) -> None:
        self.require(self.gain or not self.gain_offset, "a gain_offset needs a gain", self.gain_offset)
        self.require(self.eps >= 0, "eps must be at least 0", self.eps)

    @property
    def has_bias(self) -> bool:
        """Whether the normalisation has a bias."""
        return self.bias and self.kind == "layer"


def require_base(record: Record, base: float) -> None:
    """Reject the record unless all powers of the base from -1 to 0 are finite."""
    record.require(base > 0, "base must be above 0", base)
    record.require(base >= sys.float_info.min, "base must be a normal number of float64", base)


@dataclass(frozen=True, kw_only=True)
class Sinusoid(Record):
    """Sinusoidal positions, added to the embedding; see `sinusoidal_positions`.

    Arguments:
        variant: the order of sines and cosines, and the denominator.
        base: the base of the frequencies.
        offset: added to every position: padding index + 1 in M2M-100.
    """

    variant: Literal["interleaved", "concatenated", "tensor2tensor"] = "interleaved"
    base: float = 10000.0
    offset: int = 0

    def _check(self) -> None:
        self.require(0 <= self.offset < 2**24, "offset must be at least 0 and below 2^24", self.offset)
        require_base(self, self.base)


SINUSOID = Sinusoid()
"""The positions of "Attention Is All You Need"."""


@dataclass(frozen=True, kw_only=True)
class Learned(Record):
    """A trained table of position vectors, added to the embedding.

    Arguments:
        length: how many positions the table has, without the offset.
        offset: the row of position 0: 2 in BART, padding index + 1 in RoBERTa. The table has `length + offset` rows.
    """

    length: int
    offset: int = 0

    def _check(self) -> None:
        self.require_positive("length")
        self.require(self.offset >= 0, "offset must be at least 0", self.offset)


@dataclass(frozen=True, kw_only=True)
class RotaryScaling(Record):
    """A change of rotary frequencies for longer contexts; see `rotary_frequencies`.

    Arguments:
        kind: `linear`, `ntk`, `dynamic`, `yarn`, `longrope` or `llama3`.
        factor: the ratio of the new length to the original one.
        original_length: the context length that the model was trained on; of all but linear and ntk.
        low_frequency_factor, high_frequency_factor: the ends of llama3's interpolation, in rotations within
            `original_length`.
        slow_rotations, fast_rotations: the ends of yarn's ramp, in rotations within `original_length`.
        truncate: whether the ends of yarn's ramp are moved outwards to whole pairs.
        attention_factor: the factor of sines and cosines of yarn and longrope; computed from `factor` when None.
        short_factors, long_factors: by what longrope divides the frequency of each pair, in calls within
            `original_length` and in longer ones.
    """

    kind: Literal["linear", "ntk", "dynamic", "yarn", "longrope", "llama3"]
    factor: float
    original_length: int = 8192
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    slow_rotations: float = 1.0
    fast_rotations: float = 32.0
    truncate: bool = True
    attention_factor: float | None = None
    short_factors: tuple[float, ...] | None = None
    long_factors: tuple[float, ...] | None = None

    def _check(self) -> None:
        self.require(self.factor > 0, "factor must be above 0", self.factor)
        self.require_positive("original_length")
        self.require_order("low_frequency_factor", "high_frequency_factor")
        self.require_order("slow_rotations", "fast_rotations")
        self.require_positive("slow_rotations")
        for name, kinds in _READ_BY.items():
            is_read = self.kind in kinds or getattr(self, name) == type(self).__dataclass_fields__[name].default
            self.require(is_read, f"{name} is an option of {' and '.join(kinds)} only", f"{name} with {self.kind}")
        if self.kind == "longrope":
            for name in ("short_factors", "long_factors"):
                factors = getattr(self, name)
                is_right = factors is not None and all(factor > 0 for factor in factors)
                self.require(is_right, f"longrope needs {name} above 0", factors)
            self.require(self.original_length > 1, "longrope needs an original_length above 1", self.original_length)


_READ_BY = {
    "original_length": ("dynamic", "yarn", "longrope", "llama3"),
    "low_frequency_factor": ("llama3",),
    "high_frequency_factor": ("llama3",),
    "slow_rotations": ("yarn",),
    "fast_rotations": ("yarn",),
    "truncate": ("yarn",),
    "attention_factor": ("yarn", "longrope"),
    "short_factors": ("longrope",),
    "long_factors": ("longrope",),
}


@dataclass(frozen=True, kw_only=True)
class Rotary(Record):
    """Rotary positions; see `rotate`.

    Arguments:
        base: the base of the frequencies.
        dimension: how many leading components of a head are rotated, even; all when None.
        interleaved: rotate pairs of adjacent components, instead of component i of the first half with i of the second.
        scaling: a change of the frequencies.
        angles: the dtype in which angles are computed; `float32` only for parity with checkpoints that were trained
            with it.
    """

    base: float = 10000.0
    dimension: int | None = None
    interleaved: bool = False
    scaling: RotaryScaling | None = None
    angles: Literal["float64", "float32"] = "float64"

    def _check(self) -> None:
        require_base(self, self.base)
        if self.dimension is not None:
            is_even = self.dimension > 0 and self.dimension % 2 == 0
            self.require(is_even, "dimension must be even and above 0", self.dimension)
        if self.scaling is not None and self.scaling.kind == "yarn":
            self.require(self.base > 1, "yarn needs a base above 1", self.base)

    def check_factors(self, dimension: int) -> None:
        """Reject the record unless longrope has a factor for every pair."""
        if self.scaling is not None and self.scaling.kind == "longrope":
            counts = [len(self.scaling.short_factors or ()), len(self.scaling.long_factors or ())]
            rule = f"longrope needs {dimension // 2} factors of each kind, one for every rotated pair"
            self.require(counts == [dimension // 2] * 2, rule, counts)


@dataclass(frozen=True, kw_only=True)
class RelativeBias(Record):
    """T5's relative bias: one trained number for each bucket of distances and head; see `relative_bucket`."""

    buckets: int = 32
    maximum_distance: int = 128
    bidirectional: bool = True

    def _check(self) -> None:
        directions = 2 if self.bidirectional else 1
        self.require(self.buckets >= 2 * directions, f"buckets must be at least {2 * directions}", self.buckets)
        exact = self.buckets // directions // 2
        rule = f"maximum_distance must be above the {exact} distances that have a bucket each"
        self.require(self.maximum_distance > exact, rule, self.maximum_distance)


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


@dataclass(frozen=True, kw_only=True)
class BlockConfig(Record):
    """A Transformer block: self-attention, cross-attention if configured, feed-forward network.

    Arguments:
        attention: the self-attention.
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

    attention: AttentionConfig
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
