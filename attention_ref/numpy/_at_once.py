"""Attention with few scores: all heads at once, without copies of keys and values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, Arrays, values, widen
from attention_ref.numpy._tiles import Scale
from attention_ref.numpy._visibility import conjunction
from attention_ref.spec.shapes import Sizes

_OF_A_HEAD, _OF_A_CALL = 2**16, 2**20
"""The largest numbers of scores of a head and of a call that are computed at once."""


def fits_at_once(sizes: Sizes) -> bool:
    """Return whether a call has few scores, or only one query for each head, as in decoding."""
    if sizes.query_length == 1:
        return True
    return sizes.query_length * sizes.key_length <= _OF_A_HEAD and math.prod(sizes.scores) <= _OF_A_CALL


def attend_at_once(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> list[Array] | None:
    """Compute all heads of a call at once; arguments and results as in `fused.attention`."""
    if arrays["key_lengths"] is not None:
        arrays, sizes = _without_padding(arrays, sizes)
    visible, dtype = _visible_keys(arrays, sizes, options), arrays["query"].dtype
    weights, total, maximum = _softmax(_scores(arrays, sizes, options), visible, arrays["sinks"])
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


def _softmax(scores: Array, visible: Array | None, sinks: Array | None) -> tuple[Array, Array, Array]:
    """Overwrite scores by `exp(s - m)`; return them, the denominators and the maxima `m` of the rows, `(b,h,q,1)`.

    A row without a visible key has exponentials 0, denominator 1 and maximum -inf, and so output 0 and log-sum-exp
    -inf.
    """
    if visible is not None:
        np.copyto(scores, -np.inf, where=~visible)
    maximum = np.maximum.reduce(scores, axis=-1, keepdims=True, initial=-np.inf)  # (b,h,q,1)
    if sinks is not None:
        sinks = widen(sinks)[:, None, None]  # (h,1,1)
        maximum = np.maximum(maximum, sinks)
    is_empty = None if visible is None else ~np.any(visible, axis=-1, keepdims=True)
    scores -= maximum if is_empty is None else np.where(is_empty, 0, maximum)
    total = np.add.reduce(np.exp(scores, out=scores), axis=-1, keepdims=True)
    if sinks is not None:
        total += np.exp(sinks - maximum)
    if is_empty is not None:
        total[is_empty], maximum[is_empty] = 1, -np.inf
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
    longest = max(values(arrays["key_lengths"]) or [0])
    arrays = {**arrays, "key": arrays["key"][..., :longest, :], "value": arrays["value"][..., :longest, :]}
    for name in ("mask", "bias", "dropout_mask"):
        array = arrays[name]
        if array is not None and array.ndim and array.shape[-1] != 1:
            arrays[name] = array[..., :longest]
    return arrays, sizes._replace(key_length=longest)


def _visible_keys(arrays: Arrays, sizes: Sizes, options: Mapping[str, Any]) -> Array | None:
    """Return which keys are visible, `(b,h,q,k)`; None if no option hides any."""
    rules = {name: arrays[name] for name in ("mask", "bias", "key_lengths")} | {"window": options["window"]}
    if not options["causal"] and sizes.key_length and all(rule is None for rule in rules.values()):
        return None
    return conjunction(sizes.scores, causal=options["causal"], query_offset=arrays["query_offset"], **rules)
