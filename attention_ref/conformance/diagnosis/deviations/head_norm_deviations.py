"""Deviations of the normalisations of queries and keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import AttentionConfig, NormHeads


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
        heads = self.projected_heads(array, name, config, parameters)
        return self.head_norm(self.rotated(heads, name, config, places), name, config, parameters)


def norm_of_one(what: str, name_: str) -> type[Deviation]:
    """Return the deviation that normalises queries or keys alone."""

    class HeadNormOfOne(Deviation):
        __doc__ = what
        slug = "query-key-norm.one-missing"
        clause = "multihead.query-key-norm"
        correction = "normalise queries and keys"

        def head_norm(self, heads: Array, name: str, config: Any, parameters: Parameters) -> Array:
            return super().head_norm(heads, name, config, parameters) if name == name_ else heads

    return HeadNormOfOne


class HeadNormOfValues(Deviation):
    """Values are normalised too, with the gain of the keys."""

    slug = "query-key-norm.of-values"
    clause = "multihead.query-key-norm"
    correction = "normalise queries and keys alone"

    def value_heads(self, array: Array, config: Any, parameters: Parameters, places: Array) -> Array:
        return self.head_norm(super().value_heads(array, config, parameters, places), "key", config, parameters)


class HeadNormGainOfQuery(Deviation):
    """Keys are normalised with the gain of the queries."""

    slug = "query-key-norm.gain-of-query"
    clause = "multihead.query-key-norm"
    correction = "queries and keys have a gain each"

    def head_norm(self, heads: Array, name: str, config: Any, parameters: Parameters) -> Array:
        return super().head_norm(heads, "query", config, parameters)


class HeadNormGainOffsetIgnored(Deviation):
    """The offset of the gain is ignored in the normalisations of queries and keys alone."""

    slug = "query-key-norm.gain-offset-ignored"
    clause = "multihead.query-key-norm"
    correction = "multiply by gain + gain_offset, as in the other normalisations"

    def head_norm(self, heads: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        norm = config.query_key_norm
        plain = config if norm is None else replace(config, query_key_norm=replace(norm, gain_offset=0.0))
        return super().head_norm(heads, name, plain, parameters)


class HeadNormFirstGain(Deviation):
    """Every head is normalised with the gain of the first."""

    slug = "query-key-norm.first-gain"
    clause = "multihead.norm-separate"
    correction = "each head has a gain of its own"

    def head_norm(self, heads: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        if config.query_key_norm_heads != "separate":
            return super().head_norm(heads, name, config, parameters)
        first = {
            leaf: np.broadcast_to(array[:1], array.shape) if leaf.startswith(f"{name}_norm.") else array
            for leaf, array in parameters.items()
        }
        return super().head_norm(heads, name, config, first)


def norm_heads(slug_: str, clause_: str, what: str, asked: NormHeads, computed: NormHeads) -> type[Deviation]:
    """Return the deviation that normalises each head where all together are configured, or the other way round."""

    class HeadNormScope(Deviation):
        __doc__ = what
        slug = f"query-key-norm.{slug_}"
        clause = f"multihead.{clause_}"
        correction = "normalise each head over its own size, or all heads together: as configured"

        def head_norm(self, heads: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
            if config.query_key_norm is None or config.query_key_norm_heads != asked:
                return super().head_norm(heads, name, config, parameters)
            config = replace(config, query_key_norm_heads=computed)
            if asked == "shared":  # one gain, which every head has
                parameters = {
                    leaf: np.tile(array, (heads.shape[1], 1)) if leaf.startswith(f"{name}_norm.") else array
                    for leaf, array in parameters.items()
                }
            return super().head_norm(heads, name, config, parameters)

    return HeadNormScope


HEAD_NORMS: tuple[type[Deviation], ...] = (
    HeadNormMissing,
    HeadNormAfterRotary,
    norm_of_one("Queries are normalised, and keys are not.", "query"),
    norm_of_one("Keys are normalised, and queries are not.", "key"),
    HeadNormOfValues,
    HeadNormGainOfQuery,
    HeadNormGainOffsetIgnored,
    HeadNormFirstGain,
    norm_heads(
        "each-head",
        "norm-joint",
        "Each head is normalised alone, where all heads together are configured.",
        "joint",
        "separate",
    ),
    norm_heads(
        "all-heads",
        "query-key-norm",
        "All heads are normalised together, where each head alone is configured.",
        "shared",
        "joint",
    ),
    norm_heads(
        "all-heads",
        "norm-separate",
        "All heads are normalised together, where each head with a gain of its own is configured.",
        "separate",
        "joint",
    ),
)
