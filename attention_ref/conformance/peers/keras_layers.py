"""The attention layers of Keras with identity projections, on each of their paths."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.errors import Unsupported

_NO_SCORES = "no scores on the fused path"
_VALUE_SIZE = "requires the same head size of values and queries"


def mha(
    query: Any,
    value: Any,
    key: Any,
    *,
    num_heads: int,
    sliding_window: int | None = None,
    return_attention_scores: bool = False,
    **options: Any,
) -> Any:
    """`MultiHeadAttention` without scores: it calls `ops.dot_product_attention`."""
    if return_attention_scores:
        raise Unsupported(_NO_SCORES)
    return _mha(query, value, num_heads, sliding_window)(query, value, key, **options)


def mha_with_scores(
    query: Any,
    value: Any,
    key: Any,
    *,
    num_heads: int,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    return_attention_scores: bool = False,
    **options: Any,
) -> Any:
    """`MultiHeadAttention`, always returning scores: it then computes the softmax itself."""
    layer = _mha(query, value, num_heads, sliding_window, dropout)
    output, scores = layer(query, value, key, return_attention_scores=True, training=dropout > 0, **options)
    return (output, scores) if return_attention_scores else output


def gqa(
    query: Any,
    value: Any,
    key: Any,
    *,
    num_query_heads: int,
    num_key_value_heads: int,
    sliding_window: int | None = None,
    return_attention_scores: bool = False,
    **options: Any,
) -> Any:
    """`GroupQueryAttention` without scores."""
    if return_attention_scores:
        raise Unsupported(_NO_SCORES)
    return _gqa(query, value, num_query_heads, num_key_value_heads, sliding_window)(query, value, key, **options)


def gqa_with_scores(
    query: Any,
    value: Any,
    key: Any,
    *,
    num_query_heads: int,
    num_key_value_heads: int,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    return_attention_scores: bool = False,
    **options: Any,
) -> Any:
    """`GroupQueryAttention`, always returning scores."""
    layer = _gqa(query, value, num_query_heads, num_key_value_heads, sliding_window, dropout)
    output, scores = layer(query, value, key, return_attention_scores=True, training=dropout > 0, **options)
    return (output, scores) if return_attention_scores else output


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float | None = None,
    value_mask: Any = None,
    use_causal_mask: bool = False,
    dropout: float = 0.0,
    return_attention_scores: bool = False,
) -> Any:
    """`Attention`, with its trainable scale set to a given scale."""
    layer = _attention(_dtype(query), scale is not None, dropout)
    if scale is not None:
        layer.scale.assign(scale)
    return layer(
        [query, value, key],
        mask=None if value_mask is None else [None, value_mask],
        use_causal_mask=use_causal_mask,
        return_attention_scores=return_attention_scores,
        training=dropout > 0,
    )


def _dtype(array: Any) -> str:
    import keras

    dtype = str(keras.backend.standardize_dtype(array.dtype))
    if "float" not in dtype:
        raise Unsupported("identity projections need a floating dtype")
    return dtype


def _mha(query: Any, value: Any, heads: int, window: int | None, dropout: float = 0.0) -> Any:
    return _built_mha(heads, query.shape[-1] // heads, value.shape[-1] // heads, window, dropout, _dtype(query))


@cache
def _built_mha(heads: int, size: int, value_size: int, window: int | None, dropout: float, dtype: str) -> Any:
    import keras

    options = {"dropout": dropout, "use_bias": False, "dtype": dtype}
    options |= {} if window is None else {"sliding_window": window}
    packed, values = heads * size, heads * value_size
    layer = keras.layers.MultiHeadAttention(heads, size, value_dim=value_size, output_shape=values, **options)
    layer.build((None, None, packed), (None, None, values), (None, None, packed))
    return _identical(layer)


def _gqa(query: Any, value: Any, heads: int, groups: int, window: int | None, dropout: float = 0.0) -> Any:
    if query.shape[-1] // heads != value.shape[-1] // groups:
        raise Unsupported(_VALUE_SIZE)
    return _built_gqa(heads, groups, query.shape[-1] // heads, window, dropout, _dtype(query))


@cache
def _built_gqa(heads: int, groups: int, size: int, window: int | None, dropout: float, dtype: str) -> Any:
    import keras

    options = {"dropout": dropout, "use_bias": False, "dtype": dtype}
    options |= {} if window is None else {"sliding_window": window}
    layer = keras.layers.GroupQueryAttention(size, heads, groups, **options)
    shape = (None, None, groups * size)
    layer.build((None, None, heads * size), shape, shape)
    return _identical(layer)


def _identical(layer: Any) -> Any:
    """Make every kernel, `(m,h,d)` or `(h,d,m)`, the identity of its packed axes."""
    layer.set_weights([np.eye(max(weight.shape)).reshape(weight.shape) for weight in layer.weights])
    return layer


@cache
def _attention(dtype: str, has_scale: bool, dropout: float) -> Any:
    import keras

    layer = keras.layers.Attention(use_scale=has_scale, dropout=dropout, dtype=dtype)
    layer.build([(None, None, 1)] * 3)
    return layer
