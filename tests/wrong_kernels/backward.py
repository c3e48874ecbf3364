"""Right backward passes, as kernel authors write them: weights computed again from a log-sum-exp, tile by tile."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.wrong_kernels.right import accumulator, in_float64, online, two_pass

ROWS, KEYS = 64, 64


def recomputing(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    cotangent: np.ndarray,
    causal: bool = False,
    query_offset: Any = 0,
    window: Any = None,
    key_lengths: Any = None,
    sinks: Any = None,
    softcap: float | None = None,
) -> dict[str, np.ndarray]:
    """The gradients of `online`: the weights are `exp(s - lse)`, and `D = g . output`."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    scale = dtype(1 / math.sqrt(size))
    left, right = window or (None, None)
    offsets = np.broadcast_to(query_offset, batch)
    lengths = np.broadcast_to(keys if key_lengths is None else key_lengths, batch)
    dq, dk, dv = (np.zeros(each.shape, dtype) for each in (query, key, value))
    dsink = np.zeros(heads, dtype)
    for b, h in np.ndindex(batch, heads):
        g, offset, length = h // (heads // groups), int(offsets[b]), int(lengths[b])
        for start in range(0, queries, ROWS):
            place = np.arange(start, min(start + ROWS, queries))
            rows = place[:, None] + offset
            q, go = query[b, h, place].astype(dtype), cotangent[b, h, place].astype(dtype)
            last = min(length, int(rows[-1, 0]) + 1) if causal else length
            tiles = [(low, min(low + KEYS, length)) for low in range(0, last, KEYS)]

            def scores(low: int, high: int, q: Any = q, rows: Any = rows, b: int = b, g: int = g) -> Any:
                columns = np.arange(low, high)
                raw = q @ key[b, g, low:high].astype(dtype).T * scale
                slope = np.ones_like(raw)
                if softcap is not None:
                    bounded = np.tanh(raw / dtype(softcap))
                    raw, slope = dtype(softcap) * bounded, 1 - bounded**2
                seen = columns <= rows if causal else np.ones(raw.shape, bool)
                if left is not None:
                    seen = seen & (rows - columns <= left)
                if right is not None:
                    seen = seen & (columns - rows <= right)
                return np.where(seen, raw, -np.inf), slope

            s = np.concatenate([scores(*tile)[0] for tile in tiles], axis=1)
            v = value[b, g, : tiles[-1][1]].astype(dtype)
            sink = -np.inf if sinks is None else dtype(sinks[h])
            m = np.maximum(s.max(axis=1, keepdims=True), sink)
            total = np.exp(s - m).sum(axis=1, keepdims=True) + np.exp(sink - m)
            lse = m + np.log(total)
            output = np.exp(s - m) @ v / total
            D = (go * output.astype(query.dtype).astype(dtype)).sum(axis=1, keepdims=True)
            for low, high in tiles:
                s, slope = scores(low, high)
                P = np.exp(s - lse)
                dP = go @ value[b, g, low:high].astype(dtype).T
                dS = P * (dP - D) * slope
                dq[b, h, place] += dS @ key[b, g, low:high].astype(dtype) * scale
                dk[b, g, low:high] += dS.T @ q * scale
                dv[b, g, low:high] += P.T @ go
            if sinks is not None:
                dsink[h] -= (np.exp(sink - lse) * D).sum()
    found = {"query": dq, "key": dk, "value": dv} | ({} if sinks is None else {"sinks": dsink})
    return {name: gradient.astype(query.dtype) for name, gradient in found.items()}


def whole(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    cotangent: np.ndarray,
    scale: float | None = None,
    mask: Any = None,
    bias: Any = None,
) -> dict[str, np.ndarray]:
    """The gradients of `two_pass`: all weights in memory, with the sum `D` of the weights times their gradients."""
    batch, heads, _, size = query.shape
    groups, dtype = key.shape[1], accumulator(query)
    factor = dtype(1 / math.sqrt(size) if scale is None else scale)
    q, g = query.astype(dtype), cotangent.astype(dtype)
    k, v = (np.repeat(each, heads // groups, 1).astype(dtype) for each in (key, value))
    s = factor * (q @ k.swapaxes(-1, -2)) + (0 if bias is None else bias.astype(dtype))
    if mask is not None:
        s = np.where(mask, s, -np.inf)
    P = np.exp(s - s.max(axis=-1, keepdims=True))
    P = P / P.sum(axis=-1, keepdims=True)
    dP = g @ v.swapaxes(-1, -2)
    dS = P * (dP - (P * dP).sum(axis=-1, keepdims=True))

    def grouped(gradient: np.ndarray) -> np.ndarray:
        return gradient.reshape(batch, groups, heads // groups, *gradient.shape[2:]).sum(axis=2)

    found = {"query": factor * (dS @ k), "key": grouped(factor * (dS.swapaxes(-1, -2) @ q))}
    found["value"] = grouped(P.swapaxes(-1, -2) @ g)
    if bias is not None:
        axes = (1,) * (4 - bias.ndim) + bias.shape
        repeated = tuple(axis for axis, length in enumerate(axes) if length == 1)
        found["bias"] = dS.sum(axis=repeated, keepdims=True).reshape(bias.shape)
    return {name: gradient.astype(query.dtype) for name, gradient in found.items()}


def without_weights(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, *, cotangent: np.ndarray, causal: bool = False
) -> dict[str, np.ndarray]:
    """The gradients of `in_float64`, one key after the other, as in a kernel with a thread for each key."""
    repeats = query.shape[1] // key.shape[1]
    q, g = query.astype(float), cotangent.astype(float)
    k, v = (np.repeat(each, repeats, 1).astype(float) for each in (key, value))
    s = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    lse = np.log(np.exp(s - s.max(axis=-1, keepdims=True)).sum(axis=-1)) + s.max(axis=-1)
    D = (g * (np.exp(s - lse[..., None]) @ v)).sum(axis=-1)
    dq, dk, dv = np.zeros(q.shape), np.zeros(key.shape), np.zeros(value.shape)
    for j in range(key.shape[2]):
        P = np.exp(s[..., j] - lse)
        dS = P * ((g * v[:, :, None, j]).sum(axis=-1) - D) / math.sqrt(q.shape[-1])
        dq += dS[..., None] * k[:, :, None, j]
        for h in range(query.shape[1]):
            dk[:, h // repeats, j] += (dS[:, h, :, None] * q[:, h]).sum(axis=1)
            dv[:, h // repeats, j] += (P[:, h, :, None] * g[:, h]).sum(axis=1)
    return {name: each.astype(query.dtype) for name, each in (("query", dq), ("key", dk), ("value", dv))}


FORWARD = {recomputing: online, whole: two_pass, without_weights: in_float64}
"""Every backward pass with the kernel of which it returns the gradients."""
