"""PyTorch's attention of packed sequences: nested tensors, `varlen_attn`, flex_attention with a mask of documents."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from attention_ref.conformance.errors import Unsupported


def nested(query: Any, key: Any, value: Any, *, query_starts: Any, key_starts: Any, scale: float | None = None) -> Any:
    """`scaled_dot_product_attention` of nested tensors; with `is_causal` no backend takes them on the CPU."""
    from torch.nested import nested_tensor_from_jagged
    from torch.nn.functional import scaled_dot_product_attention

    if not len(query) or not len(key):
        raise Unsupported("no queries or no keys")
    starts = (query_starts, key_starts, key_starts)
    tensors = [
        nested_tensor_from_jagged(tokens.contiguous(), places.long()).transpose(1, 2)  # (b,h,*,d)
        for tokens, places in zip((query, key, value), starts, strict=True)
    ]
    return scaled_dot_product_attention(*tensors, scale=scale).transpose(1, 2).values()


def variable_lengths(
    query: Any,
    key: Any,
    value: Any,
    *,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """`torch.nn.attention.varlen.varlen_attn`, where causality is a window without a right side."""
    from torch.nn.attention.varlen import varlen_attn

    if not query.is_cuda:
        raise Unsupported("it needs a GPU")
    left, right = window_size
    return varlen_attn(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        scale=scale,
        window_size=(left, 0 if causal else right),
        enable_gqa=enable_gqa,
    )


def documents(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """`flex_attention`, not compiled, on all sequences at once, each a document that sees nothing of the others."""
    from torch.nn.attention.flex_attention import flex_attention

    return _flex(flex_attention, query, key, value, **options)


def compiled_documents(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """The same with `flex_attention` compiled by `torch.compile`, which needs a compiler of C++.

    It is compiled for every shape: for sizes that are left open PyTorch 2.13 writes C++ that no compiler takes.
    """
    return _flex(_compiled(), query, key, value, **options)


@cache
def _compiled() -> Callable[..., Any]:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


def _flex(
    attend: Callable[..., Any],
    query: Any,
    key: Any,
    value: Any,
    *,
    query_starts: Any,
    key_starts: Any,
    causal: bool = False,
    query_offset: Any = None,
    scale: float | None = None,
) -> Any:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask

    if not len(query) or not len(key):
        raise Unsupported("no queries or no keys")
    rows, columns = (_documents(starts) for starts in (query_starts, key_starts))
    places = torch.arange(len(query), device=query.device) - query_starts[rows]
    places = places if query_offset is None else places + query_offset[rows]
    key_places = torch.arange(len(key), device=key.device) - key_starts[columns]

    def same(_b: Any, _h: Any, i: Any, j: Any) -> Any:
        return rows[i] == columns[j]

    def before(_b: Any, _h: Any, i: Any, j: Any) -> Any:
        return (rows[i] == columns[j]) & (key_places[j] <= places[i])

    mask = create_block_mask(before if causal else same, None, None, len(query), len(key), device=query.device)
    tensors = (tokens.transpose(0, 1)[None] for tokens in (query, key, value))  # (1,h,n,d)
    output = attend(*tensors, block_mask=mask, scale=scale, enable_gqa=query.shape[1] != key.shape[1])
    return output[0].transpose(0, 1)


def _documents(starts: Any) -> Any:
    """Return the number of the sequence of each token."""
    import torch

    return torch.repeat_interleave(torch.arange(len(starts) - 1, device=starts.device), starts.diff())
