"""The conjunction of all rules of visibility, of arguments that are checked."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from attention_ref.spec.masks import Window
from attention_ref.torch._arrays import Array, device_of
from attention_ref.torch._band import band, inside


def conjunction(
    shape: Sequence[int],
    *,
    mask: Array | None,
    bias: Array | None,
    causal: bool,
    query_offset: Array,
    window: Window | None,
    key_lengths: Array | None,
) -> Array:
    """Return which keys each query may attend to, of arrays that are checked; arguments as in `visible_keys`."""
    query_length, key_length = shape[-2:]
    device = device_of(mask, bias, query_offset, key_lengths)
    rules = [torch.ones(shape, dtype=torch.bool, device=device)]
    if mask is not None:
        rules.append(mask)
    if bias is not None:
        rules.append(bias != -math.inf)
    if causal:
        rules.append(inside(band(True, query_offset, None), query_length, key_length, device))
    if window is not None:
        rules.append(inside(band(False, query_offset, window), query_length, key_length, device))
    if key_lengths is not None:
        rules.append(within_lengths(key_lengths, key_length))
    return functools.reduce(torch.logical_and, rules)


def within_lengths(key_lengths: Array, key_length: int) -> Array:
    """Return which keys are not padding: boolean `(b,1,1,k)`."""
    return torch.arange(key_length, device=key_lengths.device) < key_lengths.long()[..., None, None, None]
