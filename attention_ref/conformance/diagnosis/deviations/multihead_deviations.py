"""Deviations of multi-head attention around the attention of its heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import AttentionConfig


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


def value_input_ignored(what: str, clause_: str, *, is_other_size: bool) -> type[Deviation]:
    """Return the deviation that projects values from the key input, of any size or where the sizes differ alone."""

    class ValueInputIgnored(Deviation):
        __doc__ = what
        slug = "value-input.ignored"
        clause = clause_
        correction = "project values from the value input"

        def value_source(self, source: Array, value: Array | None, config: AttentionConfig) -> Array:
            size = config.sizes.value_memory
            if source.shape[-1] < size or (is_other_size and source.shape[-1] == size):
                return super().value_source(source, value, config)
            return source[..., :size]

    return ValueInputIgnored


def not_clipped(what: str, *names: str) -> type[Deviation]:
    """Return the deviation that does not clip some projections."""

    class NotClipped(Deviation):
        __doc__ = f"Projected {what} are not clipped."
        slug = "clip.missing"
        clause = "multihead.clip"
        correction = "clip projected queries, keys and values to (-clip, clip)"

        def clipped(self, heads: Array, name: str, largest: float) -> Array:
            return heads if name in names else super().clipped(heads, name, largest)

    return NotClipped


class OutputClipped(Deviation):
    """The output is clipped too."""

    slug = "clip.output"
    clause = "multihead.clip"
    correction = "clip projected queries, keys and values alone"

    def multihead(self, config: AttentionConfig, *arguments: Any, **options: Any) -> dict[str, Array]:
        results = super().multihead(config, *arguments, **options)
        largest = np.inf if config.clip is None else config.clip
        return {**results, "output": np.clip(results["output"], -largest, largest)}


class TrainedKeyMissing(Deviation):
    """There is no trained key and value."""

    slug = "trained-key.missing"
    clause = "multihead.trained-key"
    correction = "put the trained key and value before the others, as bias_k and bias_v of nn.MultiheadAttention"

    def multihead(self, config: AttentionConfig, *arguments: Any, **options: Any) -> dict[str, Array]:
        return super().multihead(replace(config, trained_key_value=False), *arguments, **options)


class TrainedKeyZero(Deviation):
    """The first key and value are 0 instead of trained, as add_zero_attn of nn.MultiheadAttention has them."""

    slug = "trained-key.zero"
    clause = "multihead.trained-key"
    correction = "put the trained key and value before the others"

    def with_trained(self, keys: Array, values: Array, parameters: Parameters) -> tuple[Array, Array]:
        return super().with_trained(keys, values, {name: array * 0 for name, array in parameters.items()})


class TrainedValueZero(Deviation):
    """The trained key has no value."""

    slug = "trained-key.without-value"
    clause = "multihead.trained-key"
    correction = "put the trained value before the others too"

    def with_trained(self, keys: Array, values: Array, parameters: Parameters) -> tuple[Array, Array]:
        zero = {"trained_value": parameters["trained_value"] * 0}
        return super().with_trained(keys, values, {**parameters, **zero})


class TrainedKeyCounted(Deviation):
    """Lengths and causality count the trained key, so that they hide the last visible one."""

    slug = "trained-key.counted"
    clause = "multihead.trained-key"
    correction = "let every query see the trained key, and count lengths and positions from the key after it"

    def behind_trained(self, offset: Any, key_lengths: Array | None) -> tuple[Any, Array | None]:
        return offset, key_lengths


class ValuesRotated(Deviation):
    """Values are rotated too."""

    slug = "rotary.values-rotated"
    clause = "multihead.rotary"
    correction = "rotate queries and keys alone"

    def value_heads(self, array: Array, config: AttentionConfig, parameters: Parameters, places: Array) -> Array:
        heads = super().value_heads(array, config, parameters, places)
        return self.rotated(heads, "value", config, places) if config.sizes.value == config.sizes.head else heads


MULTIHEAD: tuple[type[Deviation], ...] = (
    CrossAttentionSelf, CrossAttentionCausal, ValueBeforeKey, ScaleOfModel,
    value_input_ignored("Values are projected from the key input.", "multihead.value", is_other_size=False),
    value_input_ignored(
        "Values are projected from the key input where the value input has a size of its own.",
        "multihead.value-memory",
        is_other_size=True,
    ),
    not_clipped("queries, keys and values", "query", "key", "value"),
    not_clipped("values", "value"),
    not_clipped("queries and keys", "query", "key"),
    OutputClipped,
    TrainedKeyMissing, TrainedKeyZero, TrainedValueZero, TrainedKeyCounted, ValuesRotated,
)  # fmt: skip
