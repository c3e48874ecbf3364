"""Deviations of the normalisations and residual connections of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.block_formula import Sublayers
from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import BlockConfig, Order


def norm_order(slug_: str, what: str, asked: Order, computed: Order, correction_: str, **names: str) -> type[Deviation]:
    """Return the deviation that computes one order of normalisations where another is configured.

    Arguments:
        slug_, what, correction_: its description.
        asked, computed: the two orders.
        names: the ends of the names of parameters in the configured order, by those in the computed one.
    """

    class NormOrder(Deviation):
        __doc__ = what
        slug = slug_
        clause = f"block.{asked}"
        correction = correction_

        def order(self, config: BlockConfig) -> Order:
            has_norms = config.self_attention_norm  # a block without its first norm has no other order
            return computed if config.order == asked and has_norms else super().order(config)

        def block_norm(self, array: Array, config: BlockConfig, parameters: Parameters, name: str) -> Array:
            sublayer = name.removesuffix("_output_norm").removesuffix("_norm")
            stored = names.get(name.removeprefix(f"{sublayer}_"))
            name = f"{sublayer}_{stored}" if stored and config.order == asked else name
            return super().block_norm(array, config, parameters, name)

    return NormOrder


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


class NormShared(Deviation):
    """Both branches of a parallel block read one normalised input, although each has a normalisation of its own."""

    slug = "norm.shared"
    clause = "block.parallel"
    correction = "normalise the input of the feed-forward network by feedforward_norm"

    def parallel(self, config: BlockConfig, *arguments: Any) -> Array:
        return super().parallel(replace(config, shared_norm=True), *arguments)


class FirstNormAdded(Deviation):
    """Self-attention reads an input that is normalised without gain, where none is configured."""

    slug = "norm.first-added"
    clause = "block.no-first-norm"
    correction = "self-attention reads the input itself where self_attention_norm is left out"

    def block(self, config: BlockConfig, parameters: Parameters, *arguments: Any, **options: Any) -> Array:
        if config.self_attention_norm:
            return super().block(config, parameters, *arguments, **options)
        fresh = {"self_attention_norm.gain": np.full(config.model, 1.0 - config.norm.gain_offset)}
        if config.norm.has_bias:
            fresh["self_attention_norm.bias"] = np.zeros(config.model)
        config = replace(config, self_attention_norm=True)
        return super().block(config, {**parameters, **fresh}, *arguments, **options)


class FeedforwardFirst(Deviation):
    """The feed-forward network comes before self-attention."""

    slug = "block.feedforward-first"
    clause = "block.pre"
    correction = "self-attention, then cross-attention, then the feed-forward network"

    def sublayers(self, sublayers: Sublayers) -> Sublayers:
        return [sublayers[-1], *sublayers[:-1]]


class CrossAttentionLast(Deviation):
    """Cross-attention comes after the feed-forward network."""

    slug = "block.cross-attention-last"
    clause = "block.cross"
    correction = "self-attention, then cross-attention, then the feed-forward network"

    def sublayers(self, sublayers: Sublayers) -> Sublayers:
        return [sublayers[0], sublayers[-1], *sublayers[1:-1]]


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


class ResidualMissingOutsidePost(Deviation):
    """The input of a sublayer is not added to its output, except in post-norm blocks."""

    slug = "residual.missing"
    clause = "block.pre"
    correction = "x + sublayer(...)"

    def sublayer(self, config: BlockConfig, parameters: Parameters, array: Array, *arguments: Any) -> Array:
        result = super().sublayer(config, parameters, array, *arguments)
        return result if config.order == "post" or config.residual == "norm" else result - array


class ResidualOfInput(Deviation):
    """The input of a sublayer is added to its output, where the normalised input is configured."""

    slug = "residual.not-normalised"
    clause = "block.residual-norm"
    correction = "x = norm(x) + sublayer(norm(x)), as configured by residual"

    def sublayer(self, config: BlockConfig, *arguments: Any) -> Array:
        return super().sublayer(replace(config, residual="input"), *arguments)


class ResidualNormalised(Deviation):
    """The normalised input of a sublayer is added to its output, instead of the input."""

    slug = "residual.normalised"
    clause = "block.pre"
    correction = "x + sublayer(norm(x)), not norm(x) + sublayer(norm(x))"

    def residual(self, array: Array, branch: Array, normal: Array, name: str) -> Array:
        return super().residual(normal, branch, normal, name)


_SUBLAYERS = {
    "self_attention": "self-attention",
    "cross_attention": "cross-attention",
    "feedforward": "feed-forward network",
}

_PRE, _POST = "x = x + sublayer(norm(x))", "x = norm(x + sublayer(x))"
_OUTPUT, _SANDWICH = "x = x + norm'(sublayer(x))", "x = x + norm'(sublayer(norm(x)))"

NORM_ORDERS: tuple[type[Deviation], ...] = (
    norm_order(
        "norm.pre-for-post",
        "The input of a sublayer is normalised, instead of its sum with the output: pre-norm for post-norm.",
        "post",
        "pre",
        _POST,
    ),
    norm_order(
        "norm.post-for-pre",
        "The sum of a sublayer's input and output is normalised, instead of its input: post-norm for pre-norm.",
        "pre",
        "post",
        _PRE,
    ),
    norm_order(
        "norm.output-missing",
        "The output of a sublayer is not normalised: pre-norm for a sandwich.",
        "sandwich",
        "pre",
        _SANDWICH,
    ),
    norm_order(
        "norm.input-missing",
        "The output of a sublayer is normalised, its input is not, where a sandwich is configured.",
        "sandwich",
        "output",
        _SANDWICH,
    ),
    norm_order(
        "norm.post-for-output",
        "The sum of a sublayer's input and output is normalised, instead of the output alone.",
        "output",
        "post",
        _OUTPUT,
        norm="output_norm",
    ),
    norm_order(
        "norm.pre-for-output",
        "The input of a sublayer is normalised, instead of its output.",
        "output",
        "pre",
        _OUTPUT,
        norm="output_norm",
    ),
    norm_order(
        "norm.output-for-post",
        "The output of a sublayer is normalised, instead of its sum with the input.",
        "post",
        "output",
        _POST,
        output_norm="norm",
    ),
    norm_order(
        "norm.output-for-pre",
        "The output of a sublayer is normalised, instead of its input.",
        "pre",
        "output",
        _PRE,
        output_norm="norm",
    ),
)
BLOCK: tuple[type[Deviation], ...] = (
    *NORM_ORDERS[:2],
    residual_missing("every sublayer", *_SUBLAYERS),
    *(residual_missing(f"the {what}", name) for name, what in _SUBLAYERS.items()),
    ResidualNormalised,
    *NORM_ORDERS[2:],
    norm_missing("normalisations of every sublayer are", *(f"{name}_norm" for name in _SUBLAYERS)),
    *(norm_missing(f"normalisation of the {what} is", f"{name}_norm") for name, what in _SUBLAYERS.items()),
    NormsExchanged,
    ParallelInSequence,
    NormNotShared,
    ResidualOfInput,
    ResidualMissingOutsidePost,
    FirstNormAdded,
    NormShared,
    FeedforwardFirst,
    CrossAttentionLast,
)
