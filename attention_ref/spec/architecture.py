"""Configurations of models: stacks of blocks and a head.

Stacks and embeddings are described in `attention_ref.spec.stack_config`, the parts of a block in
`attention_ref.spec.config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from attention_ref.spec.config import SINUSOID, Activation, Learned, Norm, Order, Rotary, Sinusoid
from attention_ref.spec.records import Record
from attention_ref.spec.stack_config import Audio, EmbeddingConfig, Patches, StackConfig, stack

__all__ = ["Audio", "EmbeddingConfig", "HeadConfig", "ModelConfig", "Patches", "StackConfig", "stack"]


@dataclass(frozen=True, kw_only=True)
class HeadConfig(Record):
    """The head: maps the output of the last stack to the result of the model.

    Arguments:
        kind: `language` (a score for each token of the vocabulary, at each position), `pooler` (tanh of a projection,
            at one position), or `classifier` (class scores, at one position).
        place: the position that a `pooler` or `classifier` reads: the `first`, as in BERT and ViT, or the `last` one
            that is not padding, as in GPT-2, Llama and BART classifiers.
        size: n of `language`, the number of classes of `classifier`, the width of a `pooler`.
        bias: whether the last projection has a bias.
        tied: use the transposed token embedding of the stack as the last projection; `language` only.
        scale: multiplies the input of the last projection (T5: m^-0.5).
        softcap: a soft bound of the scores, as in `attention`.
        transform: the activation of an additional projection before the last one (BERT's masked-token head; the pooler
            of BERT's classifier); `identity` for the projection alone.
        transform_size: the size of its output; m when None.
        transform_bias: whether that projection has a bias.
        norm: a normalisation after `transform`.
    """

    kind: Literal["language", "pooler", "classifier"]
    size: int
    bias: bool = False
    tied: bool = False
    scale: float = 1.0
    softcap: float | None = None
    transform: Activation | Literal["identity"] | None = None
    transform_size: int | None = None
    transform_bias: bool = True
    norm: Norm | None = None
    place: Literal["first", "last"] = "first"

    def _check(self) -> None:
        self.require_positive("size")
        reads_one = self.kind != "language" or self.place == "first"
        self.require(
            reads_one, "a language head reads every position, so place must be 'first', its default", self.place
        )
        if self.softcap is not None:
            self.require_positive("softcap")
        self.require(not self.tied or self.kind == "language", "only a language head is tied", self.kind)
        inert = [name for name in ("scale", "softcap", "transform", "norm") if self._is_set(name)]
        bare = self.kind != "pooler" or not inert
        self.require(bare, "a pooler is a projection and a tanh, without scale, softcap, transform and norm", inert)
        if self.transform_size is not None:
            self.require_positive("transform_size")
            self.require(self.transform is not None, "transform_size needs a transform", self.transform_size)
        is_read = self.transform is not None or self.transform_bias
        self.require(is_read, "transform_bias needs a transform", self.transform_bias)
        self.require(
            self.norm is None or self.transform is not None,
            "a head with a norm must have a transform",
            "a norm without a transform",
        )

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Record):
    """A Transformer: an encoder, a decoder, or both.

    Arguments:
        encoder_stack: the stack that reads the source.
        decoder_stack: the stack that reads the target, with cross-attention to the encoder if the model has one.
        head: maps the output of the last stack to the result; without one the result is that output.
        shared_embedding: use the encoder's token embedding in the decoder too.
    """

    encoder_stack: StackConfig | None = None
    decoder_stack: StackConfig | None = None
    head: HeadConfig | None = None
    shared_embedding: bool = False

    def _check(self) -> None:
        encoder, decoder = self.encoder_stack, self.decoder_stack
        rule = "a model must have an encoder_stack or a decoder_stack"
        self.require(encoder is not None or decoder is not None, rule, "neither")
        crosses = {block.cross_attention is not None for block in decoder.blocks} if decoder is not None else {False}
        rule = "either all decoder blocks have a cross_attention and the model has an encoder_stack, or neither"
        self.require(decoder is None or crosses == {encoder is not None}, rule, sorted(crosses))
        if encoder is not None:
            own = all(block.cross_attention is None for block in encoder.blocks)
            self.require(own, "encoder blocks must not have a cross_attention", "a block with one")
        self._check_tokens()

    def _check_tokens(self) -> None:
        encoder, decoder = self.encoder_stack, self.decoder_stack
        if self.shared_embedding:
            sizes: list[Any] = [
                stack and (stack.embedding.vocab, stack.embedding.size or stack.model) for stack in (encoder, decoder)
            ]
            shared = sizes[0] == sizes[1] and sizes[0] is not None and sizes[0][0] is not None
            self.require(shared, "shared_embedding needs two stacks with the same vocabulary and model size", sizes)
        if self.head is not None and self.head.tied:
            vocab = self.last_stack.embedding.vocab
            received = f"{self.head.size} and {vocab}"
            self.require(vocab == self.head.size, "a tied head has the size of the vocabulary", received)
            read = self.head.transform_size or self.last_stack.model
            size = self.last_stack.embedding.size or self.last_stack.model
            self.require(
                read == size, "a tied head reads vectors of the size of the token vectors", f"{read} and {size}"
            )

    @property
    def last_stack(self) -> Any:
        """The stack whose output the head reads."""
        return self.decoder_stack or self.encoder_stack

    @property
    def kind(self) -> Literal["encoder", "decoder", "encoder-decoder"]:
        """Which stacks the model has."""
        if self.encoder_stack is None:
            return "decoder"
        return "encoder" if self.decoder_stack is None else "encoder-decoder"

    @classmethod
    def encoder(
        cls,
        *,
        vocab: int,
        model: int,
        heads: int,
        layers: int,
        feedforward: int,
        kv_heads: int | None = None,
        norm: Norm | None = None,
        order: Order = "pre",
        activation: Activation = "gelu",
        gated: bool = False,
        bias: bool = True,
        positions: Sinusoid | Learned | Rotary | None = SINUSOID,
        scale_embedding: bool = True,
        dropout: float = 0.0,
        head: HeadConfig | None = None,
    ) -> ModelConfig:
        """Return an encoder over tokens, all of whose blocks are equal.

        Arguments:
            vocab: n, the number of tokens.
            model: m, the size of the vectors.
            heads: h, of each attention.
            layers: how many blocks the encoder has.
            feedforward: f, the hidden size of the feed-forward networks.
            kv_heads: g, how many key/value heads the query heads share; h when None.
            norm: the kind of every normalisation; a LayerNorm with eps 1e-5 when None.
            order: where the normalisations of a block are, see `BlockConfig`. The stack ends with a normalisation
                too, unless the order is `post`.
            activation, gated: as in `FeedForwardConfig`.
            bias: whether the projections have biases.
            positions: sinusoidal or learned vectors added to the embedding, or rotary positions in each attention;
                None for no positions.
            scale_embedding: multiply the token vectors by sqrt(m).
            dropout: the rate of every dropout in training.
            head: maps the encoder's output to the result of the model; without one the result is that output.
        """
        options: Any = {
            "model": model,
            "heads": heads,
            "layers": layers,
            "feedforward": feedforward,
            "kv_heads": kv_heads,
            "norm": norm,
            "order": order,
            "activation": activation,
            "gated": gated,
            "bias": bias,
            "positions": positions,
            "scale_embedding": scale_embedding,
            "dropout": dropout,
        }
        return cls(encoder_stack=stack(vocab=vocab, causal=False, cross=False, **options), head=head)

    @classmethod
    def decoder(
        cls,
        *,
        vocab: int,
        model: int,
        heads: int,
        layers: int,
        feedforward: int,
        kv_heads: int | None = None,
        norm: Norm | None = None,
        order: Order = "pre",
        activation: Activation = "gelu",
        gated: bool = False,
        bias: bool = True,
        positions: Sinusoid | Learned | Rotary | None = SINUSOID,
        scale_embedding: bool = True,
        dropout: float = 0.0,
        tied: bool = True,
    ) -> ModelConfig:
        """Return a causal language model, all of whose blocks are equal.

        Arguments:
            vocab: n, the number of tokens.
            model: m, the size of the vectors.
            heads: h, of each attention.
            layers: how many blocks the decoder has.
            feedforward: f, the hidden size of the feed-forward networks.
            kv_heads: g, how many key/value heads the query heads share; h when None.
            norm: the kind of every normalisation; a LayerNorm with eps 1e-5 when None.
            order: where the normalisations of a block are, see `BlockConfig`. The stack ends with a normalisation
                too, unless the order is `post`.
            activation, gated: as in `FeedForwardConfig`.
            bias: whether the projections have biases.
            positions: sinusoidal or learned vectors added to the embedding, or rotary positions in each attention;
                None for no positions.
            scale_embedding: multiply the token vectors by sqrt(m).
            dropout: the rate of every dropout in training.
            tied: use the transposed token embedding as the projection of the language head.
        """
        options: Any = {
            "model": model,
            "heads": heads,
            "layers": layers,
            "feedforward": feedforward,
            "kv_heads": kv_heads,
            "norm": norm,
            "order": order,
            "activation": activation,
            "gated": gated,
            "bias": bias,
            "positions": positions,
            "scale_embedding": scale_embedding,
            "dropout": dropout,
        }
        head = HeadConfig(kind="language", size=vocab, tied=tied)
        return cls(decoder_stack=stack(vocab=vocab, causal=True, cross=False, **options), head=head)

    @classmethod
    def encoder_decoder(
        cls,
        *,
        vocab: int,
        model: int,
        heads: int,
        layers: int,
        feedforward: int,
        kv_heads: int | None = None,
        norm: Norm | None = None,
        order: Order = "pre",
        activation: Activation = "gelu",
        gated: bool = False,
        bias: bool = True,
        positions: Sinusoid | Learned | Rotary | None = SINUSOID,
        scale_embedding: bool = True,
        dropout: float = 0.0,
        target_vocab: int | None = None,
        tied: bool = True,
    ) -> ModelConfig:
        """Return a sequence-to-sequence model with a language head, whose two stacks have equal sizes.

        Arguments:
            vocab: n, the number of tokens of the source.
            model: m, the size of the vectors.
            heads: h, of each attention.
            layers: how many blocks each stack has.
            feedforward: f, the hidden size of the feed-forward networks.
            kv_heads: g, how many key/value heads the query heads share; h when None.
            norm: the kind of every normalisation; a LayerNorm with eps 1e-5 when None.
            order: where the normalisations of a block are, see `BlockConfig`. Each stack ends with a normalisation
                too, unless the order is `post`.
            activation, gated: as in `FeedForwardConfig`.
            bias: whether the projections have biases.
            positions: sinusoidal or learned vectors added to the embedding, or rotary positions in each
                self-attention; None for no positions.
            scale_embedding: multiply the token vectors by sqrt(m).
            dropout: the rate of every dropout in training.
            target_vocab: the number of tokens of the target; when None, source and target share one vocabulary and one
                token embedding.
            tied: use the transposed token embedding of the decoder as the projection of the language head.
        """
        options: Any = {
            "model": model,
            "heads": heads,
            "layers": layers,
            "feedforward": feedforward,
            "kv_heads": kv_heads,
            "norm": norm,
            "order": order,
            "activation": activation,
            "gated": gated,
            "bias": bias,
            "positions": positions,
            "scale_embedding": scale_embedding,
            "dropout": dropout,
        }
        target = target_vocab or vocab
        return cls(
            encoder_stack=stack(vocab=vocab, causal=False, cross=False, **options),
            decoder_stack=stack(vocab=target, causal=True, cross=True, **options),
            head=HeadConfig(kind="language", size=target, tied=tied),
            shared_embedding=target_vocab is None,
        )
