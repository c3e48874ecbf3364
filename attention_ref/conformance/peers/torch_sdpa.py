"""PyTorch's `scaled_dot_product_attention`."""

from __future__ import annotations

from typing import Any

from attention_ref.conformance.subject import Unsupported

ARRAYS = "torch"


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    scale: float | None = None,
) -> Any:
    """A mask and a bias together are one float mask; a causal mask of its own goes with neither, as documented."""
    from torch.nn.functional import scaled_dot_product_attention

    attend = mask if bias is None else bias
    if mask is not None and bias is not None:
        attend = bias.where(mask, -float("inf"))
    if attend is not None and attend.ndim < 2:
        raise Unsupported("a mask of less than two axes: IndexError on the CPU")
    if causal and attend is not None:
        raise Unsupported("is_causal and attn_mask exclude each other")
    is_aligned = isinstance(query_offset, int) and query_offset == 0
    if causal and not is_aligned:
        attend = _lower_right(query_offset, query.shape[-2], key.shape[-2])
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attend,
        is_causal=causal and is_aligned,
        scale=scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
    )


def _lower_right(query_offset: Any, query_length: int, key_length: int) -> Any:
    from torch.nn.attention.bias import causal_lower_right

    if not isinstance(query_offset, int) or query_offset != key_length - query_length:
        raise Unsupported("a causal mask is aligned at the upper left (offset 0) or the lower right (offset k - q)")
    if query_offset < 0:
        raise Unsupported("causal_lower_right warns of NaN where q > k")
    return causal_lower_right(query_length, key_length)
