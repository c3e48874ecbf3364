"""Deviations of embeddings, stacks and heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.layer_formula import Parameters
from attention_ref.spec.architecture import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from attention_ref.spec.config import Norm


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


class EmbeddingOwn(Deviation):
    """The decoder does not use the encoder's token embedding, but an untrained one of its own."""

    slug = "embedding.not-shared"
    clause = "model.shared-embedding"
    correction = "use the encoder's token embedding in the decoder"

    def transformer(self, config: ModelConfig, parameters: Parameters, *arrays: Any, **options: Any) -> Array:
        shared = super().shared_token(config, parameters)
        own = {f"decoder.{name}": np.zeros_like(token) for name, token in shared.items()}
        config = replace(config, shared_embedding=False) if shared else config
        return super().transformer(config, {**parameters, **own}, *arrays, **options)


class SequenceReversed(Deviation):
    """The embedded sequence is reversed."""

    slug = "embedding.reversed"
    clause = "model.formula"
    correction = "leave the vectors in the order of their positions"

    def embedding(self, *arguments: Any, **options: Any) -> Array:
        return super().embedding(*arguments, **options)[:, ::-1]


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


class OneBlock(Deviation):
    """Every block has the parameters of the first one."""

    slug = "blocks.first-only"
    clause = "model.depth"
    correction = "each block has parameters of its own"

    def block_parameters(self, parameters: Parameters, place: int) -> Parameters:
        own, first = super().block_parameters(parameters, place), super().block_parameters(parameters, 0)
        return {
            name: first[name] if name in first and first[name].shape == array.shape else array
            for name, array in own.items()
        }


class LastBlockMissing(Deviation):
    """The last block is left out."""

    slug = "blocks.last-missing"
    clause = "model.depth"
    correction = "apply every block"

    def stack(self, config: StackConfig, *arguments: Any, **options: Any) -> Array:
        blocks = config.blocks[:-1] or config.blocks
        return super().stack(replace(config, blocks=blocks), *arguments, **options)


class FinalNormMissing(Deviation):
    """The output of the last block is not normalised."""

    slug = "norm.final-missing"
    clause = "model.final-norm"
    correction = "normalise once more after the last block"

    def final_norm(self, array: Array, config: StackConfig, parameters: Parameters) -> Array:
        return array


class FinalNormAdded(Deviation):
    """The output of the last block is normalised, although this is not configured."""

    slug = "norm.final-added"
    clause = "model.final-norm"
    correction = "a stack without a norm ends with its last block, as post-norm stacks do"

    def final_norm(self, array: Array, config: StackConfig, parameters: Parameters) -> Array:
        if config.norm is not None:
            return super().final_norm(array, config, parameters)
        fresh = {"norm.gain": np.ones(config.model), "norm.bias": np.zeros(config.model)}
        return self.normalize(array, Norm("layer", eps=1e-5), fresh, "norm")


class RelativeBiasFirstBlock(Deviation):
    """The relative bias is added in the first block alone."""

    slug = "relative-bias.first-block-only"
    clause = "model.relative-bias"
    correction = "compute it once, and add it in every block"

    def shared_bias(self, config: StackConfig, parameters: Parameters, length: int, place: int) -> Array | None:
        return super().shared_bias(config, parameters, length, place) if place == 0 else None


class SourcePaddingSeen(Deviation):
    """The decoder attends to the padding of the source."""

    slug = "memory.source-padding-seen"
    clause = "model.encoder-decoder"
    correction = "pass the lengths of the source to the decoder's cross-attention"

    def memory_lengths(self, lengths: Array | None) -> Array | None:
        return None


class HeadNotTransposed(Deviation):
    """The token embedding is used as the kernel of the head without transposing it."""

    slug = "head.tied-not-transposed"
    clause = "model.tied-head"
    correction = "multiply by the transposed token embedding"

    def tied_kernel(self, token: Array) -> Array:
        return token.reshape(token.shape[::-1])


class HeadBiasMissing(Deviation):
    """The bias of the head is left out."""

    slug = "head.bias-missing"
    clause = "model.head-bias"
    correction = "add the bias of the head"

    def head_bias(self, parameters: Parameters) -> Array | None:
        return None

    def bias(self, parameters: Parameters, name: str) -> Array | None:
        return None if name == "pooler" else super().bias(parameters, name)


class HeadNotScaled(Deviation):
    """The input of the head is not scaled."""

    slug = "head.not-scaled"
    clause = "model.head-scale"
    correction = "multiply the input of the last projection by the configured scale, m^-0.5 in T5"

    def head_scale(self, config: HeadConfig) -> float:
        return 1.0


class HeadSoftcapMissing(Deviation):
    """The scores of the head are not bounded."""

    slug = "head.softcap-missing"
    clause = "model.head-softcap"
    correction = "softcap * tanh(scores / softcap)"

    def head_softcap(self, config: HeadConfig) -> float | None:
        return None


class HeadTransformMissing(Deviation):
    """The projection before the last one is left out."""

    slug = "head.transform-missing"
    clause = "model.head-transform"
    correction = "apply the transform and its norm before the last projection"

    def transform(self, config: HeadConfig, parameters: Parameters, array: Array) -> Array:
        fits = config.transform_size is None  # without it the last projection would not fit
        return array if fits else super().transform(config, parameters, array)


class HeadAveraged(Deviation):
    """The head reads the mean of all positions."""

    slug = "head.mean-of-positions"
    clause = "model.one-place"
    correction = "read one position, the first or the last"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return array.mean(axis=1)


class HeadFirstPlace(Deviation):
    """The head reads the first position, although the last one is configured."""

    slug = "head.first-for-last"
    clause = "model.last-place"
    correction = "read the last position that is not padding"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(replace(config, place="first"), array, lengths)


class HeadLastPlace(Deviation):
    """The head reads the last position, although the first one is configured."""

    slug = "head.last-for-first"
    clause = "model.one-place"
    correction = "read the first position"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(replace(config, place="last"), array, lengths)


class HeadPlaceOfPadding(Deviation):
    """The head reads the last position of the batch, which may be padding."""

    slug = "head.place-of-padding"
    clause = "model.last-place"
    correction = "read the position lengths - 1"

    def place(self, config: HeadConfig, array: Array, lengths: Array | None) -> Array:
        return super().place(config, array, None)


MODEL: tuple[type[Deviation], ...] = (
    EmbeddingNotScaled, FinalNormMissing, FinalNormAdded, EmbeddingScaledLate, EmbeddingNormMissing,
    EmbeddingTypesMissing, SourcePaddingSeen, OneBlock, LastBlockMissing, HeadNotTransposed, HeadBiasMissing,
    HeadNotScaled, HeadSoftcapMissing, HeadTransformMissing, HeadFirstPlace, HeadLastPlace, HeadPlaceOfPadding,
    HeadAveraged, RelativeBiasFirstBlock, EmbeddingOwn, SequenceReversed, PatchesByColumn, AudioPaddedAtEnd,
)  # fmt: skip
