"""Wrappers of PyTorch's functions: causal_lower_right, the backend MATH, and the callbacks of flex_attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from attention_ref.conformance.errors import Unsupported


def lower_right(query: Any, key: Any, value: Any, *, is_causal: bool = False, **options: Any) -> Any:
    """`scaled_dot_product_attention` with `causal_lower_right`, the causal mask aligned at the bottom right."""
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    if is_causal and "attn_mask" in options:
        raise Unsupported("causal_lower_right is a mask itself")
    if is_causal:
        options["attn_mask"] = causal_lower_right(query.shape[-2], key.shape[-2])
    return scaled_dot_product_attention(query, key, value, **options)


def math(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """`scaled_dot_product_attention` with the backend MATH: separate operations instead of a fused kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    with sdpa_kernel(SDPBackend.MATH):
        return scaled_dot_product_attention(query, key, value, **options)


def flash(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """`scaled_dot_product_attention` with the backend FLASH_ATTENTION; what it does not take is unsupported."""
    from torch.nn.attention import SDPBackend

    return _by(SDPBackend.FLASH_ATTENTION, query, key, value, **options)


def efficient(query: Any, key: Any, value: Any, **options: Any) -> Any:
    """`scaled_dot_product_attention` with the backend EFFICIENT_ATTENTION, which the CPU lacks."""
    from torch.nn.attention import SDPBackend

    return _by(SDPBackend.EFFICIENT_ATTENTION, query, key, value, **options)


def _by(backend: Any, query: Any, key: Any, value: Any, **options: Any) -> Any:
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    try:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(query, key, value, **options)
    except RuntimeError as error:
        if "No available kernel" in str(error) or "No viable backend" in str(error):
            raise Unsupported(f"the backend {backend.name} does not take it") from error
        raise


def flex(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_log_sum_exp: bool = False,
) -> Any:
    """`flex_attention`: mask, causality, window and lengths are a `mask_mod` each; softcap and bias one `score_mod`."""
    from torch.nn.attention import flex_attention as flex

    shape = (*query.shape[:3], key.shape[-2])
    offset, lengths = (_of_rows(number, shape[0]) for number in (query_offset, key_lengths))
    mods = _mask_mods(mask, causal, offset, window, lengths)
    if shape[2] == 0 and (mods or return_log_sum_exp):
        raise Unsupported("no queries with a mask or log-sum-exp, if it is not compiled")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        output, auxiliary = flex.flex_attention(
            query,
            key,
            value,
            score_mod=None if softcap is None and bias is None else _score_mod(softcap, bias),
            block_mask=flex.create_block_mask(flex.and_masks(*mods), *shape, device=query.device) if mods else None,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
            return_aux=flex.AuxRequest(lse=True),
        )
    return (output, auxiliary.lse) if return_log_sum_exp else output


def _of_rows(number: Any, batch: int) -> Any:
    import torch

    return None if number is None else torch.as_tensor(number).expand(batch)


def _mask_mods(mask: Any, causal: bool, offset: Any, window: Any, lengths: Any) -> list[Callable[..., Any]]:
    left, right = window or (None, None)
    mods: list[Callable[..., Any]] = []
    if mask is not None:
        mods.append(lambda b, h, i, j: mask[b, h, i, j])
    if causal:
        mods.append(lambda b, h, i, j: j <= i + offset[b])
    if left is not None:
        mods.append(lambda b, h, i, j: j >= i + offset[b] - left)
    if right is not None:
        mods.append(lambda b, h, i, j: j <= i + offset[b] + right)
    if lengths is not None:
        mods.append(lambda b, h, i, j: j < lengths[b])
    return mods


def _score_mod(softcap: float | None, bias: Any) -> Callable[..., Any]:
    import torch

    def score_mod(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        score = score if softcap is None else softcap * torch.tanh(score / softcap)
        return score if bias is None else score + bias[b, h, i, j]

    return score_mod
