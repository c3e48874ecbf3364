"""Attention's gradients, and the expected size of the rounding errors in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_ref.oracle.accumulated import BiasGradient, KeyGradient, SinkGradient
from attention_ref.oracle.partial_sums import part_length
from attention_ref.oracle.result import Array, Result, empty, write
from attention_ref.oracle.score_gradient import query_gradient, score_gradient
from attention_ref.oracle.tiled_call import Call, Head, places
from attention_ref.oracle.weights import weights
from attention_ref.spec.errors import reject, shape_text
from attention_ref.spec.masks import Window

FEW = 32
"""As many queries as matrix products need to be fast."""


def gradients(
    query: Any,
    key: Any,
    value: Any,
    cotangent: Any,
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
    groups: Sequence[int] | None = None,
    fused: bool = True,
) -> dict[str, Result]:
    """Return the gradients of `sum(cotangent * attention(...))` and the expected sizes of their rounding errors.

        dP_j = a_j g . v_j     D = sum_l P_l dP_l     X_j = dP_j - D     dS_j = P_j X_j     f_j = d s_j / d raw_j
        d query = sum_j f_j dS_j k_j            d value_j = sum_i a_ij P_ij g_i           d sink = - sum_i P_sink D
        d key_j = sum_i f_ij dS_ij q_i          d bias_ij = dS_ij

    with `g` a row of the cotangent and `a` the dropout factor. `score_gradient.py` has the errors of `dS` and of
    `d query`, `accumulated.py` those of the sums over queries; the documentation derives them under "The budget in
    closed form". They admit that the weights are computed again from a stored log-sum-exp, as `exp(s - lse)`, whose
    rounding moves all weights of a row by `u |lse|`.

    Arguments:
        query, key, value: as in `attention`.
        cotangent: `(b,h,q,v)`, what the output is multiplied by.
        mask, bias, causal, query_offset, window, key_lengths, scale, softcap, sinks, dropout, dropout_mask: as in
            `attention`.
        fused: admit the roundings of backward passes that keep the output and the log-sum-exp and no weights: they take
            `D = g . output`, compute the scores again, and store `dS` and, after every block, the sums of gradients in
            the tensors' dtype. Without it the sizes are those of the formula.
        groups: the key/value heads to compute, places in `g`, with all query heads that read them; all when None.

    Returns:
        The gradient of every input that has one: `query`, `key`, `value` and, where given, `bias` and `sinks`, with
        the axes of that input, of which `h` and `g` have the chosen heads only. A bias that chosen heads share with
        others is left out, for its gradient needs all of them. What no output depends on has the gradient 0, exactly.

    Raises:
        SpecificationError: as `attention`, and for a cotangent of another shape than the output.

    Example:
        >>> query, key, value = np.ones((1, 1, 2, 4)), np.ones((1, 1, 3, 4)), np.ones((1, 1, 3, 4))
        >>> gradients(query, key, value, np.ones((1, 1, 2, 4)))["value"].values.round(3)[0, 0, 0]
        array([0.667, 0.667, 0.667, 0.667])
    """
    options = {"mask": mask, "bias": bias, "causal": causal, "query_offset": query_offset, "window": window}
    options |= {"key_lengths": key_lengths, "scale": scale, "softcap": softcap, "sinks": sinks}
    options |= {"dropout": dropout, "dropout_mask": dropout_mask}
    call = Call("gradients", query, key, value, options)
    cotangent = _checked(call, cotangent)
    chosen = places("gradients", "groups", groups, call.sizes.groups)
    heads = (chosen[:, None] * call.repeats + np.arange(call.repeats)).ravel()

    batch_shape, sizes = call.sizes.batch, call.sizes
    results = {
        "query": empty((*batch_shape, len(heads), sizes.query_length, sizes.head_size)),
        "key": empty((*batch_shape, len(chosen), sizes.key_length, sizes.head_size)),
        "value": empty((*batch_shape, len(chosen), sizes.key_length, sizes.value_size)),
    }
    bias_sums = None if call.bias is None else BiasGradient(call, call.bias.shape, fused=fused)
    sink_sums = None if call.sinks is None else SinkGradient(len(heads), fused=fused)
    for batch in reversed(call.batches()):
        for group in reversed(range(len(chosen))):
            key_sums = KeyGradient(call, fused=fused)
            for place in reversed(range(group * call.repeats, (group + 1) * call.repeats)):
                source = Head(call, batch, heads[place])
                for block in reversed(call.blocks(sizes.query_length, at_most=_tile_length(sizes.query_length))):
                    tile = source.tile(np.arange(block.start, block.stop))
                    scored = score_gradient(
                        call,
                        tile,
                        weights(call, tile, heads[place]),
                        cotangent[(*batch, heads[place], block)].astype(np.float64),
                        fused=fused,
                    )
                    write(results["query"], (*batch, place, block), query_gradient(tile, scored, fused=fused))
                    key_sums.add(tile, scored)
                    if bias_sums is not None:
                        bias_sums.add(batch, heads[place], tile, scored)
                    if sink_sums is not None:
                        sink_sums.add(place, scored)
            key_sums.write(results, (*batch, group))
    if bias_sums is not None:
        results |= bias_sums.results(heads)
    if sink_sums is not None:
        results["sinks"] = sink_sums.found.result()
    return results


def _tile_length(length: int) -> int:
    """Return how many queries make a part of the sums over them: not few where many are left, for that is slow."""
    return part_length(length) if length <= FEW else max(part_length(length), FEW)


def _checked(call: Call, cotangent: Any) -> Array:
    cotangent = np.asarray(cotangent)
    expected = (*call.sizes.scores[:-1], call.sizes.value_size)
    if cotangent.shape != expected:
        rule = f"cotangent must have the shape of the output, here {shape_text(expected)}"
        reject("oracle.gradients", rule, shape_text(cotangent.shape))
    if not np.all(np.isfinite(cotangent)):
        reject("oracle.gradients", "cotangent must be finite", "NaN or infinity")
    return cotangent
