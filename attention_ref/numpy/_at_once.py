"""Attention with few scores: all heads at once, without copies of keys and values."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from attention_ref.numpy._arrays import Array, Arrays, values, widen
from attention_ref.numpy._band import band, inside
from attention_ref.numpy._tiles import Scale
from attention_ref.spec.masks import Window
from attention_ref.spec.shapes import Sizes

_OF_A_HEAD, _OF_A_CALL = 2**16, 2**20
"""The largest numbers of scores of a head and of a call that are computed at once."""


def fits_at_once(sizes: Sizes) -> bool:
    """Return whether a call has few scores, or only one query for each head, as in decoding."""
    if sizes.query_length == 1:
        return True
    of_a_head = sizes.query_length * sizes.key_length
    return of_a_head <= _OF_A_HEAD and math.prod(sizes.batch) * sizes.heads * of_a_head <= _OF_A_CALL


class Hidden(NamedTuple):
    """What a call hides.

    Arguments:
        keys: True where a key is hidden, broadcasts to `(b,h,q,k)`.
        rows: True where a row sees no key, broadcasts to `(b,h,q,1)`; None if every row sees one.
    """

    keys: Array
    rows: Array | None

    @classmethod
    def of(cls, visible: Array) -> Hidden:
        """Return what is hidden where some keys are visible."""
        sees_any = visible.any(axis=-1, keepdims=True)
        return cls(~visible, None if np.count_nonzero(sees_any) == sees_any.size else ~sees_any)

    @classmethod
    def padding(cls, lengths: Array, key_length: int) -> Hidden:
        """Return what is hidden behind the lengths of the batch rows."""
        lengths = lengths[..., None, None, None]  # (b,1,1,1)
        return cls(np.arange(key_length) >= lengths, None if lengths.all() else lengths == 0)


def attend_at_once(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute all heads of a call at once; arguments and results as in `fused.attention`."""
    if arrays["key_lengths"] is not None:
        arrays, sizes = _without_padding(arrays, sizes)
    hidden, dtype = _hidden(arrays, sizes, options), arrays["query"].dtype
    weights, total, maximum = _softmax(_scores(arrays, sizes, options), hidden, arrays["sinks"])
    if arrays["dropout_mask"] is not None:
        weights *= arrays["dropout_mask"]
    output = _by_head(_by_group(weights, sizes) @ widen(arrays["value"]), sizes)
    output /= total * (1 - options["dropout"]) if options["dropout"] else total
    if not math.isfinite(np.add.reduce(output if output.size else total, axis=None)):
        return None
    results = [output.astype(dtype, copy=False)]
    if options["return_log_sum_exp"]:
        results.append((maximum + np.log(total))[..., 0])
    return results


def _scores(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> Array:
    """Return the scores with their bias: `(b,h,q,k)`."""
    scale = Scale.of(sizes, options)
    rows = _by_group(scale.queries(arrays["query"]), sizes)
    scores = scale.apply(_by_head(rows @ widen(arrays["key"]).mT, sizes))
    if arrays["bias"] is not None:
        scores += widen(arrays["bias"])
    return scores


def _softmax(scores: Array, hidden: Hidden | None, sinks: Array | None) -> tuple[Array, Array, Array]:
    """Overwrite scores by `exp(s - m)`; return them, the denominators and the maxima `m` of the rows, `(b,h,q,1)`.

    A row without a visible key has exponentials 0, denominator 1 and maximum -inf, and so output 0 and log-sum-exp
    -inf.
    """
    if hidden is not None:
        np.copyto(scores, -np.inf, where=hidden.keys)
    maximum = np.maximum.reduce(scores, axis=-1, keepdims=True, initial=-np.inf)  # (b,h,q,1)
    if sinks is not None:
        sinks = widen(sinks)[:, None, None]  # (h,1,1)
        maximum = np.maximum(maximum, sinks)
    is_empty = None if hidden is None else hidden.rows
    scores -= maximum if is_empty is None else np.where(is_empty, 0, maximum)
    total = np.add.reduce(np.exp(scores, out=scores), axis=-1, keepdims=True)
    if sinks is not None:
        total += np.exp(sinks - maximum)
    if is_empty is not None:
        np.copyto(total, 1, where=is_empty)
        np.copyto(maximum, -np.inf, where=is_empty)
    return scores, total, maximum


def _by_group(rows: Array, sizes: Sizes) -> Array:
    """Join the query heads that share a key/value head: `(b,h,q,_)` to `(b,g,h/g*q,_)`."""
    if sizes.heads == sizes.groups:
        return rows
    queries = sizes.heads // sizes.groups * sizes.query_length
    return rows.reshape(*sizes.batch, sizes.groups, queries, rows.shape[-1])


def _by_head(rows: Array, sizes: Sizes) -> Array:
    """Separate the query heads again: `(b,g,h/g*q,_)` to `(b,h,q,_)`."""
    if sizes.heads == sizes.groups:
        return rows
    return rows.reshape(*sizes.batch, sizes.heads, sizes.query_length, rows.shape[-1])


def _without_padding(arrays: Arrays, sizes: Sizes) -> tuple[Arrays, Sizes]:
    """Remove the keys that are padding in every batch row."""
    longest = max(values(arrays["key_lengths"]), default=0)
    if longest == sizes.key_length:
        return arrays, sizes
    arrays = {**arrays, "key": arrays["key"][..., :longest, :], "value": arrays["value"][..., :longest, :]}
    for name in ("mask", "bias", "dropout_mask"):
        array = arrays[name]
        if array is not None and array.ndim and array.shape[-1] != 1:
            arrays[name] = array[..., :longest]
    batch, heads, groups, query_length, _, *others = sizes
    return arrays, Sizes(batch, heads, groups, query_length, longest, *others)


def _hidden(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> Hidden | None:
    """Return what is hidden; None if no rule hides any key."""
    mask, bias, lengths, length = arrays["mask"], arrays["bias"], arrays["key_lengths"], sizes.key_length
    visible = [] if mask is None else [mask]
    if bias is not None:
        visible.append(bias != -np.inf)
    if not length:
        visible.append(np.zeros((1, 0), bool))
    rules = []
    if lengths is not None and min(values(lengths), default=0) < length:
        rules.append(Hidden.padding(lengths, length))
    if options["causal"] or options["window"] is not None:
        outside = _outside_band(options, arrays["query_offset"], sizes)
        rules += [] if outside is None else [outside]
    if len(rules) == 1 and not visible:
        return rules[0]
    visible += [~rule.keys for rule in rules]
    return Hidden.of(functools.reduce(np.logical_and, visible)) if visible else None


def _outside_band(options: Mapping[str, Any], offset: Array, sizes: Sizes) -> Hidden | None:
    """Return what causal mask and window hide; None if they hide no key."""
    causal, window, lengths = options["causal"], options["window"], (sizes.query_length, sizes.key_length)
    if offset.ndim or lengths[0] * lengths[1] > _OF_A_HEAD:
        return Hidden.of(inside(band(causal, offset, window), *lengths))
    return _outside_one_band(causal, int(offset), None if window is None else tuple(window), *lengths)


@functools.lru_cache(maxsize=32)
def _outside_one_band(
    causal: bool, offset: int, window: Window | None, query_length: int, key_length: int
) -> Hidden | None:
    """Return what one offset for all batch rows hides, which repeated calls share."""
    visible = inside(band(causal, np.asarray(offset, np.int64), window), query_length, key_length)
    return None if visible.all() else Hidden.of(visible)
