"""Stand-ins for the functions of flash-attn 2.7."""

from __future__ import annotations

from typing import Any

from tests.stand_ins.reference import both, one, require_defaults


def flash_attn_func(
    q: Any,
    k: Any,
    v: Any,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    import torch

    require_defaults(dropout=dropout_p, alibi=alibi_slopes, deterministic=deterministic, probs=return_attn_probs)
    rows = zip(q, k, v, strict=True)
    return torch.stack([one(*row, causal, window_size, softmax_scale, softcap) for row in rows])


def flash_attn_qkvpacked_func(
    qkv: Any,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    require_defaults(alibi=alibi_slopes, deterministic=deterministic, probs=return_attn_probs)
    return flash_attn_func(*qkv.unbind(2), dropout_p, softmax_scale, causal, window_size, softcap)


def flash_attn_varlen_func(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Any = None,
) -> Any:
    import torch

    require_defaults(dropout=dropout_p, alibi=alibi_slopes, deterministic=deterministic, probs=return_attn_probs)
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert (int(cu_seqlens_q.diff().max()), int(cu_seqlens_k.diff().max())) == (max_seqlen_q, max_seqlen_k)
    edges = (*(starts.tolist() for starts in (cu_seqlens_q[:-1], cu_seqlens_q[1:])), *both(cu_seqlens_k))
    options = (causal, window_size, softmax_scale, softcap)
    if block_table is not None:
        assert block_table.dtype == torch.int32
        assert k.shape[1] % 256 == 0
        rows = zip(*edges, block_table.long(), strict=True)
        parts = [(q[a:b], *(each[pages].flatten(0, 1)[: d - c] for each in (k, v))) for a, b, c, d, pages in rows]
        return torch.cat([one(*part, *options) for part in parts])
    return torch.cat([one(q[a:b], k[c:d], v[c:d], *options) for a, b, c, d in zip(*edges, strict=True)])


def flash_attn_varlen_qkvpacked_func(
    qkv: Any,
    cu_seqlens: Any,
    max_seqlen: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
) -> Any:
    require_defaults(alibi=alibi_slopes, deterministic=deterministic, probs=return_attn_probs)
    places = (cu_seqlens, cu_seqlens, max_seqlen, max_seqlen)
    return flash_attn_varlen_func(*qkv.unbind(1), *places, dropout_p, softmax_scale, causal, window_size, softcap)


def flash_attn_with_kvcache(
    q: Any,
    k_cache: Any,
    v_cache: Any,
    k: Any = None,
    v: Any = None,
    rotary_cos: Any = None,
    rotary_sin: Any = None,
    cache_seqlens: Any = None,
    cache_batch_idx: Any = None,
    cache_leftpad: Any = None,
    block_table: Any = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    rotary_interleaved: bool = True,
    alibi_slopes: Any = None,
    num_splits: int = 0,
    return_softmax_lse: bool = False,
) -> Any:
    import torch

    require_defaults(k=k, v=v, cos=rotary_cos, sin=rotary_sin, batch=cache_batch_idx, pad=cache_leftpad)
    require_defaults(alibi=alibi_slopes, splits=num_splits, lse=return_softmax_lse, interleaved=not rotary_interleaved)
    assert cache_seqlens.dtype == torch.int32
    rows = []
    for row, length in enumerate(cache_seqlens.tolist()):
        if block_table is None:
            key, value = k_cache[row, :length], v_cache[row, :length]
        else:
            assert block_table.dtype == torch.int32
            assert k_cache.shape[1] % 256 == 0
            key, value = (each[block_table[row].long()].flatten(0, 1)[:length] for each in (k_cache, v_cache))
        rows.append(one(q[row], key, value, causal, window_size, softmax_scale, softcap))
    return torch.stack(rows)
