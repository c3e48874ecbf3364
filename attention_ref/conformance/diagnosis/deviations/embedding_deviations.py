"""Deviations of embeddings: tokens, positions, types, patches, sound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.architecture import EmbeddingConfig
from attention_ref.spec.config import (
    Learned,
    Sinusoid,
)


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


class PositionPaddingCounted(Deviation):
    """Skipped tokens are counted."""

    slug = "position.padding-counted"
    clause = "positions.skip"
    correction = "count the tokens that are not positions_skip"

    def embedding_places(self, config: Any, source: Array, positions: Array | None, length: int) -> Array:
        return super().embedding_places(replace(config, positions_skip=None), source, positions, length)


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
)

EMBEDDING: tuple[type[Deviation], ...] = (
    EmbeddingNotScaled, EmbeddingScaledLate, EmbeddingNormMissing, EmbeddingTypesMissing, SequenceReversed,
    PatchesByColumn, AudioPaddedAtEnd,
)  # fmt: skip
