"""Deviations of embeddings: tokens, positions, types, patches, sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation, variant
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.config import Learned, Sinusoid


class EmbeddingNotScaled(Deviation):
    """The token vectors are not multiplied by the configured scale."""

    slug = "embedding.not-scaled"
    clause = "model.embedding-scale"
    correction = (
        'multiply the token vectors by the scale, sqrt(m) in "Attention Is All You Need", before adding positions'
    )

    def embedding_scale(self, config: EmbeddingConfig) -> float:
        return 1.0


class EmbeddingScaledLate(Deviation):
    """The sum of token vectors and positions is scaled, instead of the token vectors alone."""

    slug = "embedding.scaled-with-positions"
    clause = "model.embedding-scale"
    correction = "scale the token vectors, then add the positions"

    def embedding(self, config: EmbeddingConfig, *arguments: Any, **options: Any) -> Array:
        scale = config.scale if config.norm is None else 1.0
        changed = replace(config, scale=1.0) if config.norm is None else config
        return super().embedding(changed, *arguments, **options) * scale


class EmbeddingNormMissing(Deviation):
    """The embedding is not normalised."""

    slug = "embedding.norm-missing"
    clause = "model.embedding-norm"
    correction = "normalise the sum of tokens, positions and types"

    def embedding_norm(self, vectors: Array, config: EmbeddingConfig, parameters: Parameters) -> Array:
        return vectors


class EmbeddingTypesMissing(Deviation):
    """The vectors of token types are not added."""

    slug = "embedding.types-missing"
    clause = "model.types"
    correction = "add the vector of each token's type; type 0 has one too"

    def type_vectors(self, table: Array, kinds: Array) -> Array:
        return np.zeros(table.shape[1])


class SequenceReversed(Deviation):
    """The embedded sequence is reversed."""

    slug = "embedding.reversed"
    clause = "model.formula"
    correction = "leave the vectors in the order of their positions"

    def embedding(self, *arguments: Any, **options: Any) -> Array:
        return super().embedding(*arguments, **options)[:, ::-1]


def position_missing(what: str, clause_: str, *kinds: type) -> type[Deviation]:
    """Return the deviation that adds no positional code of some kinds."""

    class PositionMissing(Deviation):
        __doc__ = f"{what} are not added to the embedding."
        slug = "position.missing"
        clause = f"positions.{clause_}"
        correction = "add the code of each position to the embedding"

        def code(self, config: Any, *arguments: Any) -> Array:
            code = super().code(config, *arguments)
            return np.zeros_like(code) if isinstance(config.positions, kinds) else code

    return PositionMissing


class PositionOffsetIgnored(Deviation):
    """Learned positions begin at row 0 of their table, whatever offset is configured."""

    slug = "position.offset-ignored"
    clause = "positions.learned-offset"
    correction = "read row position + offset: 2 in BART, padding index + 1 in RoBERTa"

    def learned_offset(self, config: Any) -> int:
        return 0


class PositionOfPadding(Deviation):
    """Skipped tokens get the sinusoid of position -1."""

    slug = "position.padding-coded"
    clause = "positions.skip-sinusoid"
    correction = "add no sinusoid to skipped tokens"

    def without_skipped(self, code: Array, is_skipped: Array) -> Array:
        return code


class PositionsRestart(Deviation):
    """Positions count from 0 in every call: the length of the cache is ignored."""

    slug = "position.restarted"
    clause = "multihead.cache"
    correction = "count positions from the length of the cache"

    def embedding_places(self, config: EmbeddingConfig, source: Array, *rest: Any) -> Array:
        places = super().embedding_places(config, source, *rest)
        if self.chunk_starts is None or self.cached is None:  # an encoder reads its whole input at once
            return places
        return places - self.counted_before(config, source, self.chunk_starts)

    def counted_before(self, config: EmbeddingConfig, source: Array, starts: Array) -> Array:
        """Return how many tokens of earlier chunks are counted, `(b,l)`."""
        if config.positions_skip is None:
            return starts
        counts = np.cumsum(source != config.positions_skip, axis=1)  # (b,l)
        before = np.take_along_axis(np.pad(counts, [(0, 0), (1, 0)]), starts, axis=1)
        return np.where(source == config.positions_skip, 0, before)


class SkippedPositionsRestart(PositionsRestart):
    """Positions that skip a token count from 0 in every call: the length of the cache is ignored."""

    clause = "positions.skip"

    def counted_before(self, config: EmbeddingConfig, source: Array, starts: Array) -> Array:
        is_skipping = config.positions_skip is not None
        return super().counted_before(config, source, starts) if is_skipping else np.zeros_like(starts)


class PositionPaddingCounted(Deviation):
    """Skipped tokens are counted."""

    slug = "position.padding-counted"
    clause = "positions.skip"
    correction = "count the tokens that are not positions_skip"

    def embedding_places(self, config: Any, source: Array, positions: Array | None, length: int) -> Array:
        return super().embedding_places(replace(config, positions_skip=None), source, positions, length)


class EmbeddingProjectionMissing(Deviation):
    """The vectors of an embedding are filled with zeros to the model size, instead of being projected."""

    slug = "embedding.projection-missing"
    clause = "model.embedding-projection"
    correction = "multiply the vectors by the projection's kernel"
    projected: tuple[str, ...] = ("sum", "tokens")

    def projected_embedding(self, vectors: Array, config: EmbeddingConfig, parameters: Parameters) -> Array:
        if config.projected not in self.projected:
            return super().projected_embedding(vectors, config, parameters)
        missing = parameters["projection.kernel"].shape[-1] - vectors.shape[-1]
        return np.pad(vectors, [(0, 0), (0, 0), (0, missing)])


class TokensExchanged(Deviation):
    """The second trained vector stands before the class token."""

    slug = "embedding.trained-exchanged"
    clause = "model.distillation-token"
    correction = "the class token is the first vector, the distillation token the second"

    def with_tokens(self, tokens: list[Array], vectors: Array) -> Array:
        return super().with_tokens(tokens[::-1], vectors)


class TokensLast(Deviation):
    """The trained vectors stand behind the patches."""

    slug = "embedding.trained-last"
    clause = "model.patches"
    correction = "put the trained vectors before the patches"

    def with_tokens(self, tokens: list[Array], vectors: Array) -> Array:
        return np.concatenate([vectors, *tokens], axis=1)


class PatchesByColumn(Deviation):
    """The pixels of a patch are read column by column."""

    slug = "patches.by-column"
    clause = "model.patches"
    correction = "the axes of a patch are row, column, channel"

    def kernel(self, parameters: Parameters, name: str) -> Array:
        kernel = super().kernel(parameters, name)
        return kernel.swapaxes(0, 1) if name == "patch" else kernel


class AudioPaddedAtEnd(Deviation):
    """The convolution of stride 2 is padded at its end alone."""

    slug = "audio.padded-at-end"
    clause = "model.audio"
    correction = "pad one frame on each side"

    def convolution_padding(self, stride: int) -> tuple[int, int]:
        return 2 - stride, stride


EMBEDDED: tuple[type[Deviation], ...] = (
    position_missing("Learned positions", "learned", Learned),
    position_missing("Sinusoidal positions", "interleaved", Sinusoid),
    position_missing("Positions", "learned", Learned, Sinusoid),
    PositionOffsetIgnored,
    PositionPaddingCounted,
    PositionOfPadding,
    PositionsRestart,
    SkippedPositionsRestart,
)

EMBEDDING: tuple[type[Deviation], ...] = (
    EmbeddingNotScaled, EmbeddingScaledLate, EmbeddingNormMissing, EmbeddingTypesMissing, SequenceReversed,
    PatchesByColumn, AudioPaddedAtEnd, TokensExchanged, TokensLast,
    variant(
        EmbeddingProjectionMissing,
        "The sum of tokens and positions is filled with zeros to the model size, instead of being projected.",
        projected=("sum",),
    ),
    variant(
        EmbeddingProjectionMissing,
        "The token vectors are filled with zeros to the model size, instead of being projected.",
        projected=("tokens",),
        clause="model.token-projection",
    ),
    EmbeddingProjectionMissing,
)  # fmt: skip
