"""What a model is: embeddings, stacks of blocks, heads.

The parts of a block are described in `attention_ref.spec.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from attention_ref.spec.config import (
    SINUSOID,
    Activation,
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    Learned,
    Norm,
    RelativeBias,
    Rotary,
    Sinusoid,
)
from attention_ref.spec.errors import received_text, reject
from attention_ref.spec.records import Record
from attention_ref.spec.shapes import is_integer


@dataclass(frozen=True, kw_only=True)
class Patches(Record):
    """How an image `(height, width, channels)` becomes a sequence: equal squares, each projected to the model size.

    Arguments:
        size: the side of a square in pixels.
        height, width: of the image in pixels, multiples of `size`.
        channels: numbers for each pixel.
        class_token: put a trained vector before the patches.
    """

    size: int
    height: int
    width: int
    channels: int = 3
    class_token: bool = True

    def _check(self) -> None:
        self.require_positive("size", "height", "width", "channels")
        fits = self.height % self.size == 0 and self.width % self.size == 0
        self.require(fits, "height and width must be multiples of size", f"{self.height}, {self.width}, {self.size}")

    @property
    def length(self) -> int:
        """How many vectors the sequence has."""
        return (self.height // self.size) * (self.width // self.size) + int(self.class_token)


@dataclass(frozen=True, kw_only=True)
class Audio(Record):
    """How frames of sound features become a sequence: two convolutions of width 3 with exact GELU, the second one of
    stride 2 (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022).

    Arguments:
        channels: numbers for each frame.
    """

    channels: int

    def _check(self) -> None:
        self.require_positive("channels")


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig(Record):
    """What turns the input of a stack into vectors.

    With none of `vocab`, `patches` and `audio` the input already is vectors.

    Arguments:
        vocab: n, how many tokens there are.
        patches, audio: the input is an image, or sound.
        types: how many token types there are (BERT's segments); 0 is none.
        positions: a code added to the vectors.
        positions_skip: a token whose places are not counted as positions (RoBERTa's padding): it and every place that
            is not counted stand at position -1, the others count from 0.
        scale: a factor of the token vectors before anything is added; sqrt(m) in the paper.
        norm: a normalisation of the sum.
        dropout: the rate on the result in training.
    """

    vocab: int | None = None
    patches: Patches | None = None
    audio: Audio | None = None
    types: int = 0
    positions: Sinusoid | Learned | None = None
    positions_skip: int | None = None
    scale: float = 1.0
    norm: Norm | None = None
    dropout: float = 0.0

    def _check(self) -> None:
        kinds = [name for name in ("vocab", "patches", "audio") if getattr(self, name) is not None]
        self.require(len(kinds) <= 1, "an embedding has one of vocab, patches, audio", " and ".join(kinds))
        if self.vocab is not None:
            self.require_positive("vocab")
        self.require(self.types >= 0, "types must be at least 0", self.types)
        is_scaled = self.scale == 1 or not (self.patches or self.audio)
        self.require(is_scaled, "patches and audio are projected and not scaled, so scale must be 1", self.scale)
        self.require_rate("dropout")
        if self.patches is not None and isinstance(self.positions, Learned):
            rule = f"an image of {self.patches.length} vectors needs as many positions"
            self.require(self.positions.length >= self.patches.length, rule, self.positions.length)
        if self.positions_skip is not None:
            learned = isinstance(self.positions, Learned) and self.positions.offset > 0 and self.vocab is not None
            self.require(learned, "positions_skip needs tokens and learned positions with an offset", self.positions)


@dataclass(frozen=True, kw_only=True)
class StackConfig(Record):
    """An embedding, blocks one after another, and a normalisation.

    Arguments:
        embedding: what makes vectors of the input.
        blocks: the configuration of each block.
        relative_bias: a trained bias of distance shared by the self-attention of all blocks.
        norm: a normalisation of the result; None for post-norm blocks as a rule.
    """

    embedding: EmbeddingConfig
    blocks: tuple[BlockConfig, ...]
    relative_bias: RelativeBias | None = None
    norm: Norm | None = None

    def _check(self) -> None:
        self.require(len(self.blocks) > 0, "a stack has at least one block", 0)
        models = {block.model for block in self.blocks}
        self.require(len(models) == 1, "all blocks of a stack have the same model size", sorted(models))
        sinusoid = self.embedding.positions
        if isinstance(sinusoid, Sinusoid):
            smallest = 4 if sinusoid.variant == "tensor2tensor" else 2
            fits = self.model % 2 == 0 and self.model >= smallest
            rule = f"sinusoidal positions need an even model size of at least {smallest}"
            self.require(fits, rule, self.model)
        if self.relative_bias is not None:
            heads = {block.attention.heads for block in self.blocks}
            self.require(len(heads) == 1, "a shared relative_bias needs the same heads everywhere", sorted(heads))

    @property
    def model(self) -> int:
        """M."""
        return self.blocks[0].model


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Record):
    """What reads the result of the last stack.

    Arguments:
        kind: `language` (a score for each token of the vocabulary at each place), `pooler` (tanh of a projection of
            one place), or `classifier` (class scores of one place).
        place: which place a `pooler` or `classifier` reads: the `first`, as in BERT and ViT, or the `last` real one, as
            GPT-2, Llama and BART classify.
        size: n of `language`, the number of classes of `classifier`, the width of a `pooler`.
        bias: whether the last projection has a bias.
        tied: `language` only: the projection is the token embedding of that stack, transposed.
        scale: a factor of what goes into the last projection (T5: m^-0.5).
        softcap: bounds the scores, as in `attention`.
        transform: a projection with this activation and then `norm` before the last one (BERT's masked-token head); in
            a classifier the activation of BERT's pooler.
        norm: see `transform`.
    """

    kind: Literal["language", "pooler", "classifier"]
    size: int
    bias: bool = False
    tied: bool = False
    scale: float = 1.0
    softcap: float | None = None
    transform: Activation | Literal["tanh"] | None = None
    norm: Norm | None = None
    place: Literal["first", "last"] = "first"

    def _check(self) -> None:
        self.require_positive("size")
        reads_one = self.kind != "language" or self.place == "first"
        self.require(reads_one, "a language head reads every place, so it has no place", self.place)
        if self.softcap is not None:
            self.require_positive("softcap")
        self.require(not self.tied or self.kind == "language", "only a language head is tied", self.kind)
        inert = [name for name in ("scale", "softcap", "transform", "norm") if self._is_set(name)]
        bare = self.kind != "pooler" or not inert
        self.require(bare, "a pooler is a projection and a tanh, without scale, softcap, transform and norm", inert)
        self.require(self.norm is None or self.transform is not None, "norm comes after a transform", "norm alone")

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Record):
    """A Transformer: an encoder, a decoder, or both.

    Arguments:
        encoder_stack: reads the source.
        decoder_stack: reads the target; where there is an encoder too, every block has a cross_attention to it.
        head: reads the result of the decoder, or of the encoder where it is alone.
        shared_embedding: the decoder's token embedding is the encoder's.
    """

    encoder_stack: StackConfig | None = None
    decoder_stack: StackConfig | None = None
    head: HeadConfig | None = None
    shared_embedding: bool = False

    def _check(self) -> None:
        encoder, decoder = self.encoder_stack, self.decoder_stack
        rule = "a model has an encoder_stack or a decoder_stack"
        self.require(encoder is not None or decoder is not None, rule, None)
        crosses = {block.cross_attention is not None for block in decoder.blocks} if decoder is not None else {False}
        rule = "every decoder block has a cross_attention iff there is an encoder_stack"
        self.require(decoder is None or crosses == {encoder is not None}, rule, sorted(crosses))
        if encoder is not None:
            own = all(block.cross_attention is None for block in encoder.blocks)
            self.require(own, "encoder blocks have no cross_attention", "one")
        self._check_tokens()

    def _check_tokens(self) -> None:
        encoder, decoder = self.encoder_stack, self.decoder_stack
        if self.shared_embedding:
            sizes: list[Any] = [stack and (stack.embedding.vocab, stack.model) for stack in (encoder, decoder)]
            shared = sizes[0] == sizes[1] and sizes[0] is not None and sizes[0][0] is not None
            self.require(shared, "shared_embedding needs two stacks with the same vocabulary and model size", sizes)
        if self.head is not None and self.head.tied:
            vocab = self.last_stack.embedding.vocab
            received = f"{self.head.size} and {vocab}"
            self.require(vocab == self.head.size, "a tied head has the size of the vocabulary", received)

    @property
    def last_stack(self) -> Any:
        """The stack whose result the head reads."""
        return self.decoder_stack or self.encoder_stack

    @property
    def kind(self) -> Literal["encoder", "decoder", "encoder-decoder"]:
        """Which stacks there are."""
        if self.encoder_stack is None:
            return "decoder"
        return "encoder" if self.decoder_stack is None else "encoder-decoder"

    @classmethod
    def encoder(cls, *, vocab: int, head: HeadConfig | None = None, **options: Any) -> ModelConfig:
        """An encoder over tokens; `options` as in `stack`."""
        return cls(encoder_stack=stack(vocab=vocab, causal=False, cross=False, **options), head=head)

    @classmethod
    def decoder(cls, *, vocab: int, tied: bool = True, **options: Any) -> ModelConfig:
        """A causal language model; `options` as in `stack`."""
        head = HeadConfig(kind="language", size=vocab, tied=tied)
        return cls(decoder_stack=stack(vocab=vocab, causal=True, cross=False, **options), head=head)

    @classmethod
    def encoder_decoder(
        cls, *, vocab: int, target_vocab: int | None = None, tied: bool = True, **options: Any
    ) -> ModelConfig:
        """A sequence-to-sequence model; one vocabulary and embedding unless `target_vocab` is given; `options` as in
        `stack`.
        """
        target = target_vocab or vocab
        return cls(
            encoder_stack=stack(vocab=vocab, causal=False, cross=False, **options),
            decoder_stack=stack(vocab=target, causal=True, cross=True, **options),
            head=HeadConfig(kind="language", size=target, tied=tied),
            shared_embedding=target_vocab is None,
        )


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
    order: Literal["post", "pre", "sandwich", "parallel"] = "pre",
    activation: Activation = "gelu",
    gated: bool = False,
    bias: bool = True,
    positions: Sinusoid | Learned | Rotary | None = SINUSOID,
    scale_embedding: bool = True,
    dropout: float = 0.0,
) -> StackConfig:
    """Make a stack of equal blocks.

    Arguments:
        vocab: n.
        model: m.
        heads, kv_heads: h and g.
        layers: how many blocks.
        feedforward: f.
        causal: whether self-attention is causal.
        cross: whether the blocks attend to a memory.
        norm, order: as in `BlockConfig`; a LayerNorm with eps 1e-5 when None. All orders but post end with one.
        activation, gated: as in `FeedForwardConfig`.
        bias: whether the projections have biases.
        positions: added to the embedding, or rotary.
        scale_embedding: multiply the token vectors by sqrt(m).
        dropout: every rate in training.
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
