"""The gradient of the scores of a tile, and how rounding moves it.

    dP_j = a_j g . v_j     D = sum_l P_l dP_l     X_j = dP_j - D     dS_j = P_j X_j

An error `e_l` of the exponential of key l, relative to it, moves `dS_j` by `H_jl e_l` with

    H_jl = [j = l] dS_j - P_j dS_l - P_l dS_j
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from attention_ref.oracle.call import Call, Tile
from attention_ref.oracle.forward import output
from attention_ref.oracle.partial_sums import BLOCK, along_rows, parts, products, reverse_parts, weighted
from attention_ref.oracle.result import LIFT, Array, lowered
from attention_ref.oracle.weights import Weights


class Stored(NamedTuple):
    """The squared sizes of errors in the tensors' dtype: of what is kept in tensors on the way to `dS`.

    With dropout these are the constants that it divides by; in a fused backward pass `dS` and the output, too.
    """

    product: Array
    """Of `dP`, `(t,k)`."""
    own: Array
    """Of `dS` alone, `(t,k)`."""
    mean: Array
    """Of `D`, `(t,1)`."""
    moves: Array
    """By how much `dS` moves when all of them lose one smallest number, at most; `(t,k)`, not lifted."""


class Mean(NamedTuple):
    """The squared sizes of the errors of `g . output`, which is `D` in a fused backward pass, and `moves`; `(t,1)`."""

    arithmetic: Array
    storage: Array
    moves: Array


class ScoreGradient(NamedTuple):
    """`dS` of a tile and the squared sizes of the errors on the way; `(t,k)`, those of a row `(t,1)`.

    All is for the cotangent times `LIFT`, and so are the results of the methods: squared where they are.
    """

    weights: Weights
    cotangent: Array
    """`g`, `(t,v)`, not lifted."""
    values: Array
    """`dS`."""
    centred: Array
    """`X`, 0 where hidden."""
    mean: Array
    """`D`, `(t,1)`."""
    product: Array
    """`C`, of `dP`."""
    mean_errors: Array
    """`F`, of `D`, but for those of `dP` and of the exponentials; `(t,1)`."""
    own: Array
    """Of `dS_j` alone: those of `dP_j / Z`, of the difference `X_j`, and of the product with the exponential."""
    shared: Array
    """`r`, of `Z` but for the keys' exponentials, and of a stored log-sum-exp; relative, `(t,1)`."""
    moves: Array
    """By how much `dS` moves when all operations lose one smallest number, at most; `(t,1)`, not lifted."""
    stored: Stored

    def variance(self) -> Array:
        """Return that of `dS`: of every source, the square of what it moves.

        sum_l V_l H_jl^2 = P_j^2 (X_j^2 R_0 + 2 X_j R_1 + R_2 + V_j X_j^2 (1 - 4 P_j)),  R_n = sum_l V_l P_l^2 X_l^n
        r (dS_j - P_j D)^2 + F P_j^2 + own_j, and those of dP
        """
        P, V, X = self.weights.values, self.weights.exponential, self.centred
        first, second = self._moments()
        keys = X**2 * (self.weights.spread + V * (1 - 4 * P)) + 2 * X * first + second
        shared = self.shared * (X - self.mean) ** 2 + self.mean_errors
        return P * (P * (keys + shared)) + self.own + self.product_variance(self.product)

    def product_variance(self, C: Array) -> Array:
        """Return what errors `C` of `dP` add: `sum_l C_l (P_j ([j = l] - P_l))^2`."""
        P = self.weights.values
        return P * (P * (np.sum(C * P * P, axis=1, keepdims=True) + C * (1 - 2 * P)))

    def raw_variance(self) -> Array:
        """Return that of `f dS`, the gradient of `query . key`: the errors of `f` are those of the score as well."""
        score, P, squared = self.weights.scores, self.weights.values, self.values**2
        own = (2 * score.covariance * score.slope * (1 - 2 * P) + score.slope_variance) * squared
        return score.slope**2 * self.variance() + own

    def row_variance(self, rows: Array, slope: Any, covariance: Any = 0.0, slope_variance: Any = 0.0) -> Array:
        """Return the squared size of what the errors of `f dS` move in `y = sum_j f_j dS_j rows_j`, `(t,n)`.

            sum_l V_l (f_l dS_l k_l - dS_l kbar - P_l y)^2,   kbar = sum_j P_j f_j k_j     from  sum_j H_jl f_j k_j
            sum_l (2 cov_l (f_l dS_l k_l - dS_l kbar - P_l y) dS_l k_l + var_l dS_l^2 k_l^2)     the errors of f
            r (y - D kbar)^2 + F kbar^2 + sum_j own_j f_j^2 k_j^2, and those of dP

        Every square is multiplied out, so that the sums over keys are matrix products. The errors of the products
        `f_j dS_j k_j` and of their sum are not among them.
        """
        P, V, dS = self.weights.values, self.weights.exponential, self.values
        y, mean = (slope * dS) @ rows, (slope * P) @ rows
        first, second = self._moments()
        squares = slope**2 * (V * dS**2 + self.own) + (2 * covariance * slope + slope_variance) * dS**2
        with_mean = (slope * V + covariance) * dS**2
        with_result = (slope * V + covariance) * dS * P
        return (
            squares @ rows**2
            - 2 * mean * (with_mean @ rows)
            - 2 * y * (with_result @ rows)
            + mean**2 * (second + self.mean_errors)
            + 2 * mean * y * first
            + y**2 * self.weights.spread
            + self.shared * (y - self.mean * mean) ** 2
            + self.product_row_variance(self.product, rows, slope)
        )

    def product_row_variance(self, C: Array, rows: Array, slope: Any) -> Array:
        """Return what errors `C` of `dP` add: `sum_l C_l P_l^2 (f_l k_l - kbar)^2`."""
        P = self.weights.values
        W, mean = C * P * P, (slope * P) @ rows
        total = np.sum(W, axis=1, keepdims=True)
        return (slope**2 * W) @ rows**2 - 2 * mean * ((slope * W) @ rows) + mean**2 * total

    def stored_variance(self) -> Array:
        """Return that of `dS` in the tensors' dtype."""
        P = self.weights.values
        return self.product_variance(self.stored.product) + self.stored.own + P * (P * self.stored.mean)

    def stored_row_variance(self, rows: Array, slope: Any) -> Array:
        """Return as `row_variance`, in the tensors' dtype."""
        mean = (slope * self.weights.values) @ rows
        own = (slope**2 * self.stored.own) @ rows**2 + mean**2 * self.stored.mean
        return self.product_row_variance(self.stored.product, rows, slope) + own

    def sink_variance(self) -> Array:
        """Return that of `- P D`, the gradient of the sink: a key whose `dP` is 0, so that its `X` is `- D`."""
        P, V, X, D = self.weights.values, self.weights.exponential, self.centred, self.mean
        weight, own = self.weights.sink, self.weights.sink_exponential
        keys = np.sum(V * P * P * (X - D) ** 2 + self.product * P * P, axis=1, keepdims=True) + self.mean_errors
        apart = self.shared - weight**2 * own
        return weight * (weight * (keys + D**2 * (1 + own * (1 - 2 * weight) ** 2 + 4 * apart)))

    def stored_sink_variance(self) -> Array:
        """Return as `sink_variance`, in the tensors' dtype."""
        P, weight = self.weights.values, self.weights.sink
        return weight * (weight * (np.sum(self.stored.product * P * P, axis=1, keepdims=True) + self.stored.mean))

    def _moments(self) -> tuple[Array, Array]:
        """Return `R_1` and `R_2`, `(t,1)`."""
        P, V, X = self.weights.values, self.weights.exponential, self.centred
        return np.sum(V * P * P * X, axis=1, keepdims=True), np.sum(V * X**2 * P * P, axis=1, keepdims=True)


def score_gradient(call: Call, tile: Tile, found: Weights, cotangent: Array, *, fused: bool) -> ScoreGradient:
    """Return the gradient of the scores of a tile for the cotangent `(t,v)` of the output.

    A fused backward pass computes the weights again, `P = exp(s - lse)`, with other errors of `s` than the log-sum-exp
    has, and `D = g . output`, with other errors than `dP` has, so that neither cancel.
    """
    factor, P, V = call.dropped * tile.kept, found.values, found.exponential
    sums = products(LIFT * cotangent, tile.value, reverse_parts(cotangent.shape[1]))
    dP = factor * sums.total
    dropped = 2 * dP**2 if call.rate else np.zeros_like(dP)
    C = factor**2 * (sums.squares + sums.error()) + dropped
    means = along_rows(P * dP, tile.kept, reverse_parts(P.shape[1]))
    X = np.where(tile.visible, dP - means.total, 0)
    dS = P * X
    own, mean_errors = 3 * (P * dP) ** 2 + (1.0 + tile.kept) * dS**2, 3 * means.squares + means.error()
    moves = (1 + call.dropped) * np.abs(dP) / LIFT * bool(call.rate)
    stored = Stored(dropped, np.zeros_like(dP), np.zeros_like(mean_errors), _moved(P, moves))
    if fused:
        mean = _mean_of_output(cotangent, output(call, tile, found))
        own, mean_errors = own + V * dS**2 + C * P * P, mean_errors + mean.arithmetic
        stored = Stored(dropped, dS**2, mean.storage, stored.moves + P * mean.moves + tile.visible)
    log_sum_exp = np.where(found.visible_count > 0, found.log_sum_exp, 0)
    return ScoreGradient(
        weights=found,
        cotangent=cotangent,
        values=dS,
        centred=X,
        mean=means.total,
        product=C,
        mean_errors=mean_errors,
        own=own,
        shared=found.denominator + log_sum_exp**2,
        moves=_moves(call, found, dP / LIFT),
        stored=stored,
    )


def _mean_of_output(g: Array, found: Sequence[Array]) -> Mean:
    """Return the errors of `D = g . output`: those of the output, of the products, and of their sum."""
    values, arithmetic, storage, _, moves = found
    sums = along_rows(LIFT * g * values, np.ones(g.shape, bool), parts(g.shape[1]))
    brought = np.sum((LIFT * g * arithmetic) ** 2, axis=1, keepdims=True)
    kept = np.sum((LIFT * g * storage) ** 2, axis=1, keepdims=True)
    return Mean(brought + sums.squares + sums.error(), kept, np.sum(np.abs(g) * moves, axis=1, keepdims=True))


def _moved(P: Array, moves: Array) -> Array:
    """Return by how much `dS_j` moves at most when every `dP_l` moves."""
    return P * (moves + np.sum(P * moves, axis=1, keepdims=True))


def _moves(call: Call, found: Weights, dP: Array) -> Array:
    largest = np.max(np.abs(dP), axis=1, keepdims=True, initial=0)
    count = call.sizes.value_size + found.visible_count + 1
    return (found.visible_count > 0) * 8 * count * call.dropped * (1 + largest) * (1 + found.moves)


def query_gradient(tile: Tile, scored: ScoreGradient, *, fused: bool) -> list[Array]:
    """Return `sum_j f_j dS_j k_j` `(t,d)` with its arithmetic, storage, underflow and storage underflow."""
    score, key = scored.weights.scores, tile.key
    sums = weighted(score.slope * scored.values, key, tile.visible, reverse_parts(len(key)))
    moved = scored.row_variance(key, score.slope, score.covariance, score.slope_variance)
    storage = scored.stored_row_variance(key, score.slope) + sums.total**2
    slope = np.abs(score.slope * tile.visible)
    underflow = 2 * scored.weights.visible_count + scored.moves * ((tile.visible + slope) @ np.abs(key))
    stored = (slope * scored.stored.moves) @ np.abs(key) + (sums.count > 0)
    if fused:
        storage, stored = storage + sums.error() / BLOCK, stored + sums.count / BLOCK
    return lowered(sums.total, moved + sums.squares + sums.error(), storage, underflow, stored)
