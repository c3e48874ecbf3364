"""Wrappers of FlashInfer: requests one by one, and single or several queries of many requests on a paged cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attention_ref.conformance.errors import Unsupported

_WORKSPACE = 128 * 1024 * 1024
"""The bytes of memory that a plan may use, as FlashInfer's documentation has it."""


def single_prefill(
    query: Any,
    key: Any,
    value: Any,
    *,
    query_starts: Any,
    key_starts: Any,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    sm_scale: float | None = None,
    logits_soft_cap: float | None = None,
) -> Any:
    """`single_prefill_with_kv_cache` of every packed sequence; the log-sum-exp, in base two, is not asked for."""
    import torch
    from flashinfer import single_prefill_with_kv_cache

    options = {"sm_scale": sm_scale, "logits_soft_cap": logits_soft_cap, "window_left": _left(window, causal)}
    outputs = [
        single_prefill_with_kv_cache(*tensors, causal=causal, **options)
        for tensors in _requests(query, key, value, query_starts, key_starts)
    ]
    return torch.cat(outputs)


def single_decode(
    query: Any,
    key: Any,
    value: Any,
    *,
    query_starts: Any,
    key_starts: Any,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    sm_scale: float | None = None,
    logits_soft_cap: float | None = None,
) -> Any:
    """`single_decode_with_kv_cache` of every packed sequence; a single query sees all keys, causal or not."""
    import torch
    from flashinfer import single_decode_with_kv_cache

    if query_starts.diff().ne(1).any():
        raise Unsupported("several queries of a request")
    options = {"sm_scale": sm_scale, "logits_soft_cap": logits_soft_cap, "window_left": _left(window, causal)}
    requests = _requests(query, key, value, query_starts, key_starts)
    return torch.stack([single_decode_with_kv_cache(q[0], k, v, **options) for q, k, v in requests])


def batch_decode(
    query: Any,
    key: Any,
    value: Any,
    *,
    page_table: Any,
    key_lengths: Any,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    sm_scale: float | None = None,
    logits_soft_cap: float | None = None,
) -> Any:
    """`BatchDecodeWithPagedKVCacheWrapper` of queries `(b,1,h,d)` and pages `(pages,slots,g,d)`."""
    from flashinfer import BatchDecodeWithPagedKVCacheWrapper

    if query.shape[1] != 1:
        raise Unsupported("several queries of a request")
    wrapper = BatchDecodeWithPagedKVCacheWrapper(_workspace(query), "NHD")
    wrapper.plan(
        *_pages(key, page_table, key_lengths),
        query.shape[2],
        key.shape[2],
        query.shape[3],
        key.shape[1],
        pos_encoding_mode="NONE",
        window_left=_left(window, causal),
        logits_soft_cap=logits_soft_cap,
        q_data_type=query.dtype,
        kv_data_type=key.dtype,
        sm_scale=sm_scale,
    )
    return wrapper.run(query[:, 0].contiguous(), (key, value))[:, None]


def batch_prefill(
    query: Any,
    key: Any,
    value: Any,
    *,
    query_starts: Any,
    page_table: Any,
    key_lengths: Any,
    causal: bool = False,
    window: tuple[int, int] = (-1, -1),
    sm_scale: float | None = None,
    logits_soft_cap: float | None = None,
) -> Any:
    """`BatchPrefillWithPagedKVCacheWrapper` of packed queries `(n,h,d)` and pages `(pages,slots,g,d)`."""
    from flashinfer import BatchPrefillWithPagedKVCacheWrapper

    if query_starts.diff().min() < 1:
        raise Unsupported("a request without queries")
    wrapper = BatchPrefillWithPagedKVCacheWrapper(_workspace(query), "NHD")
    wrapper.plan(
        query_starts,
        *_pages(key, page_table, key_lengths),
        query.shape[1],
        key.shape[2],
        query.shape[2],
        key.shape[1],
        causal=causal,
        pos_encoding_mode="NONE",
        sm_scale=sm_scale,
        window_left=_left(window, causal),
        logits_soft_cap=logits_soft_cap,
        q_data_type=query.dtype,
        kv_data_type=key.dtype,
    )
    return wrapper.run(query.contiguous(), (key, value))


def _workspace(query: Any) -> Any:
    import torch

    return torch.empty(_WORKSPACE, dtype=torch.uint8, device=query.device)


def _pages(key: Any, page_table: Any, key_lengths: Any) -> tuple[Any, Any, Any]:
    """Return where the pages of each request begin, the pages, and how many keys the last page of each has."""
    import torch

    size = key.shape[1]
    counts = -(-key_lengths // size)
    if counts.min() < 1:
        raise Unsupported("a request without keys")
    rows = zip(page_table, counts.tolist(), strict=True)
    return (
        torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int(),
        torch.cat([pages[:count] for pages, count in rows]).int(),
        (key_lengths - (counts - 1) * size).int(),
    )


def _left(window: tuple[int, int], causal: bool) -> int:
    """Return the left side of a window that has no other."""
    left, right = window
    if left >= 0 and not causal:
        raise Unsupported("a window without causality")
    if right > 0 or (right == 0 and not causal):
        raise Unsupported("its window has no right side")
    return left


def _requests(query: Any, key: Any, value: Any, query_starts: Any, key_starts: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Return query, key and value of every sequence."""
    edges = (starts.tolist() for starts in (query_starts[:-1], query_starts[1:], key_starts[:-1], key_starts[1:]))
    for first, last, start, end in zip(*edges, strict=True):
        if first == last or start == end:
            raise Unsupported("a request without queries or keys")
        yield query[first:last], key[start:end], value[start:end]
