"""Multi-head attention: `attention` between linear projections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from attention_ref.numpy import positions as codes
from attention_ref.numpy import primitives
from attention_ref.numpy._arrays import Array, inspect, widen
from attention_ref.numpy._more_keys import appended, put_before
from attention_ref.numpy._places import count_from, integers, one_or_each, unless_whole
from attention_ref.numpy.attention import attention
from attention_ref.numpy.caches import StaticCache
from attention_ref.spec.config import AttentionConfig
from attention_ref.spec.layer_checks import check_multihead
from attention_ref.spec.parameters import check_arrays
from attention_ref.spec.shapes import check_implementation
from attention_ref.spec.state_checks import check_caches, check_projection
from attention_ref.spec.taps import Tap, report


class Cache(NamedTuple):
    """A KV cache: the projected keys and values of earlier positions.

    Arguments:
        key: `(b,g,p,d)`, after normalisation and rotation.
        value: `(b,g,p,v)`.
        lengths: how many of the p positions of each batch row are filled, the first ones, integers `(b,)`.

    Example:
        >>> config = spec.AttentionConfig(model=8, heads=2, causal=True)
        >>> layer = MultiHeadAttention(config, weights.init(config))
        >>> cache = layer.project_kv(np.zeros((1, 3, 8), np.float32))
        >>> cache.key.shape
        (1, 2, 3, 4)
    """

    key: Array
    value: Array
    lengths: Array


class MultiHeadAttention:
    """Multi-head attention.

        query_h  = x W_query_h + b_query_h          then clipped, normalised and rotated, if configured
        key_g    = y W_key_g   + b_key_g            then clipped, normalised and rotated, if configured
        value_g  = y W_value_g + b_value_g          then clipped, if configured
        output   = sum_h attention(query_h, key_g, value_g) W_output_h + b_output

    Arguments:
        config: sizes and options.
        parameters: by name: `query.kernel (m,h,d)`, `key.kernel (m,g,d)`, `value.kernel (m,g,v)`,
            `output.kernel (h,v,m)` and, if configured, `query.bias (h,d)`, `key.bias (g,d)`, `value.bias (g,v)`,
            `output.bias (m)`, `query_norm.gain (d)` or `(h,d)`, `key_norm.gain (d)` or `(g,d)`,
            `relative_bias (buckets,h)`, `sinks (h)`, `trained_key (g,d)`, `trained_value (g,v)`.
        implementation: the path of attention: `"auto"`, `"fused"` or `"reference"`, as in `attention`; no parameter
            depends on it, and it is not saved with them.

    Raises:
        SpecificationError: for parameters that do not match the configuration, and for an unknown implementation.

    Example:
        >>> config = spec.AttentionConfig(model=8, heads=2)
        >>> layer = MultiHeadAttention(config, weights.init(config))
        >>> layer(np.zeros((1, 3, 8), np.float32)).shape
        (1, 3, 8)
    """

    def __init__(
        self, config: AttentionConfig, parameters: Mapping[str, Array], *, implementation: str = "auto"
    ) -> None:
        check_implementation("MultiHeadAttention", implementation)
        check_arrays("MultiHeadAttention", config, parameters)
        self.config = config
        self.parameters = dict(parameters)
        self.implementation = implementation

    def __call__(
        self,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        *,
        mask: Any = None,
        bias: Any = None,
        key_lengths: Any = None,
        positions: Any = None,
        query_offset: Any = None,
        cache: Cache | StaticCache | None = None,
        memory: Cache | StaticCache | None = None,
        return_weights: bool = False,
        return_cache: bool = False,
        tap: Tap | None = None,
    ) -> Any:
        """Attend from `query` to `key`.

        Arguments:
            query: `(b,q,m)`.
            key: `(b,k,memory)`; the query itself when None.
            value: `(b,k,memory)`, or of the value input's own size; `key` when None.
            mask: boolean, broadcasts to `(b,h,q,k)`; k includes the positions of the cache.
            bias: broadcasts to `(b,h,q,k)`; added to the configured biases.
            key_lengths: how many of the new keys of each batch row are not padding, integers `(b,)`; all when None.
            positions: the positions by which queries (and, in self-attention, keys) are rotated, integers `(q,)` or
                `(b,q)`; when None, they count up from `query_offset` or the length of the cache.
            query_offset: the position of the first query among the keys of `key` or `memory`, an integer or one for
                each batch row `(b,)`; 0 when None.
            cache: keys and values of earlier calls, to which the new ones are appended. Causal mask, window, rotary
                positions and relative biases count from its length.
            memory: the result of `project_kv`, in place of `key`, `value` and `cache`.
            return_weights: also return the weights `(b,h,q,k)`, those of a trained key before the others.
            return_cache: also return the cache with the new keys and values.
            tap: receives `query`, `key`, `value`, `scores`, `weights`, `heads` and `output`.

        Returns:
            The output `(b,q,output)`, or a tuple of the output and, in this order, the weights and the cache that were
            requested.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"query": query, "key": key, "value": value, "bias": bias, "key_lengths": key_lengths}
        given |= {"positions": positions, "query_offset": query_offset, "cache": cache, "memory": memory}
        given |= {"return_weights": return_weights, "return_cache": return_cache, "tap": tap}
        given["query.kernel"] = self.parameters["query.kernel"]
        check_multihead(self.config, given, inspect)
        query_length = query.shape[1]
        start = 0 if cache is None else one_or_each(cache.lengths)
        offset = start if query_offset is None else one_or_each(query_offset)
        places = count_from(offset, query_length) if positions is None else integers(positions)
        is_padded = not (memory is None and cache is None and key_lengths is None)
        if memory is None:
            source, at = (query, places) if key is None else (key, count_from(start, key.shape[1]))
            new = self._project_kv(source, value, key_lengths=key_lengths, positions=at)
            memory = new if cache is None else appended("MultiHeadAttention", cache, new, Cache)
        queries = report(tap, "query", self._heads(query, "query", places))  # (b,h,q,d)
        report(tap, "key", memory.key)  # (b,g,k,d)
        report(tap, "value", memory.value)  # (b,g,k,v)

        bias, attended, starts = self._bias(bias, queries, memory.key, offset), memory, offset
        if self.config.trained_key_value:
            attended, starts = self._after_trained(memory), offset + 1
            mask, bias = (put_before(array, first, memory.key) for array, first in ((mask, True), (bias, 0)))
        arrays = {"query": queries, "key": attended.key, "value": attended.value, "sinks": self.parameters.get("sinks")}
        if bias is not None and bias.dtype != queries.dtype:  # a sum of biases, in the arithmetic's dtype
            arrays = {name: None if array is None else widen(array) for name, array in arrays.items()}
        outputs = attention(
            **arrays,
            mask=mask,
            bias=bias,
            causal=self.config.causal,
            query_offset=starts,
            window=self.config.window,
            key_lengths=unless_whole(attended) if is_padded else None,
            scale=self.config.scale,
            softcap=self.config.softcap,
            return_weights=return_weights,
            implementation=self.implementation,
            tap=tap,
        )
        mixed, *weights = (
            array.astype(queries.dtype, copy=False) for array in (outputs if return_weights else (outputs,))
        )
        report(tap, "heads", mixed)  # (b,h,q,v)
        mixed = mixed.swapaxes(1, 2)  # (b,h,q,v) -> (b,q,h,v)
        results = [report(tap, "output", self._linear(mixed, "output", inputs=2)), *weights]  # (b,q,output)
        if return_cache:
            results.append(memory)
        return results[0] if len(results) == 1 else tuple(results)

    def project_kv(
        self, key: Array, value: Array | None = None, *, key_lengths: Any = None, positions: Any = None
    ) -> Cache:
        """Project keys and values, for several calls to attend to.

        Arguments:
            key: `(b,k,memory)`.
            value: `(b,k,memory)`; `key` when None.
            key_lengths: how many keys of each batch row are not padding, integers `(b,)`; all when None.
            positions: the positions by which keys are rotated, integers `(k,)` or `(b,k)`; counted from 0 when None.

        Returns:
            A cache, which a call takes as `memory` or `cache`.

        Raises:
            SpecificationError: for arguments that do not fit the configuration or one another.
        """
        given = {"key": key, "value": value, "key_lengths": key_lengths, "positions": positions}
        given["key.kernel"] = self.parameters["key.kernel"]
        check_projection(self.config, given, inspect)
        return self._project_kv(key, value, key_lengths=key_lengths, positions=positions)

    def _project_kv(self, key: Array, value: Array | None, *, key_lengths: Any, positions: Any) -> Cache:
        batch, length, _ = key.shape
        places = np.arange(length) if positions is None else integers(positions)
        all_real = np.full(batch, length)
        return Cache(
            key=self._heads(key, "key", places),
            value=self._projected(key if value is None else value, "value").swapaxes(1, 2),  # (b,k,g,v) -> (b,g,k,v)
            lengths=all_real if key_lengths is None else integers(key_lengths),
        )

    def _linear(self, array: Array, name: str, inputs: int = 1) -> Array:
        kernel, bias = self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias")
        return primitives.linear(array, kernel, bias, inputs=inputs)

    def _projected(self, array: Array, name: str) -> Array:
        """Project to heads, and clip, if configured."""
        heads = self._linear(array, name)  # (b,l,h,d)
        return heads if self.config.clip is None else primitives.clipped(heads, self.config.clip)

    def _heads(self, array: Array, name: str, places: Array) -> Array:
        """Project to heads, then normalise and rotate them, if configured."""
        config, heads = self.config, self._projected(array, name)  # (b,l,h,d)
        if config.query_key_norm is not None:
            norm = (config.query_key_norm, config.query_key_norm_heads)
            heads = primitives.normalize_heads(heads, *norm, self.parameters, f"{name}_norm")
        heads = heads.swapaxes(1, 2)  # (b,l,h,d) -> (b,h,l,d)
        if config.rotary is not None:
            heads = codes.rotate(heads, places, config.rotary)
        return heads

    def _after_trained(self, memory: Cache) -> Cache:
        """Put the trained key and value before the others: `(b,g,k,d)` to `(b,g,k+1,d)`."""
        batch = memory.key.shape[0]
        pairs = ((self.parameters["trained_key"], memory.key), (self.parameters["trained_value"], memory.value))
        firsts = [np.broadcast_to(first[:, None], (batch, len(first), 1, first.shape[-1])) for first, _ in pairs]
        joined = [np.concatenate([first, array], axis=2) for first, (_, array) in zip(firsts, pairs, strict=True)]
        return Cache(*joined, integers(memory.lengths) + 1)

    def _bias(self, bias: Any, queries: Array, keys: Array, offset: Any) -> Array | None:
        """Sum the bias of the call and the configured biases, in the dtype of the arithmetic."""
        config, sizes = self.config, (queries.shape[2], keys.shape[2])
        terms = [] if bias is None else [np.asarray(bias)]
        if config.alibi:
            alibi = codes.alibi_bias(config.heads, *sizes, query_offset=offset, like=widen(queries))
            terms.append(alibi * config.alibi_factor)
        if config.relative_bias is not None:
            table = self.parameters["relative_bias"]
            terms.append(codes.relative_bias(table, *sizes, config.relative_bias, query_offset=offset))
        if len(terms) > 1:
            terms = [sum(map(widen, terms))]
        return terms[0] if terms else None


def append_to_cache(cache: Cache, new: Cache) -> Cache:
    """Append new keys and values to the filled positions of a cache.

    Arguments:
        cache: `(b,g,p,d)` and `(b,g,p,v)`.
        new: `(b,g,t,d)` and `(b,g,t,v)`.

    Returns:
        A cache with `(b,g,p+t,d)` and `(b,g,p+t,v)`; positions that are not filled are 0.

    Raises:
        SpecificationError: for what are not two caches of one layer and batch.

    Example:
        >>> cache = Cache(np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4)), np.array([3]))
        >>> new = Cache(np.zeros((1, 2, 1, 4)), np.zeros((1, 2, 1, 4)), np.array([1]))
        >>> append_to_cache(cache, new).lengths.tolist()
        [4]
    """
    check_caches(cache, new, inspect)
    return appended("append_to_cache", cache, new, Cache)
