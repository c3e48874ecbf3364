"""Wrappers of `xformers.ops.memory_efficient_attention`, which takes causality and sequences as an object."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.errors import Unsupported


def memory_efficient(
    query: Any, key: Any, value: Any, *, attn_bias: Any = None, causal: bool = False, scale: float | None = None
) -> Any:
    """`memory_efficient_attention` of `(b,n,h,d)`, or of `(b,n,g,h/g,d)` where several heads share keys."""
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import LowerTriangularFromBottomRightMask

    if causal and attn_bias is not None:
        raise Unsupported("a bias and causality exclude each other")
    heads, groups = query.shape[2], key.shape[2]
    if heads != groups and attn_bias is not None:
        raise Unsupported("a bias of heads that share keys")
    bias = LowerTriangularFromBottomRightMask() if causal else attn_bias
    if heads == groups:
        return memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale)
    return _grouped(memory_efficient_attention, query, key, value, attn_bias=bias, scale=scale)


def packed(
    query: Any,
    key: Any,
    value: Any,
    *,
    query_starts: Any,
    key_starts: Any,
    causal: bool = False,
    scale: float | None = None,
) -> Any:
    """`memory_efficient_attention` of packed sequences `(1,n,h,d)` with a `BlockDiagonalMask`."""
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask

    bias = BlockDiagonalMask.from_seqlens(*(starts.diff().tolist() for starts in (query_starts, key_starts)))
    bias = bias.make_causal_from_bottomright() if causal else bias
    tensors = query[None], key[None], value[None]
    if query.shape[1] == key.shape[1]:
        return memory_efficient_attention(*tensors, attn_bias=bias, scale=scale)[0]
    return _grouped(memory_efficient_attention, *tensors, attn_bias=bias, scale=scale)[0]


def _grouped(attend: Any, query: Any, key: Any, value: Any, **options: Any) -> Any:
    """Call with an axis of groups, along whose heads keys and values are repeated without a copy."""
    groups = key.shape[2]
    query = query.unflatten(2, (groups, -1))  # (b,n,g,h/g,d)
    each = query.shape[3]
    key, value = (array[:, :, :, None].expand(-1, -1, -1, each, -1) for array in (key, value))
    return attend(query, key, value, **options).flatten(2, 3)
