"""Attention in a compiled function: one operation of PyTorch, which chooses its path when it runs.

A compiler cannot choose by what the numbers are: its conditional rejects tensors that share memory and unknown sizes.
So a graph has the whole call as one operation, `attention_ref::attention`. It has no gradients: in a compiled function
calls that need them, and those of an exported program, which runs without this library, are the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from attention_ref.torch._arrays import Array, Arrays

_when_it_runs: dict[str, Callable[..., Any]] = {}


def when_it_runs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register the function that the operation calls when a graph runs; a decorator, since that function calls this."""
    _when_it_runs["attention"] = function
    return function


def attention(arrays: Arrays, options: Mapping[str, Any]) -> list[Array]:
    """Compute a checked call of attention; arguments and results as in `fused.attention`."""
    offset, (left, right) = arrays["query_offset"], options["window"] or (None, None)
    is_array, scale, softcap = isinstance(offset, Array), options["scale"], options["softcap"]
    names = ("query", "key", "value", "mask", "bias", "sinks", "dropout_mask", "key_lengths")
    return _attention(
        *(arrays[name] for name in names),
        offset if is_array else None,
        0 if is_array else offset,
        options["causal"],
        left,
        right,
        None if scale is None else float(scale),
        None if softcap is None else float(softcap),
        float(options["dropout"]),
        options["return_log_sum_exp"],
    )


@torch.library.custom_op("attention_ref::attention", mutates_args=())
def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    bias: torch.Tensor | None,
    sinks: torch.Tensor | None,
    dropout_mask: torch.Tensor | None,
    key_lengths: torch.Tensor | None,
    offsets: torch.Tensor | None,
    offset: int,
    causal: bool,
    left: int | None,
    right: int | None,
    scale: float | None,
    softcap: float | None,
    dropout: float,
    return_log_sum_exp: bool,
) -> list[torch.Tensor]:
    results = _when_it_runs["attention"](
        query,
        key,
        value,
        mask=mask,
        bias=bias,
        causal=causal,
        query_offset=offset if offsets is None else offsets,
        window=None if left is None and right is None else (left, right),
        key_lengths=key_lengths,
        scale=scale,
        softcap=softcap,
        sinks=sinks,
        dropout=dropout,
        dropout_mask=dropout_mask,
        return_log_sum_exp=return_log_sum_exp,
    )
    return [result.contiguous() for result in (results if return_log_sum_exp else (results,))]


@_attention.register_fake
def _shapes(query: Array, key: Array, value: Array, *others: Any) -> list[Array]:  # noqa: ARG001
    is_narrow, return_log_sum_exp = query.dtype in (torch.float16, torch.bfloat16), others[-1]
    results = [query.new_empty((*query.shape[:-1], value.shape[-1]))]  # (b,h,q,v)
    if return_log_sum_exp:
        results.append(query.new_empty(query.shape[:-1], dtype=torch.float32 if is_narrow else query.dtype))  # (b,h,q)
    return results


@_attention.register_vmap
def _row_by_row(info: Any, axes: tuple[int | None, ...], *arguments: Any) -> tuple[list[Array], list[int]]:
    """Call the operation once for each element of the mapped axis."""
    rows = []
    for index in range(info.batch_size):
        pairs = zip(arguments, axes, strict=True)
        rows.append(_attention(*(item if axis is None else item.select(axis, index) for item, axis in pairs)))
    results = [torch.stack(parts) for parts in zip(*rows, strict=True)]
    return results, [0] * len(results)
