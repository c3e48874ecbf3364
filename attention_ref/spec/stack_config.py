"""Configurations of stacks: an embedding, a sequence of blocks and a final normalisation.

The parts of a block are described in `attention_ref.spec.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from attention_ref.spec.config import (
    SINUSOID,
    Activation,
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    Learned,
    Norm,
    Order,
    RelativeBias,
    Rotary,
    Sinusoid,
)
from attention_ref.spec.errors import received_text, reject
from attention_ref.spec.records import Record
from attention_ref.spec.shapes import is_integer


@dataclass(frozen=True, kw_only=True)
class Patches(Record):
    """Patch embedding: an image `(height, width, channels)` as a sequence of square patches, each projected to the
    model size.

    Arguments:
        size: the side of a patch in pixels.
        height, width: of the image in pixels, multiples of `size`.
        channels: how many numbers each pixel has.
        class_token: prepend a trained vector to the patches.
        distillation_token: prepend a second one, between the first and the patches (DeiT).
    """

    size: int
    height: int
    width: int
    channels: int = 3
    class_token: bool = True
    distillation_token: bool = False

    def _check(self) -> None:
        has_first = self.class_token or not self.distillation_token
        self.require(has_first, "a distillation_token needs a class_token", "none")
        self.require_positive("size", "height", "width", "channels")
        fits = self.height % self.size == 0 and self.width % self.size == 0
        self.require(fits, "height and width must be multiples of size", f"{self.height}, {self.width}, {self.size}")

    @property
    def length(self) -> int:
        """The length of the sequence."""
        return (self.height // self.size) * (self.width // self.size) + len(self.tokens)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The names of the trained vectors before the patches."""
        return ("class_token", "distillation_token")[: self.class_token + self.distillation_token]


@dataclass(frozen=True, kw_only=True)
class Audio(Record):
    """Whisper's audio embedding: two convolutions of width 3 with exact GELU over frames of features, the second one of
    stride 2 (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022).

    Arguments:
        channels: how many features each frame has.
    """

    channels: int

    def _check(self) -> None:
        self.require_positive("channels")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(Record):
    """The embedding: maps the input of a stack to vectors.

    Without `vocab`, `patches` and `audio`, the input consists of vectors.

    Arguments:
        vocab: n, the number of tokens.
        patches, audio: the embedding of images or of audio features.
        types: the number of token types (BERT's segments); 0 for none.
        positions: the positional encoding that is added to the vectors.
        positions_skip: a token that is not counted (RoBERTa's padding): it has position -1, and the other tokens count
            from 0. With sinusoidal positions, nothing is added to it.
        scale: multiplies the token vectors before anything is added; sqrt(m) in "Attention Is All You Need".
        norm: a normalisation of the sum.
        size: e, the size of the token vectors, which are then projected to the model size; m, and no projection, when
            None.
        projected: what is projected: the `sum`, behind its norm, or the `tokens` alone, before anything is added.
        projection_bias: whether the projection has a bias.
        dropout: the rate of dropout on the result in training.
    """

    vocab: int | None = None
    patches: Patches | None = None
    audio: Audio | None = None
    types: int = 0
    positions: Sinusoid | Learned | None = None
    positions_skip: int | None = None
    scale: float = 1.0
    norm: Norm | None = None
    size: int | None = None
    projected: Literal["sum", "tokens"] = "sum"
    projection_bias: bool = True
    dropout: float = 0.0

    def _check(self) -> None:
        if self.size is not None:
            self.require_positive("size")
            self.require(self.vocab is not None, "only token vectors have a size of their own", self.size)
        is_read = self.size is not None or (self.projected == "sum" and self.projection_bias)
        self.require(is_read, "projected and projection_bias need a size", "none")
        kinds = [name for name in ("vocab", "patches", "audio") if getattr(self, name) is not None]
        self.require(
            len(kinds) <= 1, "an embedding must have at most one of vocab, patches and audio", " and ".join(kinds)
        )
        if self.vocab is not None:
            self.require_positive("vocab")
        self.require(self.types >= 0, "types must be at least 0", self.types)
        is_scaled = self.scale == 1 or not (self.patches or self.audio)
        self.require(is_scaled, "patches and audio are projected and not scaled, so scale must be 1", self.scale)
        self.require_rate("dropout")
        if self.patches is not None and isinstance(self.positions, Learned):
            rule = f"an image of {self.patches.length} vectors needs at least {self.patches.length} positions"
            self.require(self.positions.length >= self.patches.length, rule, self.positions.length)
        if self.positions_skip is not None:
            counted = self.positions is not None and self.positions.offset > 0 and self.vocab is not None
            self.require(counted, "positions_skip needs tokens and positions with an offset", self.positions)

    def sum_size(self, model: int) -> int:
        """Return the size of the vectors to which positions and types are added."""
        return self.size if self.size is not None and self.projected == "sum" else model


@dataclass(frozen=True, kw_only=True)
class StackConfig(Record):
    """An embedding, a sequence of blocks and a final normalisation.

    Arguments:
        embedding: maps the input to vectors.
        blocks: the configuration of each block.
        relative_bias: a relative bias, shared by the self-attention of all blocks.
        norm: a normalisation of the result; usually None with post-norm blocks.
    """

    embedding: EmbeddingConfig
    blocks: tuple[BlockConfig, ...]
    relative_bias: RelativeBias | None = None
    norm: Norm | None = None

    def _check(self) -> None:
        self.require(len(self.blocks) > 0, "a stack must have at least one block", "none")
        models = {block.model for block in self.blocks}
        self.require(len(models) == 1, "all blocks of a stack must have the same model size", sorted(models))
        sinusoid = self.embedding.positions
        if isinstance(sinusoid, Sinusoid):
            smallest = 4 if sinusoid.variant == "tensor2tensor" else 2
            size = self.embedding.sum_size(self.model)
            rule = f"sinusoidal positions need an even model size of at least {smallest}"
            self.require(size % 2 == 0 and size >= smallest, rule, size)
        if self.relative_bias is not None:
            heads = {block.attention.heads for block in self.blocks}
            self.require(
                len(heads) == 1, "a shared relative_bias needs the same number of heads in all blocks", sorted(heads)
            )

    @property
    def model(self) -> int:
        """Model width m."""
        return self.blocks[0].model


def stack(
    *,
    vocab: int,
    model: int,
    heads: int,
    layers: int,
    feedforward: int,
    causal: bool,
    cross: bool,
    kv_heads: int | None = None,
    norm: Norm | None = None,
    order: Order = "pre",
    activation: Activation = "gelu",
    gated: bool = False,
    bias: bool = True,
    positions: Sinusoid | Learned | Rotary | None = SINUSOID,
    scale_embedding: bool = True,
    dropout: float = 0.0,
) -> StackConfig:
    """Return a stack of equal blocks.

    Arguments:
        vocab: n.
        model: m.
        heads, kv_heads: h and g.
        layers: the number of blocks.
        feedforward: f.
        causal: whether self-attention is causal.
        cross: whether the blocks have cross-attention.
        norm, order: as in `BlockConfig`; a LayerNorm with eps 1e-5 when None. The stack ends with a normalisation
            unless the order is `post`.
        activation, gated: as in `FeedForwardConfig`.
        bias: whether the projections have biases.
        positions: vectors added to the embedding, rotary positions, or None.
        scale_embedding: multiply the token vectors by sqrt(m).
        dropout: the rate of every dropout in training.
    """
    if not is_integer(layers) or not 1 <= layers < 2**31:
        reject("stack", "layers must be an integer of at least 1", received_text(layers))
    norm = norm or Norm("layer", eps=1e-5)
    rotary = positions if isinstance(positions, Rotary) else None
    attention = AttentionConfig(
        model=model,
        heads=heads,
        kv_heads=kv_heads,
        query_bias=bias,
        key_bias=bias,
        value_bias=bias,
        output_bias=bias,
        rotary=rotary,
        causal=causal,
        dropout=dropout,
    )
    block = BlockConfig(
        attention=attention,
        cross_attention=replace(attention, causal=False, rotary=None) if cross else None,
        feedforward=FeedForwardConfig(
            model=model,
            hidden=feedforward,
            activation=activation,
            gated=gated,
            input_bias=bias,
            output_bias=bias,
            dropout=dropout,
        ),
        norm=norm,
        order=order,
        dropout=dropout,
    )
    embedding = EmbeddingConfig(
        vocab=vocab,
        positions=None if isinstance(positions, Rotary) else positions,
        scale=model**0.5 if scale_embedding else 1.0,
        dropout=dropout,
    )
    return StackConfig(embedding=embedding, blocks=(block,) * layers, norm=None if order == "post" else norm)
