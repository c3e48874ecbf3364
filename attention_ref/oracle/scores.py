"""The scores of a tile, and how rounding moves them and their derivative.

    raw = query . key,   y = c raw,   s = y, or C tanh(y / C) with a softcap C,   logit = s + bias

`f = d s / d raw` is computed from the same rounded numbers as `s`, so that the errors of the two are correlated; see
"The budget in closed form" in the documentation for the terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attention_ref.oracle.call import Call, Tile
from attention_ref.oracle.partial_sums import parts, products
from attention_ref.oracle.result import Array
from attention_ref.spec.trace import ELEMENTARY_UNITS

ELEMENTARY = float(ELEMENTARY_UNITS**2)


class Scores(NamedTuple):
    """The logits of a tile with the squared sizes of their errors; all `(t,k)` or what broadcasts to it.

    `slope` is `f`; `variance`, `slope_variance` and `covariance` are those of the errors of the logit and of `f`.
    `moves` bounds by how much a logit moves when all its operations lose one smallest number.
    """

    logits: Array
    variance: Array
    slope: Any
    slope_variance: Any
    covariance: Any
    moves: Array


def scores(call: Call, tile: Tile) -> Scores:
    """Score every key of a tile."""
    raw = products(tile.query, tile.key, parts(call.sizes.head_size))
    found = _scaled(call, raw.total, raw.squares + raw.error())
    if call.softcap is not None:
        found = _capped(found, call.factor, float(call.softcap))
    if tile.bias is None:
        return found
    logits = found.logits + tile.bias
    return found._replace(logits=logits, variance=found.variance + logits**2, moves=found.moves + 1)


def _scaled(call: Call, raw: Array, raw_variance: Array) -> Scores:
    """Multiply by the scale `c`: a constant that is rounded once, or a quotient by the root of the constant `d`.

    The root has 1 + 1/4 roundings, which the derivative shares; beside them it has that of its product, and of the 1
    and the quotient in `1 / root`.
    """
    shared, own = (1.25, 3.0) if call.scale is None else (1.0, 1.0)
    c = call.factor
    y = c * raw
    moves = 2 * abs(c) * call.sizes.head_size + 2 + np.abs(y) + np.abs(raw)
    return Scores(y, c * c * raw_variance + (1 + shared) * y**2, c, c * c * (shared + own), c * shared * y, moves)


def _capped(scaled: Scores, c: float, cap: float) -> Scores:
    """Bound the scores: `s = C t`, `t = tanh(y / C)`, with the slope `p = 1 - t^2` and `f = c p`.

    The errors before the product by `C` move `s`, and move `f` by `-2 c t / C` times as much. The rounding of `C`
    moves `y / C` and the product; in `f` it cancels but for the former.
    """
    y = scaled.logits
    t = np.tanh(y / cap)
    s, p, bend = cap * t, 1 - t**2, 2 * c * t / cap
    before = p**2 * (scaled.variance + y**2) + ELEMENTARY * s**2
    shared, own = scaled.covariance / c * p, scaled.slope_variance * p**2
    return Scores(
        logits=s,
        variance=before + (s - p * y) ** 2 + s**2,
        slope=c * p,
        slope_variance=bend**2 * (before + (p * y) ** 2)
        - 2 * bend * c * p * shared
        + own
        + c**2 * (6 * p**2 + 1 + t**4),
        covariance=-bend * before + bend * p * y * (s - p * y) + c * p * shared,
        moves=scaled.moves + 2 + 2 * cap + 2 * np.abs(y),
    )
