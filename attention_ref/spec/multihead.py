"""Multi-head attention: `attention` between linear projections."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attention_ref.spec import positions, primitives
from attention_ref.spec.arrays import Array, as_array, broadcast_index, indices, inspect
from attention_ref.spec.attention import attention
from attention_ref.spec.config import AttentionConfig
from attention_ref.spec.layer_checks import check_multihead
from attention_ref.spec.numbers import constant, detached, rounded
from attention_ref.spec.sequences import append, count_from, exchanged
from attention_ref.spec.state_checks import check_caches, check_projection
from attention_ref.spec.taps import Tap, report


class Cache(NamedTuple):
    """A KV cache: the projected keys and values of earlier positions.

    Arguments:
        key: `(b,g,p,d)`, after normalisation and rotation.
        value: `(b,g,p,v)`.
        lengths: how many of the p positions of each batch row are filled, the first ones, integers `(b,)`.
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

    Source: Vaswani et al. (2017), section 3.2.2.

    How others differ: PyTorch packs the three kernels output-first as `in_proj_weight (3m,m)`; Keras uses these shapes.

    Example:
        >>> config = AttentionConfig(model=8, heads=2)
        >>> parameters = {name: as_array(array.tolist()) for name, array in weights.init(config).items()}
        >>> layer = MultiHeadAttention(config, parameters)
        >>> layer(as_array([[[0.0] * 8] * 3])).shape
        (1, 3, 8)
    """

    def __init__(self, config: AttentionConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.parameters = parameters

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
        cache: Cache | None = None,
        memory: Cache | None = None,
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
        batch, query_length, _ = query.shape
        starts = cache.lengths if cache is not None else Array((batch,), [0] * batch, "integer")
        offsets = _per_row(query_offset, batch) if query_offset is not None else starts
        places = as_array(positions) if positions is not None else count_from(offsets, query_length)
        if memory is None:
            source, at = (query, places) if key is None else (key, count_from(starts, key.shape[1]))
            new = self._project_kv(source, value, key_lengths=key_lengths, positions=at)
            memory = new if cache is None else _appended(cache, new)
        queries = report(tap, "query", self._heads(query, "query", places))  # (b,h,q,d)
        report(tap, "key", memory.key)  # (b,g,k,d)
        report(tap, "value", memory.value)  # (b,g,k,v)

        bias, attended, starts = self._bias(bias, queries, memory.key, offsets), memory, offsets
        if self.config.trained_key_value:
            attended, starts = self._after_trained(memory), offsets.map(lambda offset: offset + 1)
            mask, bias = (_before(array, first, memory.key) for array, first in ((mask, True), (bias, 0.0)))
        outputs = attention(
            queries,
            attended.key,
            attended.value,
            mask=mask,
            bias=bias,
            causal=self.config.causal,
            query_offset=starts,
            window=self.config.window,
            key_lengths=attended.lengths,
            scale=self.config.scale,
            softcap=self.config.softcap,
            sinks=self.parameters.get("sinks"),
            return_weights=return_weights,
            tap=tap,
        )
        mixed, *weights = outputs if return_weights else (outputs,)
        report(tap, "heads", mixed)  # (b,h,q,v)
        results = [report(tap, "output", self._linear(exchanged(mixed), "output", inputs=2)), *weights]  # (b,q,output)
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
        full = Array((batch,), [length] * batch, "integer")
        start = Array((batch,), [0] * batch, "integer")
        places = as_array(positions) if positions is not None else count_from(start, length)
        return Cache(
            key=self._heads(key, "key", places),
            value=exchanged(self._projected(key if value is None else value, "value")),  # (b,k,g,v) -> (b,g,k,v)
            lengths=as_array(key_lengths) if key_lengths is not None else full,
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
        heads = exchanged(heads)  # (b,l,h,d) -> (b,h,l,d)
        if config.rotary is not None:
            heads = positions.rotate(heads, places, config.rotary)
        return heads

    def _after_trained(self, memory: Cache) -> Cache:
        """Put the trained key and value before the others: `(b,g,k,d)` to `(b,g,k+1,d)`."""
        values = []
        for array, name in ((memory.key, "trained_key"), (memory.value, "trained_value")):
            batch, groups, length, size = array.shape
            rows = [
                [*self.parameters[name][(group,)], *(n for i in range(length) for n in array[(row, group, i)])]
                for row, group in indices((batch, groups))
            ]
            values.append(Array((batch, groups, length + 1, size), [n for row in rows for n in row], "real"))
        key, value = values
        return Cache(key, value, memory.lengths.map(lambda length: length + 1))

    def _bias(self, bias: Any, queries: Array, keys: Array, offsets: Array) -> Array | None:
        """Sum the bias of the call and the configured biases."""
        config, lengths = self.config, (queries.shape[2], keys.shape[2])
        terms = [as_array(bias)] if bias is not None else []
        if config.alibi:
            like = next(iter(queries.values), 1.0)
            factor = functools.partial(constant, config.alibi_factor)
            alibi = positions.alibi_bias(config.heads, *lengths, query_offset=offsets, like=like)
            terms.append(alibi if config.alibi_factor == 1 else alibi.map(lambda n: rounded(n * factor(n))))
        if config.relative_bias is not None:
            table = self.parameters["relative_bias"]
            terms.append(positions.relative_bias(table, *lengths, config.relative_bias, query_offset=offsets))
        if len(terms) < 2:
            return terms[0] if terms else None
        shape = (*offsets.shape, config.heads, *lengths)
        return Array(shape, [_sum_at(terms, index) for index in indices(shape)], "real")


def append_to_cache(cache: Cache, new: Cache) -> Cache:
    """Append new keys and values to the filled positions of a cache.

    Arguments:
        cache: `(b,g,p,d)` and `(b,g,p,v)`.
        new: `(b,g,t,d)` and `(b,g,t,v)`.

    Returns:
        A cache with `(b,g,p+t,d)` and `(b,g,p+t,v)`; positions that are not filled are 0.

    Raises:
        SpecificationError: for what are not two caches of one layer and batch.
    """
    check_caches(cache, new, inspect)
    return _appended(cache, new)


def _appended(cache: Cache, new: Cache) -> Cache:
    lengths = [old + more for old, more in zip(cache.lengths.values, new.lengths.values, strict=True)]
    return Cache(
        key=append(cache.key, new.key, cache.lengths),
        value=append(cache.value, new.value, cache.lengths),
        lengths=Array(cache.lengths.shape, lengths, "integer"),
    )


def _before(array: Any, first: Any, keys: Array) -> Array | None:
    """Put one number for the trained key before each row of a mask or bias: `(...,k)` to `(...,k+1)`."""
    if array is None:
        return None
    array, length = as_array(array), keys.shape[2]
    leading = array.shape[:-1]
    if array.dtype == "real" and array.values:
        first = detached(constant(first, array.values[0]))
    values = []
    for index in indices(leading):
        row = [array[broadcast_index((*index, j), array.shape)] for j in range(length)]
        values += [first, *row]
    return Array((*leading, length + 1), values, array.dtype)


def _per_row(integers: Any, batch: int) -> Array:
    """Repeat one integer for every batch row; return integers `(b,)` unchanged."""
    array = as_array(integers)
    return array if array.shape else Array((batch,), array.values * batch, "integer")


def _sum_at(terms: Sequence[Array], index: tuple[int, ...]) -> Any:
    first, *others = (term[broadcast_index(index, term.shape)] for term in terms)
    for other in others:
        first = first + other
    return first
