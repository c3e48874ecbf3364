"""The weights of a tile: a softmax over the visible keys and the sink.

P_j = exp(s_j - m) / Z,   Z = sum_l exp(s_l - m) + exp(sink - m)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from attention_ref.oracle.partial_sums import along_rows, parts
from attention_ref.oracle.result import Array
from attention_ref.oracle.tile_scores import ELEMENTARY, Scores, scores
from attention_ref.oracle.tiled_call import Call, Tile


class Weights(NamedTuple):
    """The weights of the queries of a tile, and squared sizes of relative errors.

    With `e_j` the relative error of the exponential of key j, that of `P_j` is `e_j - sum_l P_l e_l`, less that of the
    sum `Z`, and one rounding of the quotient.
    """

    scores: Scores
    values: Array
    """`P`, `(t,k)`; 0 where hidden."""
    exponential: Array
    """`V`, of the exponentials, `(t,k)`: of the logits, of their shift by `m`, and of the elementary function."""
    spread: Array
    """`sum_l P_l^2 V_l` over the keys, `(t,1)`."""
    denominator: Array
    """That of `Z`, but for the keys' exponentials: of the partial sums, and of the sink; `(t,1)`."""
    log_sum_exp: Array
    """`(t,1)`; -inf where no key is visible."""
    sink: Array
    """The weight of the sink, `(t,1)`."""
    sink_exponential: Array
    """`V` of the sink, `(t,1)`."""
    visible_count: Array
    """The number of visible keys, `(t,1)`."""
    moves: Array
    """By how much a logit moves when all its operations lose one smallest number, at most; `(t,1)`."""

    @property
    def variance(self) -> Array:
        """That of `P`: `V (1 - 2P) + sum_l P_l^2 V_l + V_Z + 1`, `(t,k)`."""
        common = self.spread + self.denominator + 1
        return np.maximum(self.exponential * (1 - 2 * self.values) + common, 0)


def weights(call: Call, tile: Tile, head: int) -> Weights:
    """Weigh every key of a tile."""
    found, sink = scores(call, tile), call.sink(head)
    logits = np.where(tile.visible, found.logits, -np.inf)
    count = np.count_nonzero(tile.visible, axis=1, keepdims=True)
    shift = np.maximum(logits.max(axis=1, keepdims=True, initial=-np.inf), sink)
    shift = np.where(count > 0, shift, 0)
    exponentials = np.exp(logits - shift)
    sink_exponential = np.where(count > 0, np.exp(sink - shift), 0)
    total = exponentials.sum(axis=1, keepdims=True) + sink_exponential
    with np.errstate(divide="ignore"):
        log_total = np.log(total)
    total = np.where(count > 0, total, 1)
    P, sink_weight = exponentials / total, sink_exponential / total

    V = found.variance + (found.logits - shift) ** 2 + ELEMENTARY
    sink_variance = ELEMENTARY + (0 if sink == -math.inf else (sink - shift) ** 2)
    sums = along_rows(P, tile.visible, parts(P.shape[1]))
    if call.sinks is not None:
        sums.add(sink_weight, sink_weight**2, 1)
    moves = np.max(np.where(tile.visible, found.moves, 0), axis=1, keepdims=True, initial=0) + 1
    return Weights(
        scores=found,
        values=P,
        exponential=V,
        spread=np.sum(P * P * V, axis=1, keepdims=True),
        denominator=sums.error() + sink_weight**2 * sink_variance,
        log_sum_exp=np.where(count > 0, shift + log_total, -np.inf),
        sink=sink_weight,
        sink_exponential=np.broadcast_to(sink_variance, count.shape),
        visible_count=count,
        moves=moves,
    )
