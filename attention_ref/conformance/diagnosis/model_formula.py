"""Models and other scores in named steps, each of which a deviation may replace."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.latent_formula import LatentFormula
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import Learned
from attention_ref.spec.parameters import under


class ModelFormula(LatentFormula):
    """Embeddings, stacks, heads and models as specified, and the scores of additive and multiplicative attention."""

    block_place = 0
    """The place in its stack of the block that is being computed."""

    # Other scores

    def additive_scores(
        self, query: Array, key: Array, query_kernel: Array | None, key_kernel: Array | None, score_kernel: Array
    ) -> Array:
        """Return `score_kernel . tanh(query query_kernel + key key_kernel)`."""
        query = query if query_kernel is None else query @ query_kernel
        key = key if key_kernel is None else key @ key_kernel
        return self.additive_activation(query[..., :, None, :] + key[..., None, :, :]) @ score_kernel

    def additive_activation(self, array: Array) -> Array:
        """Return the hyperbolic tangent."""
        return np.tanh(array)

    def multiplicative_scores(self, query: Array, key: Array, score_kernel: Array | None) -> Array:
        """Return `query score_kernel key`."""
        return self.products(query if score_kernel is None else query @ score_kernel, key)

    def multiplicative_scale(self, query: Array) -> float:  # noqa: ARG002
        """Return 1: the kernel learns its own scale."""
        return 1.0

    # Embedding

    def embedding(
        self,
        config: EmbeddingConfig,
        parameters: Parameters,
        source: Array,
        *,
        positions: Array | None = None,
        types: Array | None = None,
        lengths: Array | None = None,
    ) -> Array:
        """Map the input of a stack to vectors `(b,l,m)`."""
        vectors = self.vectors(config, parameters, source)
        if config.size is not None and config.projected == "tokens":
            vectors = self.projected_embedding(vectors, config, parameters)
        if config.positions is not None:
            places = self.embedding_places(config, source, positions, vectors.shape[1])
            vectors = self.with_code(vectors, self.code(config, parameters, places, lengths, vectors))
        if config.types:
            kinds = np.zeros(vectors.shape[:2], np.int64) if types is None else types
            vectors = vectors + self.type_vectors(parameters["token_type"], kinds)
        if config.norm is not None:
            vectors = self.embedding_norm(vectors, config, parameters)
        is_projected = config.size is not None and config.projected == "sum"
        return self.projected_embedding(vectors, config, parameters) if is_projected else vectors

    def projected_embedding(self, vectors: Array, config: EmbeddingConfig, parameters: Parameters) -> Array:  # noqa: ARG002
        """Project the vectors of an embedding to the model size."""
        return self.project(vectors, parameters, "projection")

    def vectors(self, config: EmbeddingConfig, parameters: Parameters, source: Array) -> Array:
        """Return the vectors of tokens, patches or sound, without positions."""
        if config.vocab is not None:
            return parameters["token"][source] * self.embedding_scale(config)
        if config.patches is not None:
            return self.patches(config, parameters, source)
        if config.audio is not None:
            sound = self.convolution(source, parameters, "first_convolution", 1)
            return self.convolution(sound, parameters, "second_convolution", 2)
        return source * self.embedding_scale(config)

    def embedding_scale(self, config: EmbeddingConfig) -> float:
        """Return the factor of the vectors before positions are added."""
        return config.scale

    def embedding_norm(self, vectors: Array, config: EmbeddingConfig, parameters: Parameters) -> Array:
        """Normalise the sum."""
        norm: Any = config.norm
        return self.normalize(vectors, norm, parameters, "norm")

    def type_vectors(self, table: Array, kinds: Array) -> Array:
        """Return the vectors of token types."""
        return table[kinds]

    def with_code(self, vectors: Array, code: Array) -> Array:
        """Add the positional code."""
        return vectors + code

    def patches(self, config: EmbeddingConfig, parameters: Parameters, image: Array) -> Array:
        """Cut an image into squares, row by row, and project each."""
        patches: Any = config.patches
        batch, height, width, channels = image.shape
        size = patches.size
        squares = image.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
        squares = squares.reshape(batch, -1, *self.square(size, channels))
        vectors = self.project(squares, parameters, "patch", inputs=3)
        tokens = [np.broadcast_to(parameters[name], (batch, 1, vectors.shape[-1])) for name in patches.tokens]
        return self.with_tokens(tokens, vectors)

    def with_tokens(self, tokens: list[Array], vectors: Array) -> Array:
        """Put the trained vectors before the patches."""
        return np.concatenate([*tokens, vectors], axis=1)

    def square(self, size: int, channels: int) -> tuple[int, ...]:
        """Return the shape of a patch: row, column, channel."""
        return size, size, channels

    def convolution(self, sound: Array, parameters: Parameters, name: str, stride: int) -> Array:
        """Convolve along time with a kernel of width 3, then exact GELU."""
        length = (sound.shape[1] - 1) // stride + 1
        padded = np.pad(sound, [(0, 0), self.convolution_padding(stride), (0, 0)])
        windows = np.stack([padded[:, step : step + stride * (length - 1) + 1 : stride] for step in range(3)], axis=2)
        return self.activate(self.project(windows, parameters, name, inputs=2), "gelu")

    def convolution_padding(self, stride: int) -> tuple[int, int]:  # noqa: ARG002
        """Return how many zeros stand before and after."""
        return 1, 1

    def embedding_places(self, config: EmbeddingConfig, source: Array, positions: Array | None, length: int) -> Array:
        """Return the positions of the vectors."""
        if positions is not None:
            return positions
        if config.positions_skip is None:
            return np.arange(length)
        is_counted = source != config.positions_skip
        return np.where(is_counted, np.cumsum(is_counted, axis=1) - 1, -1)

    def code(
        self, config: EmbeddingConfig, parameters: Parameters, places: Array, lengths: Array | None, vectors: Array
    ) -> Array:
        """Return the positional code, `(l,m)` or `(b,l,m)`."""
        if not isinstance(config.positions, Learned):
            sinusoid: Any = config.positions
            code = self.sinusoidal_positions(places, vectors.shape[-1], sinusoid)
            is_skipped = (np.asarray(places) == -1)[..., None] & (config.positions_skip is not None)
            return self.without_skipped(code, is_skipped)
        rows = places + self.learned_offset(config.positions)
        if lengths is not None:
            is_real = np.arange(vectors.shape[1]) < lengths[:, None]
            rows = np.where(is_real, rows, np.clip(rows, 0, len(parameters["position"]) - 1))
        return parameters["position"][rows]

    def without_skipped(self, code: Array, is_skipped: Array) -> Array:
        """Return the sinusoids, 0 for skipped tokens."""
        return np.where(is_skipped, 0.0, code)

    def learned_offset(self, config: Learned) -> int:
        """Return the row of position 0."""
        return config.offset

    # Stack, head, model

    def stack(
        self,
        config: StackConfig,
        parameters: Parameters,
        source: Array,
        memory: Array | None = None,
        *,
        mask: Array | None = None,
        lengths: Array | None = None,
        positions: Array | None = None,
        types: Array | None = None,
        memory_lengths: Array | None = None,
    ) -> Array:
        """Apply embedding, blocks and final normalisation."""
        places = {"positions": positions, "types": types, "lengths": lengths}
        array = self.embedding(config.embedding, under(parameters, "embedding"), source, **places)
        rules = {"mask": mask, "key_lengths": lengths, "positions": positions, "memory_lengths": memory_lengths}
        for i, block in enumerate(config.blocks):
            self.block_place = i
            bias = self.shared_bias(config, parameters, array.shape[1], i)
            array = self.block(block, self.block_parameters(parameters, i), array, memory, bias=bias, **rules)
        return self.final_norm(array, config, parameters)

    def block_parameters(self, parameters: Parameters, place: int) -> Parameters:
        """Return the parameters of a block."""
        return under(parameters, f"blocks.{place}")

    def shared_bias(self, config: StackConfig, parameters: Parameters, length: int, place: int) -> Array | None:  # noqa: ARG002
        """Return the relative bias that all blocks share."""
        if config.relative_bias is None:
            return None
        return self.relative_bias(parameters["relative_bias"], length, length, config.relative_bias)

    def final_norm(self, array: Array, config: StackConfig, parameters: Parameters) -> Array:
        """Normalise the output of the last block, if configured."""
        return array if config.norm is None else self.normalize(array, config.norm, parameters, "norm")

    def head(
        self, config: HeadConfig, parameters: Parameters, token: Array | None, array: Array, lengths: Array | None
    ) -> Array:
        """Map the output of the last stack to the result."""
        if config.kind != "language":
            array = self.place(config, array, lengths)
        if config.kind == "pooler":
            return self.activate(self.project(array, parameters, "pooler"), "tanh")
        array = self.transform(config, parameters, array)
        kernel = self.tied_kernel(token) if config.tied and token is not None else parameters["kernel"]
        scores = self.linear(array * self.head_scale(config), kernel, self.head_bias(parameters))
        return self.head_capped(scores, self.head_softcap(config))

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        """Return the vector at the first or the last position that is not padding, `(b,m)`."""
        if config.place == "first":
            return array[:, 0]
        last = np.full(len(array), array.shape[1]) if lengths is None else lengths
        return array[np.arange(len(array)), last - 1]

    def transform(self, config: HeadConfig, parameters: Parameters, array: Array) -> Array:
        """Apply the projection before the last one, if configured."""
        if config.transform is None:
            return array
        array = self.project(array, parameters, "transform")
        array = array if config.transform == "identity" else self.activate(array, config.transform)
        return array if config.norm is None else self.normalize(array, config.norm, parameters, "norm")

    def tied_kernel(self, token: Array) -> Array:
        """Return the transposed token embedding."""
        return token.T

    def head_scale(self, config: HeadConfig) -> float:
        """Return the factor of the input of the last projection."""
        return config.scale

    def head_bias(self, parameters: Parameters) -> Array | None:
        """Return the bias of the last projection."""
        return parameters.get("bias")

    def head_capped(self, scores: Array, softcap: float | None) -> Array:
        """Bound the scores of the head smoothly to (-softcap, softcap)."""
        return scores if softcap is None else softcap * np.tanh(scores / softcap)

    def head_softcap(self, config: HeadConfig) -> float | None:
        """Return the bound of the scores."""
        return config.softcap

    def transformer(
        self,
        config: ModelConfig,
        parameters: Parameters,
        source: Array,
        target: Array | None = None,
        *,
        lengths: Array | None = None,
        target_lengths: Array | None = None,
        mask: Array | None = None,
        types: Array | None = None,
        positions: Array | None = None,
    ) -> Array:
        """Apply the whole model."""
        encoder, decoder = config.encoder_stack, config.decoder_stack
        options: Any = {"lengths": lengths, "mask": mask, "types": types, "positions": positions}
        if encoder is None or decoder is None:
            name, only = ("decoder", decoder) if encoder is None else ("encoder", encoder)
            array, ends = self.stack(only, under(parameters, name), source, **options), lengths  # type: ignore[arg-type]
        else:
            cached, self.cached = self.cached, None  # the source is encoded at once
            memory = self.stack(encoder, under(parameters, "encoder"), source, **options)
            self.cached = cached
            own = {**under(parameters, "decoder"), **self.shared_token(config, parameters)}
            rules = {"lengths": target_lengths, "memory_lengths": self.memory_lengths(lengths)}
            array, ends = self.stack(decoder, own, target, memory, **rules), target_lengths  # type: ignore[arg-type]
        if config.head is None:
            return array
        name = "decoder" if decoder is not None and not config.shared_embedding else "encoder"
        token = parameters.get(f"{name}.embedding.token")
        return self.head(config.head, under(parameters, "head"), token, array, ends)

    def shared_token(self, config: ModelConfig, parameters: Parameters) -> dict[str, Array]:
        """Return the token embedding that the decoder shares with the encoder."""
        return {"embedding.token": parameters["encoder.embedding.token"]} if config.shared_embedding else {}

    def memory_lengths(self, lengths: Array | None) -> Array | None:
        """Return how many positions of the memory are real."""
        return lengths
