"""PyTorch's `nn.MultiheadAttention` with identity projections, on each of its paths."""

from __future__ import annotations

from functools import cache
from typing import Any

from attention_ref.conformance.errors import Unsupported

WIDTH = 4
"""The fast path takes a single array, whose heads hold query, key and value side by side. The head size is four times
as large, which halves the scale; multiplying the queries by 2 corrects this exactly."""


def trained(query: Any, key: Any, value: Any, *, num_heads: int, need_weights: bool = False, **options: Any) -> Any:
    """The layer in training mode, without weights: it calls `scaled_dot_product_attention`."""
    if need_weights:
        raise Unsupported("no weights on this path: see torch.mha.weights")
    return _slow(query, key, value, num_heads, need_weights=False, **options)[0]


def trained_with_weights(
    query: Any, key: Any, value: Any, *, num_heads: int, need_weights: bool = False, **options: Any
) -> Any:
    """The layer in training mode, always returning weights: it then computes the softmax itself."""
    output, weights = _slow(query, key, value, num_heads, need_weights=True, **options)
    return (output, weights) if need_weights else output


def evaluated(query: Any, key: Any, value: Any, *, num_heads: int, need_weights: bool = False, **options: Any) -> Any:
    """The layer in evaluation mode, without weights and gradients: the fused fast path."""
    if need_weights:
        raise Unsupported("no weights on this path: see torch.mha.eval.weights")
    return _fast(query, key, value, num_heads, need_weights=False, **options)[0]


def evaluated_with_weights(
    query: Any, key: Any, value: Any, *, num_heads: int, need_weights: bool = False, **options: Any
) -> Any:
    """The layer in evaluation mode and without gradients, always returning weights."""
    output, weights = _fast(query, key, value, num_heads, need_weights=True, **options)
    return (output, weights) if need_weights else output


def _slow(
    query: Any,
    key: Any,
    value: Any,
    heads: int,
    *,
    need_weights: bool,
    attn_mask: Any = None,
    key_padding_mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
) -> Any:
    import torch

    _check(query, value)
    layer = _layer(query.shape[-1], heads, query.dtype)
    layer.dropout = dropout
    eye = torch.eye(query.shape[-1], dtype=query.dtype)
    _set(layer, torch.cat([eye, eye, eye])).train()
    if attn_mask is not None and attn_mask.is_floating_point() and key_padding_mask is not None:
        hidden = torch.zeros(key_padding_mask.shape, dtype=query.dtype)
        key_padding_mask = hidden.masked_fill(key_padding_mask, -float("inf"))  # both must have the same dtype
    return layer(
        query,
        key,
        value,
        attn_mask=attn_mask,
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        average_attn_weights=False,
        is_causal=is_causal,
    )


def _fast(
    query: Any,
    key: Any,
    value: Any,
    heads: int,
    *,
    need_weights: bool,
    attn_mask: Any = None,
    key_padding_mask: Any = None,
    dropout: float = 0.0,
    is_causal: bool = False,
) -> Any:
    import torch

    _check(query, value)
    _check_fast(query, key, heads, attn_mask)
    queries, size = query.shape[1], query.shape[-1] // heads
    query = _lengthened(query, key.shape[1], 1)
    attn_mask = None if attn_mask is None else _lengthened(attn_mask, key.shape[1], 1)
    parts = [array.unflatten(-1, (heads, size)) for array in (query, key, value)]
    array = torch.cat([*parts, torch.zeros_like(parts[0])], dim=-1).flatten(-2)  # (b,n,h*4d)
    layer = _layer(array.shape[-1], heads, query.dtype)
    picks = [torch.diag(torch.ones(WIDTH * size - i * size), i * size) for i in range(3)]
    picks = [
        factor * pick * (torch.arange(WIDTH * size) < size)[:, None]
        for pick, factor in zip(picks, (2, 1, 1), strict=True)
    ]
    kernels = torch.cat([torch.kron(torch.eye(heads), pick) for pick in picks])
    layer.dropout = dropout
    _set(layer, kernels.to(query.dtype)).eval()
    with torch.no_grad():
        output, weights = layer(
            array,
            array,
            array,
            attn_mask=attn_mask,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            average_attn_weights=False,
            is_causal=is_causal,
        )
    return output.unflatten(-1, (heads, WIDTH * size))[:, :queries, :, :size].flatten(-2), (
        weights if weights is None else weights[..., :queries, :]
    )


def _lengthened(array: Any, length: int, axis: int) -> Any:
    """Append queries, whose results are discarded: self-attention has as many queries as keys."""
    import torch

    missing = list(array.shape)
    missing[axis] = length - missing[axis]
    return torch.cat([array, torch.zeros(missing, dtype=array.dtype)], axis)


def _check(query: Any, value: Any) -> None:
    if query.shape[-1] != value.shape[-1]:
        raise Unsupported("requires the same head size of values and queries")
    if not query.is_floating_point():
        raise Unsupported("identity projections need a floating dtype")


def _check_fast(query: Any, key: Any, heads: int, attn_mask: Any) -> None:
    """Raise `Unsupported` for calls that do not take the fast path."""
    if query.shape[1] > key.shape[1]:
        raise Unsupported("the fast path computes self-attention: no more queries than keys")
    if heads % 2:
        raise Unsupported("the fast path requires an even number of heads")
    if attn_mask is not None and attn_mask.is_floating_point():
        raise Unsupported("the fast path does not support additive masks")
    if query.requires_grad:
        raise Unsupported("the fast path does not compute gradients")


@cache
def _layer(size: int, heads: int, dtype: Any) -> Any:
    from torch import nn

    return nn.MultiheadAttention(size, heads, batch_first=True, dtype=dtype)


def _set(layer: Any, kernels: Any) -> Any:
    """Set the input projections, zero biases and an identity output projection."""
    import torch

    with torch.no_grad():
        layer.in_proj_weight.copy_(kernels)
        layer.out_proj.weight.copy_(torch.eye(layer.embed_dim))
        layer.in_proj_bias.zero_()
        layer.out_proj.bias.zero_()
    return layer
