"""Stand-ins for libraries that need a GPU: their functions with their exact signatures, computed by PyTorch's SDPA.

The signatures are those of flash-attn 2.7, xformers 0.0.30 and FlashInfer 0.2, with the arguments that nobody passes.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

_NOT_CALLED = "the stand-in is not written for this argument"


def one(
    query: Any, key: Any, value: Any, causal: bool, window: tuple[int, int], scale: float | None, softcap: float
) -> Any:
    """Attention of one sequence, `(q,h,d)` and `(k,g,d)`, aligned at the bottom right and computed in float32."""
    import torch

    heads, queries, keys = query.shape[1], len(query), len(key)
    places = torch.arange(queries)[:, None] + keys - queries
    columns, (left, right) = torch.arange(keys), window
    visible = torch.ones(queries, keys, dtype=torch.bool)
    visible &= (columns <= places) if causal else visible
    visible &= (columns >= places - left) if left >= 0 else visible
    visible &= (columns <= places + right) if right >= 0 else visible
    q, k, v = (each.float().transpose(0, 1) for each in (query, key, value))
    k, v = (each.repeat_interleave(heads // len(each), 0) for each in (k, v))
    scores = q @ k.transpose(1, 2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    weights = torch.softmax(scores.masked_fill(~visible, -torch.inf), -1).nan_to_num(0.0)
    return (weights @ v).transpose(0, 1).to(query.dtype)


def require_defaults(**given: Any) -> None:
    """Fail for an argument that is neither None, nor 0, nor False."""
    assert not [name for name, value in given.items() if value], _NOT_CALLED


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
    require_defaults(block_table=block_table)
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert (int(cu_seqlens_q.diff().max()), int(cu_seqlens_k.diff().max())) == (max_seqlen_q, max_seqlen_k)
    edges = (*(starts.tolist() for starts in (cu_seqlens_q[:-1], cu_seqlens_q[1:])), *both(cu_seqlens_k))
    options = (causal, window_size, softmax_scale, softcap)
    return torch.cat([one(q[a:b], k[c:d], v[c:d], *options) for a, b, c, d in zip(*edges, strict=True)])


def both(starts: Any) -> tuple[list[int], list[int]]:
    """Return where sequences begin and end."""
    return starts[:-1].tolist(), starts[1:].tolist()


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


class LowerTriangularFromBottomRightMask:
    """Causality at the bottom right."""


class BlockDiagonalMask:
    """Sequences one after the other."""

    def __init__(self, q_seqlen: list[int], kv_seqlen: list[int], causal: bool = False) -> None:
        self.q_seqlen, self.kv_seqlen, self.causal = q_seqlen, kv_seqlen, causal

    @classmethod
    def from_seqlens(cls, q_seqlen: Any, kv_seqlen: Any = None, *, device: Any = None) -> BlockDiagonalMask:
        del device
        return cls(list(q_seqlen), list(q_seqlen if kv_seqlen is None else kv_seqlen))

    def make_causal_from_bottomright(self) -> BlockDiagonalMask:
        return BlockDiagonalMask(self.q_seqlen, self.kv_seqlen, causal=True)


def memory_efficient_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_bias: Any = None,
    p: float = 0.0,
    scale: float | None = None,
    *,
    op: Any = None,
    output_dtype: Any = None,
) -> Any:
    import torch

    require_defaults(p=p, op=op, output_dtype=output_dtype)
    if query.ndim == 5:
        assert query.shape[2:4] == key.shape[2:4]
        shape = query.shape
        key, value = (each[:, :, :, 0] for each in (key, value))
        return memory_efficient_attention(query.flatten(2, 3), key, value, attn_bias, scale=scale).reshape(shape)
    if isinstance(attn_bias, torch.Tensor):
        tensors = (each.float().transpose(1, 2) for each in (query, key, value))
        output = torch.nn.functional.scaled_dot_product_attention(*tensors, attn_mask=attn_bias.float(), scale=scale)
        return output.transpose(1, 2).to(query.dtype)
    if isinstance(attn_bias, BlockDiagonalMask):
        parts = ([*query[0].split(attn_bias.q_seqlen)], *([*e[0].split(attn_bias.kv_seqlen)] for e in (key, value)))
        rows = zip(*parts, strict=True)
        return torch.cat([one(*row, attn_bias.causal, (-1, -1), scale, 0.0) for row in rows])[None]
    causal = isinstance(attn_bias, LowerTriangularFromBottomRightMask)
    return torch.stack([one(*row, causal, (-1, -1), scale, 0.0) for row in zip(query, key, value, strict=True)])


def single_prefill_with_kv_cache(
    q: Any,
    k: Any,
    v: Any,
    scale_q: Any = None,
    scale_k: Any = None,
    scale_v: Any = None,
    o_dtype: Any = None,
    custom_mask: Any = None,
    packed_custom_mask: Any = None,
    causal: bool = False,
    kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE",
    use_fp16_qk_reduction: bool = False,
    sm_scale: float | None = None,
    window_left: int = -1,
    logits_soft_cap: float | None = None,
    rope_scale: float | None = None,
    rope_theta: float | None = None,
    backend: str = "auto",
    return_lse: bool = False,
) -> Any:
    require_defaults(scales=[each for each in (scale_q, scale_k, scale_v, o_dtype) if each is not None])
    require_defaults(mask=custom_mask, packed=packed_custom_mask, half=use_fp16_qk_reduction, lse=return_lse)
    require_defaults(rope=rope_scale, theta=rope_theta)
    assert (kv_layout, pos_encoding_mode, backend) == ("NHD", "NONE", "auto")
    return one(q, k, v, causal, (window_left, -1), sm_scale, logits_soft_cap or 0.0)


def single_decode_with_kv_cache(
    q: Any,
    k: Any,
    v: Any,
    kv_layout: str = "NHD",
    pos_encoding_mode: str = "NONE",
    use_tensor_cores: bool = False,
    q_scale: float | None = None,
    k_scale: float | None = None,
    v_scale: float | None = None,
    window_left: int = -1,
    logits_soft_cap: float | None = None,
    sm_scale: float | None = None,
    rope_scale: float | None = None,
    rope_theta: float | None = None,
    return_lse: bool = False,
) -> Any:
    require_defaults(cores=use_tensor_cores, q=q_scale, k=k_scale, v=v_scale, lse=return_lse)
    require_defaults(rope=rope_scale, theta=rope_theta)
    assert (kv_layout, pos_encoding_mode) == ("NHD", "NONE")
    return one(q[None], k, v, False, (window_left, -1), sm_scale, logits_soft_cap or 0.0)[0]


class BatchDecodeWithPagedKVCacheWrapper:
    """Plans first, then runs."""

    def __init__(self, float_workspace_buffer: Any, kv_layout: str = "NHD", use_cuda_graph: bool = False) -> None:
        require_defaults(graph=use_cuda_graph)
        assert kv_layout == "NHD"
        assert float_workspace_buffer.numel() >= 2**20

    def plan(
        self,
        indptr: Any,
        indices: Any,
        last_page_len: Any,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim: int,
        page_size: int,
        pos_encoding_mode: str = "NONE",
        window_left: int = -1,
        logits_soft_cap: float | None = None,
        q_data_type: Any = "float16",
        kv_data_type: Any = None,
        data_type: Any = None,
        sm_scale: float | None = None,
        rope_scale: float | None = None,
        rope_theta: float | None = None,
    ) -> None:
        require_defaults(data_type=data_type, rope=rope_scale, theta=rope_theta)
        assert pos_encoding_mode == "NONE"
        assert len(indices) == int(indptr[-1])
        assert bool(((last_page_len >= 1) & (last_page_len <= page_size)).all())
        self.pages = (indptr, indices, last_page_len, page_size)
        self.sizes = (num_qo_heads, num_kv_heads, head_dim, q_data_type, kv_data_type)
        self.options = ((window_left, -1), sm_scale, logits_soft_cap or 0.0)

    def run(self, q: Any, paged_kv_cache: Any) -> Any:
        import torch

        indptr, indices, last, size = self.pages
        key, value = paged_kv_cache
        assert self.sizes == (q.shape[1], key.shape[2], q.shape[2], q.dtype, key.dtype)
        rows = []
        for row, (first, end) in enumerate(zip(*both(indptr), strict=True)):
            pages, length = indices[first:end].long(), (end - first - 1) * size + int(last[row])
            k, v = (each[pages].flatten(0, 1)[:length] for each in (key, value))
            rows.append(one(q[row][None], k, v, False, *self.options)[0])
        return torch.stack(rows)


_MODULES: dict[str, tuple[Any, ...]] = {
    "flash_attn": (flash_attn_func, flash_attn_qkvpacked_func, flash_attn_varlen_func, flash_attn_with_kvcache),
    "xformers": (),
    "xformers.ops": (memory_efficient_attention,),
    "xformers.ops.fmha": (),
    "xformers.ops.fmha.attn_bias": (LowerTriangularFromBottomRightMask, BlockDiagonalMask),
    "flashinfer": (
        single_prefill_with_kv_cache,
        single_decode_with_kv_cache,
        BatchDecodeWithPagedKVCacheWrapper,
    ),
}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-ins be imported under the libraries' names."""
    for name, members in _MODULES.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        for member in members:
            setattr(module, member.__name__, member)
        monkeypatch.setitem(sys.modules, name, module)
