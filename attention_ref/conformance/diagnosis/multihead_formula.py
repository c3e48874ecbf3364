"""Multi-head attention in named steps: projections, normalised and rotated heads, biases of the scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.formula import Array
from attention_ref.conformance.diagnosis.position_formula import PositionFormula
from attention_ref.conformance.diagnosis.primitives_formula import Parameters
from attention_ref.spec.config import AttentionConfig


class MultiHeadFormula(PositionFormula):
    """Multi-head attention as specified, of arrays `(b,l,m)`."""

    is_cross = False
    """Whether the attention that is being computed reads its keys from another array than its queries."""

    def multihead(
        self,
        config: AttentionConfig,
        parameters: Parameters,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        *,
        mask: Array | None = None,
        bias: Array | None = None,
        key_lengths: Array | None = None,
        positions: Array | None = None,
        query_offset: Any = None,
    ) -> dict[str, Array]:
        """Compute the output `(b,q,output)` and the weights `(b,h,q,k)`."""
        source = query if key is None else key
        self.is_cross = key is not None
        offset = 0 if query_offset is None else query_offset
        places, key_places = self.places(query, source, key is None, positions, offset)
        queries = self.heads(query, "query", config, parameters, places)  # (b,h,q,d)
        keys = self.heads(source, "key", config, parameters, key_places)  # (b,g,k,d)
        value_source = self.value_source(source, value, config)
        values = self.value_heads(value_source, config, parameters, key_places)  # (b,g,k,v)
        lengths = queries.shape[2], keys.shape[2]
        bias = self.bias_of_scores(bias, config, parameters, *lengths, offset)
        if config.trained_key_value:
            keys, values = self.with_trained(keys, values, parameters)
            mask, bias = (_padded(array, first) for array, first in ((mask, True), (bias, 0.0)))
            offset, key_lengths = self.behind_trained(offset, key_lengths)
        results = self.attention(
            queries,
            keys,
            values,
            mask=mask,
            bias=bias,
            causal=config.causal,
            query_offset=offset,
            window=config.window,
            key_lengths=key_lengths,
            scale=self.scale(config),
            softcap=config.softcap,
            sinks=parameters.get("sinks"),
        )
        merged = self.merge_heads(results["output"])  # (b,q,h,v)
        return {**results, "output": self.project(merged, parameters, "output", inputs=2)}

    def places(
        self, query: Array, source: Array, is_self: bool, positions: Array | None, offset: Any
    ) -> tuple[Array, Array]:
        """Return the positions by which queries and keys are rotated."""
        counted = np.arange(query.shape[1]) + np.asarray(offset)[..., None]  # (q) or (b,q)
        places = counted if positions is None else positions
        return places, places if is_self else np.arange(source.shape[1])

    def heads(self, array: Array, name: str, config: AttentionConfig, parameters: Parameters, places: Array) -> Array:
        """Project to heads, `(b,l,m)` to `(b,h,l,d)`, then normalise and rotate them."""
        heads = self.projected_heads(array, name, config, parameters)
        return self.rotated(self.head_norm(heads, name, config, parameters), name, config, places)

    def projected_heads(self, array: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        """Project to heads, `(b,l,m)` to `(b,h,l,d)`, and clip them, if configured."""
        heads = self.split_heads(self.project(array, parameters, name))
        return heads if config.clip is None else self.clipped(heads, name, config.clip)

    def clipped(self, heads: Array, name: str, largest: float) -> Array:  # noqa: ARG002
        """Set numbers beyond `largest` to it."""
        return np.clip(heads, -largest, largest)

    def value_source(self, source: Array, value: Array | None, config: AttentionConfig) -> Array:  # noqa: ARG002
        """Return the input of the value projection: the key input, if no other is given."""
        return source if value is None else value

    def value_heads(self, array: Array, config: AttentionConfig, parameters: Parameters, places: Array) -> Array:  # noqa: ARG002
        """Project values to heads, `(b,k,_)` to `(b,g,k,v)`; they are neither normalised nor rotated."""
        return self.projected_heads(array, "value", config, parameters)

    def with_trained(self, keys: Array, values: Array, parameters: Parameters) -> tuple[Array, Array]:
        """Put the trained key and value before the others."""
        return self.before(parameters["trained_key"], keys), self.before(parameters["trained_value"], values)

    def behind_trained(self, offset: Any, key_lengths: Array | None) -> tuple[Any, Array | None]:
        """Return offset and lengths that count the trained key."""
        return offset + 1, None if key_lengths is None else key_lengths + 1

    def before(self, trained: Array, array: Array) -> Array:
        """Put a trained key or value before the others, `(g,d)` and `(b,g,k,d)` to `(b,g,k+1,d)`."""
        first = np.broadcast_to(trained[:, None], (*array.shape[:2], 1, array.shape[3]))
        return np.concatenate([first, array], axis=2)

    def head_norm(self, heads: Array, name: str, config: AttentionConfig, parameters: Parameters) -> Array:
        """Normalise each head, or all heads together, if configured."""
        norm, name, shares = config.query_key_norm, f"{name}_norm", config.query_key_norm_heads
        if norm is None:
            return heads
        if shares == "shared":
            return self.normalize(heads, norm, parameters, name)
        own = {leaf: each for leaf, each in parameters.items() if leaf.startswith(f"{name}.")}  # (h,d) each
        if shares == "separate":
            return self.normalize(heads, norm, {leaf: each[:, None] for leaf, each in own.items()}, name)
        rows = heads.swapaxes(1, 2)  # (b,l,h,d)
        joined = rows.reshape(*rows.shape[:2], rows.shape[2] * rows.shape[3])
        normal = self.normalize(joined, norm, {leaf: each.reshape(-1) for leaf, each in own.items()}, name)
        return normal.reshape(rows.shape).swapaxes(1, 2)

    def rotated(self, heads: Array, name: str, config: AttentionConfig, places: Array) -> Array:  # noqa: ARG002
        """Rotate each head, if configured."""
        return heads if config.rotary is None else self.rotate(heads, places, config.rotary)

    def split_heads(self, array: Array) -> Array:
        """Exchange length and heads, `(b,l,h,d)` to `(b,h,l,d)`."""
        return array.swapaxes(1, 2)

    def merge_heads(self, array: Array) -> Array:
        """Exchange heads and length, `(b,h,l,v)` to `(b,l,h,v)`."""
        return array.swapaxes(1, 2)

    def scale(self, config: AttentionConfig) -> float | None:
        """Return the configured scale."""
        return config.scale

    def bias_of_scores(
        self,
        bias: Array | None,
        config: AttentionConfig,
        parameters: Parameters,
        query_length: int,
        key_length: int,
        offset: Any,
    ) -> Array | None:
        """Sum the bias of the call and those of the configuration."""
        terms = [bias] if bias is not None else []
        if config.alibi:
            alibi = self.alibi_bias(config.heads, query_length, key_length, query_offset=offset)
            terms.append(self.alibi_factor(config) * alibi)
        if config.relative_bias is not None:
            table, lengths = parameters["relative_bias"], (query_length, key_length)
            terms.append(self.relative_bias(table, *lengths, config.relative_bias, query_offset=offset))
        return sum(terms[1:], terms[0]) if terms else None

    def alibi_factor(self, config: AttentionConfig) -> float:
        """Return the factor of ALiBi's bias."""
        return config.alibi_factor


def _padded(array: Array | None, first: Any) -> Array | None:
    """Put one number before each row of a mask or bias, `(...,1)` or `(...,k)` to `(...,k+1)`."""
    return None if array is None else np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 0)], constant_values=first)
