"""Deviations of stacks of blocks, and of encoder and decoder together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.architecture import ModelConfig, StackConfig
from attention_ref.spec.config import AttentionConfig, Norm


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


class ScalePerBlock(Deviation):
    """The scores of block i are divided by i + 1 too, as scale_attn_by_inverse_layer_idx of GPT-2 does."""

    slug = "scale.per-block"
    clause = "attention.scale"
    correction = "divide by sqrt(d) alone, or configure a scale for each block"

    def scale(self, config: AttentionConfig) -> float | None:
        scale = super().scale(config)
        usual = config.sizes.head**-0.5 if scale is None else scale
        return usual / (self.block_place + 1)


class BlocksConfiguredAlike(Deviation):
    """Every block has the attention and the norms of the first one: their scale, window and other options."""

    slug = "blocks.configured-alike"
    clause = "model.depth"
    correction = "build each block from its own configuration"

    def stack(self, config: StackConfig, *arguments: Any, **options: Any) -> Array:
        blocks = tuple(replace(config.blocks[0], feedforward=block.feedforward) for block in config.blocks)
        return super().stack(replace(config, blocks=blocks), *arguments, **options)


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


MODEL: tuple[type[Deviation], ...] = (
    FinalNormMissing, FinalNormAdded, SourcePaddingSeen, OneBlock, LastBlockMissing, RelativeBiasFirstBlock,
    EmbeddingOwn, ScalePerBlock, BlocksConfiguredAlike,
)  # fmt: skip
