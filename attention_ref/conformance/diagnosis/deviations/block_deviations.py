"""Deviations of the normalisations and residual connections of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import (
    BlockConfig,
    Order,
)


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


_SUBLAYERS = {
    "self_attention": "self-attention",
    "cross_attention": "cross-attention",
    "feedforward": "feed-forward network",
}

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
)
