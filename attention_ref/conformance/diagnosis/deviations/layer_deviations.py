"""Deviations of multi-head attention, feed-forward networks and blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.layer_formula import Parameters
from attention_ref.spec.config import AttentionConfig, BlockConfig, FeedForwardConfig, Order

# Multi-head attention


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


class MaskIgnoredBesideLengths(Deviation):
    """The mask is ignored where lengths are given too."""

    slug = "mask.ignored-beside-lengths"
    clause = "multihead.visibility"
    correction = "combine all rules by AND"

    def attention(self, query: Array, key: Array, value: Array, **options: Any) -> dict[str, Array]:
        if options.get("key_lengths") is not None:
            options["mask"] = None
        return super().attention(query, key, value, **options)


class _WindowBehindCache(Deviation):
    """Another window for queries that do not begin at position 0."""

    clause = "multihead.visibility"
    correction = "apply the window behind a cache as well, counted from its length"

    def visible(
        self, shape: Any, mask: Any, bias: Any, causal: Any, query_offset: Any, window: Any, *rest: Any
    ) -> Array:
        usual = super().visible(shape, mask, bias, causal, query_offset, window, *rest)
        if window is None:
            return usual
        other = super().visible(shape, mask, bias, causal, query_offset, self.behind(*window), *rest)
        is_behind = self.is_behind_cache if self.chunk_starts is not None else np.any(np.asarray(query_offset) > 0)
        is_behind = np.asarray(is_behind)
        return np.where(is_behind[:, None, :, None] if is_behind.ndim else is_behind, other, usual)

    def behind(self, left: int | None, right: int | None) -> tuple[int | None, int | None] | None:
        raise NotImplementedError


class WindowIgnoredBehindCache(_WindowBehindCache):
    """The window is ignored behind a cache."""

    slug = "window.ignored-behind-cache"

    def behind(self, left: int | None, right: int | None) -> None:
        return None


class WindowWiderBehindCache(_WindowBehindCache):
    """The window is one key wider behind a cache."""

    slug = "window.wider-behind-cache"

    def behind(self, left: int | None, right: int | None) -> tuple[int | None, int | None]:
        return None if left is None else left + 1, right


# Feed-forward network


class GateExchanged(Deviation):
    """The activation is applied to the input projection, and the gate multiplies."""

    slug = "gate.exchanged"
    clause = "feedforward.gated"
    correction = "activation(x W_gate) * (x W_input)"

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        return super().gated(hidden, gate, config)


class GateMissing(Deviation):
    """The gate is left out: the network is a plain one."""

    slug = "gate.missing"
    clause = "feedforward.gated"
    correction = "activation(x W_gate) * (x W_input)"

    def gated(self, gate: Array, hidden: Array, config: FeedForwardConfig) -> Array:
        return self.activate(hidden, config.activation)


# Block


class NormPreForPost(Deviation):
    """The input of a sublayer is normalised, instead of its sum with the output: pre-norm for post-norm."""

    slug = "norm.pre-for-post"
    clause = "block.post"
    correction = "x = norm(x + sublayer(x))"

    def order(self, config: BlockConfig) -> Order:
        return "pre" if config.order == "post" else super().order(config)


class NormPostForPre(Deviation):
    """The sum of a sublayer's input and output is normalised, instead of its input: post-norm for pre-norm."""

    slug = "norm.post-for-pre"
    clause = "block.pre"
    correction = "x = x + sublayer(norm(x))"

    def order(self, config: BlockConfig) -> Order:
        return "post" if config.order == "pre" else super().order(config)


class NormOutputMissing(Deviation):
    """The output of a sublayer is not normalised: pre-norm for a sandwich."""

    slug = "norm.output-missing"
    clause = "block.sandwich"
    correction = "x = x + norm'(sublayer(norm(x)))"

    def order(self, config: BlockConfig) -> Order:
        return "pre" if config.order == "sandwich" else super().order(config)


def norm_missing(what: str, *names: str) -> type[Deviation]:
    """Return the deviation of a block that leaves out some normalisations."""

    class NormMissing(Deviation):
        __doc__ = f"The {what} left out."
        slug = "norm.missing"
        clause = "block.pre"
        correction = "normalise around each sublayer"

        def block_norm(self, array: Array, config: BlockConfig, parameters: Parameters, name: str) -> Array:
            return array if name in names else super().block_norm(array, config, parameters, name)

    return NormMissing


class NormsExchanged(Deviation):
    """The normalisations of attention and of the feed-forward network are exchanged."""

    slug = "norm.exchanged"
    clause = "block.pre"
    correction = "each sublayer has a normalisation of its own"

    def block_norm(self, array: Array, config: BlockConfig, parameters: Parameters, name: str) -> Array:
        pair = {"self_attention_norm": "feedforward_norm", "feedforward_norm": "self_attention_norm"}
        other = pair.get(name, name)
        is_there = f"{other}.gain" in parameters
        return super().block_norm(array, config, parameters, other if is_there else name)


class NormNotShared(Deviation):
    """Each branch of a parallel block is normalised on its own, although one normalisation is configured for both."""

    slug = "norm.not-shared"
    clause = "block.shared-norm"
    correction = "normalise once, and give the result to both branches"

    def parallel(self, config: BlockConfig, parameters: Parameters, *arguments: Any) -> Array:
        size = config.model
        fresh = {"feedforward_norm.gain": np.full(size, 1.0 - config.norm.gain_offset)}
        if config.norm.has_bias:
            fresh["feedforward_norm.bias"] = np.zeros(size)
        return super().parallel(replace(config, shared_norm=False), {**fresh, **parameters}, *arguments)


class ParallelInSequence(Deviation):
    """The branches of a parallel block follow one another: the network reads what attention has added to."""

    slug = "parallel.in-sequence"
    clause = "block.parallel"
    correction = "x + attention(norm(x)) + feedforward(norm(x)), both of the same x"

    def parallel(
        self,
        config: BlockConfig,
        parameters: Parameters,
        array: Array,
        self_attention: Callable[[Array], Array],
        feedforward: Callable[[Array], Array],
    ) -> Array:
        normal = self.block_norm(array, config, parameters, "self_attention_norm")
        array = self.residual(array, self_attention(normal), normal, "self_attention")
        other = normal if config.shared_norm else self.block_norm(array, config, parameters, "feedforward_norm")
        return self.residual(array, feedforward(other), other, "feedforward")


def residual_missing(what: str, *names: str) -> type[Deviation]:
    """Return the deviation of a block that does not add the input of some sublayers to their output."""

    class ResidualMissing(Deviation):
        __doc__ = f"The input of {what} is not added to its output."
        slug = "residual.missing"
        clause = "block.pre"
        correction = "x + sublayer(...)"

        def residual(self, array: Array, branch: Array, normal: Array, name: str) -> Array:
            return branch if name in names else super().residual(array, branch, normal, name)

    return ResidualMissing


class ResidualNormalised(Deviation):
    """The normalised input of a sublayer is added to its output, instead of the input."""

    slug = "residual.normalised"
    clause = "block.pre"
    correction = "x + sublayer(norm(x)), not norm(x) + sublayer(norm(x))"

    def residual(self, array: Array, branch: Array, normal: Array, name: str) -> Array:
        return super().residual(normal, branch, normal, name)


class MemoryPaddingSeen(Deviation):
    """Cross-attention attends to the padding of the memory."""

    slug = "memory.padding-seen"
    clause = "block.memory-rules"
    correction = "hide the memory's positions j >= memory_lengths[b]"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(mask, None, own_mask)


class MemoryMaskIgnored(Deviation):
    """The mask of the memory is ignored."""

    slug = "memory.mask-ignored"
    clause = "block.memory-rules"
    correction = "pass memory_mask to the cross-attention"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(None, lengths, own_mask)


class MemoryMaskOfInput(Deviation):
    """The mask of the self-attention applies to the memory too."""

    slug = "memory.mask-of-input"
    clause = "block.memory-rules"
    correction = "the memory has a mask of its own, memory_mask"

    def memory_rules(self, mask: Any, lengths: Any, own_mask: Any) -> dict[str, Any]:
        return super().memory_rules(own_mask if mask is None else mask, lengths, own_mask)


class CrossOffsetIgnored(Deviation):
    """The queries of cross-attention begin at position 0 in every call: the length of the cache is ignored."""

    slug = "cross-attention.offset-ignored"
    clause = "block.memory-positions"
    correction = "count the queries of cross-attention from the length of the cache, as those of self-attention"

    def causal_offset(self, query_offset: Any) -> Any:
        return self.first_offset() if self.is_cross else super().causal_offset(query_offset)

    def window_offset(self, query_offset: Any) -> Any:
        return self.first_offset() if self.is_cross else super().window_offset(query_offset)

    def places(self, *arguments: Any) -> Any:
        places, keys = super().places(*arguments)
        return places - self.chunk_starts if self.is_cross and self.chunk_starts is not None else places, keys

    def bias_distance(self, *arguments: Any) -> Array:
        distance = super().bias_distance(*arguments)
        is_ignored = self.is_cross and self.chunk_starts is not None
        return distance + self.chunk_starts[:, :, None] if is_ignored and self.chunk_starts is not None else distance


_SUBLAYERS = {
    "self_attention": "self-attention",
    "cross_attention": "cross-attention",
    "feedforward": "feed-forward network",
}

MULTIHEAD: tuple[type[Deviation], ...] = (
    CrossAttentionSelf, CrossAttentionCausal, ValueBeforeKey, ScaleOfModel, MaskIgnoredBesideLengths,
    WindowIgnoredBehindCache, WindowWiderBehindCache,
)  # fmt: skip
FEEDFORWARD: tuple[type[Deviation], ...] = (GateExchanged, GateMissing)
BLOCK: tuple[type[Deviation], ...] = (
    NormPreForPost,
    NormPostForPre,
    residual_missing("every sublayer", *_SUBLAYERS),
    *(residual_missing(f"the {what}", name) for name, what in _SUBLAYERS.items()),
    ResidualNormalised,
    NormOutputMissing,
    norm_missing("normalisations of every sublayer are", *(f"{name}_norm" for name in _SUBLAYERS)),
    *(norm_missing(f"normalisation of the {what} is", f"{name}_norm") for name, what in _SUBLAYERS.items()),
    NormsExchanged,
    ParallelInSequence,
    NormNotShared,
    MemoryPaddingSeen,
    MemoryMaskIgnored,
    MemoryMaskOfInput,
    CrossOffsetIgnored,
)
