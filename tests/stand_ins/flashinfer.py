"""Stand-ins for the functions and classes of FlashInfer 0.2."""

from __future__ import annotations

from typing import Any

from tests.stand_ins.reference import both, one, require_defaults


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


class BatchPrefillWithPagedKVCacheWrapper:
    """Plans first, then runs."""

    def __init__(self, float_workspace_buffer: Any, kv_layout: str = "NHD", use_cuda_graph: bool = False) -> None:
        require_defaults(graph=use_cuda_graph)
        assert kv_layout == "NHD"
        assert float_workspace_buffer.numel() >= 2**20

    def plan(
        self,
        qo_indptr: Any,
        paged_kv_indptr: Any,
        paged_kv_indices: Any,
        paged_kv_last_page_len: Any,
        num_qo_heads: int,
        num_kv_heads: int,
        head_dim_qk: int,
        page_size: int,
        head_dim_vo: int | None = None,
        custom_mask: Any = None,
        packed_custom_mask: Any = None,
        causal: bool = False,
        pos_encoding_mode: str = "NONE",
        use_fp16_qk_reduction: bool = False,
        sm_scale: float | None = None,
        window_left: int = -1,
        logits_soft_cap: float | None = None,
        rope_scale: float | None = None,
        rope_theta: float | None = None,
        q_data_type: Any = "float16",
        kv_data_type: Any = None,
        non_blocking: bool = True,
    ) -> None:
        require_defaults(mask=custom_mask, packed=packed_custom_mask, half=use_fp16_qk_reduction, value=head_dim_vo)
        require_defaults(rope=rope_scale, theta=rope_theta, blocking=not non_blocking)
        assert pos_encoding_mode == "NONE"
        assert len(paged_kv_indices) == int(paged_kv_indptr[-1])
        assert bool(((paged_kv_last_page_len >= 1) & (paged_kv_last_page_len <= page_size)).all())
        self.pages = (paged_kv_indptr, paged_kv_indices, paged_kv_last_page_len, page_size)
        self.starts = qo_indptr
        self.sizes = (num_qo_heads, num_kv_heads, head_dim_qk, q_data_type, kv_data_type)
        self.options = (causal, (window_left, -1), sm_scale, logits_soft_cap or 0.0)

    def run(self, q: Any, paged_kv_cache: Any) -> Any:
        import torch

        indptr, indices, last, size = self.pages
        key, value = paged_kv_cache
        assert self.sizes == (q.shape[1], key.shape[2], q.shape[2], q.dtype, key.dtype)
        rows = []
        for row, (a, b, first, end) in enumerate(zip(*both(self.starts), *both(indptr), strict=True)):
            pages, length = indices[first:end].long(), (end - first - 1) * size + int(last[row])
            k, v = (each[pages].flatten(0, 1)[:length] for each in (key, value))
            rows.append(one(q[a:b], k, v, *self.options))
        return torch.cat(rows)
