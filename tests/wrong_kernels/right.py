"""Right kernels, each in a style of its own, as kernel authors write them: tiles, running sums, combined parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ROWS, KEYS, PART = 64, 64, 96


def accumulator(array: np.ndarray) -> Any:
    """Return the dtype in which a kernel computes."""
    return np.float64 if array.dtype == np.float64 else np.float32


def online(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    query_offset: Any = 0,
    window: Any = None,
    key_lengths: Any = None,
    sinks: Any = None,
    softcap: float | None = None,
) -> np.ndarray:
    """One pass over tiles of keys with a running maximum and running sums."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    scale = 1 / math.sqrt(size)
    left, right = window or (None, None)
    offsets = np.broadcast_to(query_offset, batch)
    lengths = np.broadcast_to(keys if key_lengths is None else key_lengths, batch)
    output = np.zeros((batch, heads, queries, value.shape[-1]), query.dtype)
    for b, h in np.ndindex(batch, heads):
        g = h // (heads // groups)
        offset, length = int(offsets[b]), int(lengths[b])
        for start in range(0, queries, ROWS):
            rows = np.arange(start, min(start + ROWS, queries)) + offset
            q = query[b, h, start : start + ROWS].astype(dtype)
            m = np.full(len(rows), -np.inf if sinks is None else sinks[h], dtype)
            total = np.zeros(len(rows), dtype) if sinks is None else np.ones(len(rows), dtype)
            summed = np.zeros((len(rows), value.shape[-1]), dtype)
            last = min(length, rows[-1] + 1) if causal else length
            first = max(0, rows[0] - left) // KEYS * KEYS if left is not None else 0
            for low in range(first, last, KEYS):
                high = min(low + KEYS, length)
                columns = np.arange(low, high)
                s = q @ key[b, g, low:high].astype(dtype).T * scale
                if softcap is not None:
                    s = softcap * np.tanh(s / softcap)
                if causal and high > rows[0]:
                    s = np.where(columns <= rows[:, None], s, -np.inf)
                if left is not None:
                    s = np.where(rows[:, None] - columns <= left, s, -np.inf)
                if right is not None:
                    s = np.where(columns - rows[:, None] <= right, s, -np.inf)
                new = np.maximum(m, s.max(axis=1))
                shift = np.where(np.isinf(new), 0, new).astype(dtype)
                p = np.exp(s - shift[:, None])
                rescale = np.exp(m - shift)
                total = total * rescale + p.sum(axis=1)
                summed = summed * rescale[:, None] + p @ value[b, g, low:high].astype(dtype)
                m = new
            output[b, h, start : start + ROWS] = summed / total[:, None]
    return output


def split_keys(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    query_offset: Any = 0,
    key_lengths: Any = None,
) -> np.ndarray:
    """Parts of the keys on their own, combined by their log-sum-exp, as in decoding against a long cache."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    offsets = np.broadcast_to(query_offset, batch)
    lengths = np.broadcast_to(keys if key_lengths is None else key_lengths, batch)
    output = np.empty((batch, heads, queries, value.shape[-1]), query.dtype)
    for b, h in np.ndindex(batch, heads):
        g, length = h // (heads // groups), int(lengths[b])
        rows = np.arange(queries)[:, None] + offsets[b]
        outputs, lses = [], []
        for low in range(0, length, PART):
            high = min(low + PART, length)
            s = query[b, h].astype(dtype) @ key[b, g, low:high].astype(dtype).T / dtype(math.sqrt(size))
            if causal:
                s = np.where(np.arange(low, high) <= rows, s, -np.inf)
            m = s.max(axis=1, keepdims=True)
            m = np.where(np.isinf(m), 0, m).astype(dtype)
            p = np.exp(s - m)
            total = p.sum(axis=1, keepdims=True)
            outputs.append(p @ value[b, g, low:high].astype(dtype) / np.where(total == 0, 1, total).astype(dtype))
            with np.errstate(divide="ignore"):
                lses.append(m + np.log(total))
        shares = np.exp(np.array(lses) - np.max(lses, axis=0))
        shares /= shares.sum(axis=0)
        output[b, h] = (shares * np.array(outputs)).sum(axis=0)
    return output


def two_pass(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    scale: float | None = None,
    mask: Any = None,
    bias: Any = None,
    return_log_sum_exp: bool = False,
) -> Any:
    """First the log-sum-exp of every row, then the weights again, tile by tile, with all heads at once."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    scale = 1 / math.sqrt(size) if scale is None else scale
    q = query.astype(dtype).reshape(batch, groups, heads // groups, queries, size)
    hidden = np.zeros((1, 1, 1, 1), dtype) if bias is None else bias.astype(dtype)
    if mask is not None:
        hidden = np.where(mask, hidden, -np.inf).astype(dtype)
    hidden = np.broadcast_to(hidden, (batch, heads, queries, keys)).reshape(batch, groups, -1, queries, keys)

    def scores(low: int) -> np.ndarray:
        tile = key[:, :, None, low : low + KEYS].astype(dtype)
        return (
            np.einsum("bgrqd,bgrkd->bgrqk", q, np.repeat(tile, heads // groups, 2), optimize=True) * scale
            + (hidden[..., low : low + KEYS])
        )

    m = np.full((*q.shape[:-1], 1), -np.inf, dtype)
    for low in range(0, keys, KEYS):
        m = np.maximum(m, scores(low).max(axis=-1, keepdims=True))
    total = np.zeros_like(m)
    for low in range(0, keys, KEYS):
        total += np.exp(scores(low) - m).sum(axis=-1, keepdims=True)
    lse = m + np.log(total)
    output = np.zeros((*q.shape[:-1], value.shape[-1]), dtype)
    for low in range(0, keys, KEYS):
        weights = np.exp(scores(low) - m) / total
        output += weights @ value[:, :, None, low : low + KEYS].astype(dtype)
    output = output.reshape(batch, heads, queries, -1).astype(query.dtype)
    return (output, lse.reshape(batch, heads, queries)) if return_log_sum_exp else output


def in_float64(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
) -> Any:
    """The whole matrix of scores in float64, rounded once."""
    repeats = query.shape[1] // key.shape[1]
    q, k, v = query.astype(float), np.repeat(key, repeats, 1).astype(float), np.repeat(value, repeats, 1).astype(float)
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    kept = weights if dropout_mask is None else np.where(dropout_mask, weights / (1 - dropout), 0)
    output = (kept @ v).astype(query.dtype)
    return (output, weights.astype(query.dtype)) if return_weights else output


def base_two(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, causal: bool = False) -> np.ndarray:
    """As on a GPU: 128 x 32 tiles, powers of two, weights in the tensors' dtype, tiles without a diagonal unmasked."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    factor = dtype(math.log2(math.e) / math.sqrt(size))
    output = np.empty((batch, heads, queries, value.shape[-1]), query.dtype)
    for b, h, block in np.ndindex(batch, heads, -(-queries // 128)):
        g, rows = h * groups // heads, np.arange(block * 128, min(block * 128 + 128, queries))
        q = query[b, h, rows].astype(dtype)
        m, total = np.full((len(rows), 1), -np.inf, dtype), np.zeros((len(rows), 1), dtype)
        summed = np.zeros((len(rows), value.shape[-1]), dtype)
        end = min(keys, rows[-1] + 1) if causal else keys
        for low in range(0, end, 32):
            columns = np.arange(low, min(low + 32, keys))
            s = q @ key[b, g, columns].astype(dtype).T * factor
            if causal and columns[-1] > rows[0]:
                s[columns > rows[:, None]] = -np.inf
            new = np.maximum(m, s.max(axis=1, keepdims=True))
            p, rescale = np.exp2(s - new), np.exp2(m - new)
            total = total * rescale + p.sum(axis=1, keepdims=True)
            summed = summed * rescale + p.astype(query.dtype).astype(dtype) @ value[b, g, columns].astype(dtype)
            m = new
        output[b, h, rows] = summed / total
    return output


def keys_outside(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, key_lengths: Any = None) -> np.ndarray:
    """The loop over keys outside, that over queries inside, with the sums of all rows in memory."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    dtype = accumulator(query)
    lengths = np.full(batch, keys) if key_lengths is None else key_lengths
    m, total = np.full((batch, heads, queries, 1), -np.inf, dtype), np.zeros((batch, heads, queries, 1), dtype)
    summed = np.zeros((batch, heads, queries, value.shape[-1]), dtype)
    for b, g in np.ndindex(batch, groups):
        shared = slice(g * (heads // groups), (g + 1) * (heads // groups))
        for low in range(0, int(lengths[b]), 128):
            high = min(low + 128, int(lengths[b]))
            k, v = key[b, g, low:high].astype(dtype), value[b, g, low:high].astype(dtype)
            for start in range(0, queries, 32):
                place = (b, shared, slice(start, start + 32))
                s = query[place].astype(dtype) @ k.T / dtype(math.sqrt(size))
                new = np.maximum(m[place], s.max(axis=-1, keepdims=True))
                p, rescale = np.exp(s - new), np.exp(m[place] - new)
                total[place] = total[place] * rescale + p.sum(axis=-1, keepdims=True)
                summed[place] = summed[place] * rescale + p @ v
                m[place] = new
    return (summed / total).astype(query.dtype)


RIGHT = {each.__name__: each for each in (online, split_keys, two_pass, in_float64, base_two, keys_outside)}
