"""Deviations of multi-head attention around the attention of its heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import (
    AttentionConfig,
)


class CrossAttentionSelf(Deviation):
    """Cross-attention attends to its own input instead of the memory."""

    slug = "cross-attention.self"
    clause = "multihead.cross"
    correction = "project keys and values from the memory"

    def multihead(
        self,
        config: AttentionConfig,
        parameters: Parameters,
        query: Array,
        key: Array | None = None,
        *rest: Any,
        **options: Any,
    ) -> dict[str, Array]:
        source = query if key is not None and key.shape[-1] == query.shape[-1] else key
        return super().multihead(config, parameters, query, source, *rest, **options)


class CrossAttentionCausal(Deviation):
    """Cross-attention is causal, as self-attention is."""

    slug = "cross-attention.causal"
    clause = "multihead.cross"
    correction = "let every query see all of the memory"

    def multihead(
        self,
        config: AttentionConfig,
        parameters: Parameters,
        query: Array,
        key: Array | None = None,
        *rest: Any,
        **options: Any,
    ) -> dict[str, Array]:
        config = config if key is None else replace(config, causal=True)
        return super().multihead(config, parameters, query, key, *rest, **options)


class ValueBeforeKey(Deviation):
    """The value is taken for the key, and the key for the value, as in the order (query, value, key) of Keras."""

    slug = "value.before-key"
    clause = "multihead.value"
    correction = "the order of the arguments is query, key, value"

    def multihead(
        self,
        config: AttentionConfig,
        parameters: Parameters,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        **options: Any,
    ) -> dict[str, Array]:
        if key is not None and value is not None and key.shape[-1] == value.shape[-1]:
            key, value = value, key
        return super().multihead(config, parameters, query, key, value, **options)


class ScaleOfModel(Deviation):
    """The scores are divided by sqrt(m/h), although another head size is configured."""

    slug = "scale.model-over-heads"
    clause = "multihead.sizes"
    correction = "divide by sqrt(d), the head size"

    def scale(self, config: AttentionConfig) -> float | None:
        return (config.model / config.heads) ** -0.5 if config.scale is None else config.scale


class HeadNormMissing(Deviation):
    """The queries and keys are not normalised."""

    slug = "query-key-norm.missing"
    clause = "multihead.query-key-norm"
    correction = "normalise each head of queries and keys"

    def head_norm(self, heads: Array, name: str, config: Any, parameters: Parameters) -> Array:
        return heads


class HeadNormAfterRotary(Deviation):
    """The queries and keys are normalised after the rotation."""

    slug = "query-key-norm.after-rotary"
    clause = "multihead.query-key-norm"
    correction = "normalise first, then rotate"

    def heads(self, array: Array, name: str, config: Any, parameters: Parameters, places: Array) -> Array:
        heads = self.split_heads(self.project(array, parameters, name))
        return self.head_norm(self.rotated(heads, name, config, places), name, config, parameters)


HEAD_NORMS: tuple[type[Deviation], ...] = (HeadNormMissing, HeadNormAfterRotary)

MULTIHEAD: tuple[type[Deviation], ...] = (CrossAttentionSelf, CrossAttentionCausal, ValueBeforeKey, ScaleOfModel)
