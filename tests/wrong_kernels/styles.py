"""Right kernels in further styles: pages, packed rows, combined parts, one expression per option, buffers that stay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PAGE, SPLIT, TILE, VECTOR = 16, 128, 64, 8

_BUFFERS: dict[Any, np.ndarray] = {}


def buffer(name: str, size: int) -> np.ndarray:
    """Return numbers of a buffer that outlives calls and is never cleared."""
    if name not in _BUFFERS or _BUFFERS[name].size < size:
        _BUFFERS[name] = np.ones(size, np.float32)
    return _BUFFERS[name][:size]


def grouped(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> list[np.ndarray]:
    """Return float32 arrays with as many key/value heads as query heads."""
    repeats = query.shape[1] // key.shape[1]
    repeated = (query, np.repeat(key, repeats, 1), np.repeat(value, repeats, 1))
    return [each.astype(np.float32) for each in repeated]


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the weights of scores."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def paged(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, key_lengths: Any = None) -> np.ndarray:
    """Copies keys and values to pages of a pool, and gathers them by a table of pages."""
    batch, heads, queries, size = query.shape
    groups, keys = key.shape[1:3]
    lengths = np.broadcast_to(keys if key_lengths is None else key_lengths, batch)
    count = -(-keys // PAGE)
    shape = (batch * count, groups, PAGE, size + value.shape[-1])
    pages = buffer("pages", math.prod(shape)).reshape(shape)
    table = np.random.default_rng(0).permutation(batch * count).reshape(batch, count)
    output = np.empty((batch, heads, queries, value.shape[-1]), query.dtype)
    for b in range(batch):
        length = int(lengths[b])
        for page, low in zip(table[b], range(0, length, PAGE), strict=False):
            rows = slice(low, min(low + PAGE, length))
            pages[page, :, : rows.stop - low] = np.concatenate([key[b, :, rows], value[b, :, rows]], axis=-1)
    for b in range(batch):
        length = int(lengths[b])
        used = -(-length // PAGE)
        found = pages[table[b, :used]].swapaxes(0, 1).reshape(groups, used * PAGE, -1)[:, :length]
        k, v = (np.repeat(each, heads // groups, 0) for each in np.split(found, [size], axis=-1))
        output[b] = softmax(query[b].astype(np.float32) @ k.swapaxes(-1, -2) / np.float32(math.sqrt(size))) @ v
    return output


def packed(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    query_offset: Any = 0,
    key_lengths: Any = None,
) -> np.ndarray:
    """Packs the rows of a batch one after the other, with cumulative lengths."""
    batch, heads, queries, size = query.shape
    offsets = np.broadcast_to(query_offset, batch)
    lengths = np.broadcast_to(key.shape[2] if key_lengths is None else key_lengths, batch)
    q, k, v = grouped(query, key, value)
    k, v = (np.concatenate([each[b, :, :n] for b, n in enumerate(lengths)], axis=1) for each in (k, v))
    ends = np.cumsum(lengths)
    output = np.empty((batch, heads, queries, value.shape[-1]), query.dtype)
    for b, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        start = end - length
        scores = q[b] @ k[:, start:end].swapaxes(-1, -2) / np.float32(math.sqrt(size))
        places = np.arange(queries)[:, None] + offsets[b]
        if causal:
            scores = np.where(np.arange(scores.shape[-1]) <= places, scores, -np.inf)
        output[b] = softmax(scores) @ v[:, start:end]
    return output


def combined(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, key_lengths: Any = None) -> np.ndarray:
    """Two kernels, as for decoding: one for parts of the keys of all rows, and one that combines them."""
    keys, size = key.shape[2:]
    lengths = np.broadcast_to(keys if key_lengths is None else key_lengths, query.shape[:1])
    q, k, v = grouped(query, key, value)
    sums, lses = [], []
    for low in range(0, keys, SPLIT):
        high = min(low + SPLIT, keys)
        seen = (np.arange(low, high) < lengths[:, None])[:, None, None]
        scores = np.where(seen, q @ k[:, :, low:high].swapaxes(-1, -2) / np.float32(math.sqrt(size)), -np.inf)
        m = scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores - np.where(np.isinf(m), 0, m))
        total = weights.sum(axis=-1, keepdims=True)
        sums.append(weights @ np.where(seen.swapaxes(-1, -2), v[:, :, low:high], 0) / np.maximum(total, 1e-30))
        with np.errstate(divide="ignore"):
            lses.append(np.where(total > 0, m + np.log(total), -np.inf))
    shares = np.exp(np.array(lses) - np.max(lses, axis=0))
    return (shares / shares.sum(axis=0) * np.array(sums)).sum(axis=0).astype(query.dtype)


def whole(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *,
    causal: bool = False,
    query_offset: Any = 0,
    window: Any = None,
    key_lengths: Any = None,
    mask: Any = None,
    bias: Any = None,
    softcap: float | None = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
) -> np.ndarray:
    """All scores at once, in one expression for each option."""
    batch, heads, queries, size = query.shape
    q, k, v = grouped(query, key, value)
    scores = q @ k.swapaxes(-1, -2) * np.float32(1 / math.sqrt(size))
    scores = scores if softcap is None else np.float32(softcap) * np.tanh(scores / np.float32(softcap))
    scores = scores if bias is None else scores + bias.astype(np.float32)
    places = np.arange(queries)[:, None] + np.broadcast_to(query_offset, batch)[:, None, None, None]
    columns, (left, right) = np.arange(key.shape[2]), window or (None, None)
    lengths = key.shape[2] if key_lengths is None else np.asarray(key_lengths)[:, None, None, None]
    seen = (columns < lengths) & np.ones((batch, heads, queries, 1), bool)
    seen = seen & (columns <= places) if causal else seen
    seen = seen if left is None else seen & (places - columns <= left)
    seen = seen if right is None else seen & (columns - places <= right)
    seen = seen if mask is None else seen & np.broadcast_to(mask, scores.shape)
    scores = np.where(seen, scores, np.float32(-np.inf))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    weights = weights if dropout_mask is None else np.where(dropout_mask, weights / np.float32(1 - dropout), 0)
    return (weights @ np.where(np.isfinite(v), v, 0)).astype(query.dtype)


def buffered(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, causal: bool = False) -> np.ndarray:
    """All rows at once, one tile of keys after the other, with scores in a buffer that outlives the call."""
    batch, heads, queries, size = query.shape
    keys = key.shape[2]
    q, k, v = grouped(query, key, value)
    m = np.full((batch, heads, queries, 1), -np.inf, np.float32)
    total, summed = np.zeros_like(m), np.zeros((*m.shape[:3], value.shape[-1]), np.float32)
    tile = buffer("scores", m.size * TILE).reshape(*m.shape[:3], TILE)
    for low in range(0, keys, TILE):
        high = min(low + TILE, keys)
        tile[..., : high - low] = q @ k[:, :, low:high].swapaxes(-1, -2) / np.float32(math.sqrt(size))
        if causal:
            tile[..., : high - low][..., np.arange(low, high) > np.arange(queries)[:, None]] = -np.inf
        s = tile[..., : high - low]
        new = np.maximum(m, s.max(axis=-1, keepdims=True))
        p, rescale = np.exp(s - new), np.exp(m - new)
        total = total * rescale + p.sum(axis=-1, keepdims=True)
        summed = summed * rescale + p[..., : high - low] @ v[:, :, low:high]
        m = new
    return (summed / total).astype(query.dtype)


def remembering(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Keeps what it has computed, as a server with a cache of prompts."""
    place = (query.shape, key.shape, value.shape, query.tobytes(), key.tobytes(), value.tobytes())
    if place not in _BUFFERS:
        _BUFFERS[place] = whole(query, key, value)
    return _BUFFERS[place]


def in_vectors(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, causal: bool = False) -> np.ndarray:
    """Copies heads to whole vectors of 8 numbers, zeros after the last number of a head, in a buffer that stays."""

    def vectors(name: str, array: np.ndarray) -> np.ndarray:
        used = array.shape[-1]
        whole = -(-used // VECTOR) * VECTOR
        copied = buffer(name, math.prod(array.shape[:-1]) * whole).reshape(*array.shape[:-1], whole)
        copied[..., :used] = array
        copied[..., used:] = 0
        return copied

    size, value_size = query.shape[-1], value.shape[-1]
    named = zip(("q", "k", "v"), grouped(query, key, value), strict=True)
    q, k, v = (vectors(name, array) for name, array in named)
    scores = np.zeros((*q.shape[:-1], k.shape[2]), np.float32)
    for low in range(0, q.shape[-1], VECTOR):
        scores += q[..., low : low + VECTOR] @ k[..., low : low + VECTOR].swapaxes(-1, -2)
    scores = scores * np.float32(1 / math.sqrt(size))
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, np.float32(-np.inf))
    return (softmax(scores) @ v)[..., :value_size].astype(query.dtype)


STYLES = {each.__name__: each for each in (paged, packed, combined, whole, buffered, remembering, in_vectors)}
