"""Attention's results, and the expected size of the rounding errors in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_ref.oracle.call import Call, Head, Tile, places
from attention_ref.oracle.partial_sums import parts, weighted
from attention_ref.oracle.result import LIFT, Array, Truth, empty, lowered, write
from attention_ref.oracle.scores import ELEMENTARY
from attention_ref.oracle.weights import Weights, weights
from attention_ref.spec.masks import Window


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    mask: Any = None,
    bias: Any = None,
    causal: bool = False,
    query_offset: Any = 0,
    window: Window | None = None,
    key_lengths: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Any = None,
    dropout: float = 0.0,
    dropout_mask: Any = None,
    return_weights: bool = False,
    heads: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
) -> Truth:
    """Return the truth of scaled dot-product attention and the expected sizes of its rounding errors.

        o = sum_l a_l P_l v_l            a_l = 1 / (1 - dropout) where kept, 0 where dropped, 1 without dropout
        size(o)^2 = sum_l V_l P_l^2 (a_l v_l - o)^2     the exponentials of the keys
                  + V_Z o^2                             the sum of the softmax, the sink
                  + (2 + [dropout]) sum_l (a_l P_l v_l)^2      the quotients and the products
                  + partial(a_l P_l v_l)                the sum over the keys, see `partial_sums.py`

    with `P`, `V` and `V_Z` of `weights.py`. Of tensors in a narrow dtype: `(1 + [dropout]) sum_l (a_l P_l v_l)^2 +
    o^2`, those of the weights, of what dropout divides them by, and of the output. The documentation derives them under
    "The budget in closed form".

    Arguments:
        query: `(b,h,q,d)`, float16, bfloat16, float32 or float64, read as float64; any number of leading batch sizes.
        key: `(b,g,k,d)`.
        value: `(b,g,k,v)`.
        mask, bias, causal, query_offset, window, key_lengths, scale, softcap, sinks, dropout, dropout_mask: as in
            `attention_ref.spec.attention`. Arrays are anything that NumPy reads.
        return_weights: return the weights too, which takes memory for `(b,h,q,k)`.
        heads: the query heads to compute, places in `h`; all when None.
        rows: the queries to compute, places in `q`; all when None.

    Returns:
        `output` `(b, heads, rows, v)`, `log_sum_exp` `(b, heads, rows)` and, where asked for, `weights`
        `(b, heads, rows, k)`, before dropout: each with its values and the sizes of rounding errors. A query that sees
        no key has the output 0, the weights 0 and the log-sum-exp -inf, all of them exact.

    Raises:
        SpecificationError: for shapes, dtypes or options that have no meaning, and for numbers that are not finite
            where a query sees them: they have no expected size of errors. Where no query sees them they may be NaN.

    Source: Linnainmaa (1976) and Higham and Mary (2019), as in `attention_ref.spec.trace`.
    """
    options = {"mask": mask, "bias": bias, "causal": causal, "query_offset": query_offset, "window": window}
    options |= {"key_lengths": key_lengths, "scale": scale, "softcap": softcap, "sinks": sinks}
    options |= {"dropout": dropout, "dropout_mask": dropout_mask}
    call = Call("attention", query, key, value, options)
    chosen = places("attention", "heads", heads, call.sizes.heads)
    queries = places("attention", "rows", rows, call.sizes.query_length)

    shape = (*call.sizes.batch, len(chosen), len(queries))
    results, log_sum_exp = empty((*shape, call.sizes.value_size)), empty(shape)
    spread = empty((*shape, call.sizes.key_length)) if return_weights else None
    for batch in call.batches():
        for place, head in enumerate(chosen):
            source = Head(call, batch, head)
            for block in call.blocks(len(queries)):
                tile = source.tile(queries[block])
                found = weights(call, tile, head)
                index = (*batch, place, block)
                write(results, index, output(call, tile, found))
                write(log_sum_exp, index, _log_sum_exp(found))
                if spread is not None:
                    write(spread, (*index, tile.keys), _weights(found, tile))
    return Truth(results, log_sum_exp, spread)


def output(call: Call, tile: Tile, found: Weights) -> list[Array]:
    """Return the output of a tile `(t,v)` with its arithmetic, storage, underflow and storage underflow."""
    V, value, is_dropped = found.exponential, tile.value, bool(call.rate)
    kept = LIFT * call.dropped * tile.kept * found.values  # (t,k)
    present = np.count_nonzero(tile.kept, axis=1, keepdims=True)  # (t,1)
    sums = weighted(kept, value, tile.kept, parts(len(value)))  # (t,v)
    lifted, squares = sums.total, sums.squares
    moved = (V * kept**2) @ value**2 - 2 * lifted * ((V * kept * found.values) @ value)
    moved += lifted**2 * (found.spread + found.denominator)
    arithmetic = np.maximum(moved, 0) + (2 + is_dropped) * squares + sums.error()
    storage = (1 + is_dropped) * squares + lifted**2
    size, whole = np.abs(lifted) / LIFT, (kept / LIFT) @ np.abs(value)
    absolute = (call.dropped * tile.kept) @ np.abs(value)
    underflow = 2 * present + 5 * absolute + 2 * (found.visible_count + 1) * size + found.moves * (whole + size)
    stored = absolute + is_dropped * call.dropped * whole + (present > 0)
    return lowered(lifted, arithmetic, storage, (present > 0) * underflow, stored)


def _log_sum_exp(found: Weights) -> list[Array]:
    """Return the logarithm: `(m + log Z)` with the errors of the exponentials, the sum, the logarithm and the shift."""
    is_seen = found.visible_count > 0
    total = np.where(is_seen, found.log_sum_exp, 0)
    shift = np.log(
        np.maximum(found.values.max(axis=1, keepdims=True, initial=0), found.sink), where=is_seen, out=0 * total
    )
    size = np.sqrt(found.spread + found.denominator + ELEMENTARY * shift**2 + total**2)
    underflow = is_seen * (2 * found.visible_count + found.moves + 3)
    values = [found.log_sum_exp, np.where(is_seen, size, 0), 0 * total, underflow, 0 * total]
    return [array[:, 0] for array in values]


def _weights(found: Weights, tile: Tile) -> list[Array]:
    P = found.values
    underflow = tile.visible * (4 + 2 * (found.visible_count + 1 + found.moves) * P)
    return [P, P * np.sqrt(found.variance), P, underflow, P != 0]
