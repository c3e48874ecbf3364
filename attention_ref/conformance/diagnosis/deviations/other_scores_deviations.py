"""Deviations of additive and multiplicative attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array


class AdditiveWithoutTanh(Deviation):
    """The two projections are added without a tanh, so that every query gets the same weights."""

    slug = "additive.tanh-missing"
    clause = "additive.formula"
    correction = "score_kernel . tanh(query query_kernel + key key_kernel)"

    def additive_activation(self, array: Array) -> Array:
        return array


class AdditiveKernelsIgnored(Deviation):
    """Queries and keys are not projected."""

    slug = "additive.kernels-ignored"
    clause = "additive.kernels"
    correction = "project queries and keys, each by a kernel of its own"

    def additive_scores(
        self, query: Array, key: Array, query_kernel: Any, key_kernel: Any, score_kernel: Array
    ) -> Array:
        return super().additive_scores(query, key, None, None, score_kernel)


class AdditiveKernelsExchanged(Deviation):
    """Queries are projected by the kernel of the keys, and keys by that of the queries."""

    slug = "additive.kernels-exchanged"
    clause = "additive.kernels"
    correction = "query query_kernel + key key_kernel"

    def additive_scores(
        self, query: Array, key: Array, query_kernel: Any, key_kernel: Any, score_kernel: Array
    ) -> Array:
        return super().additive_scores(query, key, key_kernel, query_kernel, score_kernel)


class MultiplicativeScaled(Deviation):
    """The scores are divided by sqrt(d), as in scaled dot-product attention."""

    slug = "multiplicative.scaled"
    clause = "multiplicative.formula"
    correction = "no scale: the kernel learns its own"

    def multiplicative_scale(self, query: Array) -> float:
        return float(1 / np.sqrt(query.shape[-1]))


class MultiplicativeTransposed(Deviation):
    """The kernel is transposed."""

    slug = "multiplicative.kernel-transposed"
    clause = "multiplicative.kernel"
    correction = "query score_kernel key, with the kernel (d,e)"

    def multiplicative_scores(self, query: Array, key: Array, score_kernel: Array | None) -> Array:
        return super().multiplicative_scores(query, key, None if score_kernel is None else score_kernel.T)


class VisibilityIgnored(Deviation):
    """Every query sees every key: all rules of visibility are ignored."""

    slug = "visibility.ignored"
    clause = "attention.visibility"
    correction = "hide keys by mask, causality, window, lengths and a bias of -inf"

    def together(self, rules: list[Array]) -> Array:
        return np.ones_like(rules[0])

    def hidden(self, scores: Array, mask: Any, visible: Array, dropout_mask: Any) -> Array:
        hidden = super().hidden(scores, mask, visible, dropout_mask)
        return np.where(np.all(hidden == -np.inf, axis=-1, keepdims=True), np.nan, hidden)  # a bias of -inf alone


ADDITIVE: tuple[type[Deviation], ...] = (AdditiveWithoutTanh, AdditiveKernelsIgnored, AdditiveKernelsExchanged)
MULTIPLICATIVE: tuple[type[Deviation], ...] = (MultiplicativeScaled, MultiplicativeTransposed)
EVERY_RULE: tuple[type[Deviation], ...] = (VisibilityIgnored,)
