"""The softmax over the keys that are visible, and its denominator."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from attention_ref.keras._arrays import Array, as_array, describe, symbolic, widen
from attention_ref.spec.shapes import check_softmax


@symbolic
def softmax(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Turn scores into weights along the last axis.

        w_j = exp(s_j) / (sum_l exp(s_l) + exp(sink))           over the visible keys l; 0 elsewhere

    Every exponent is shifted by the row's maximum, which changes no weight and lets none overflow.

    Arguments:
        scores: float `(...,k)`.
        visible: boolean, broadcasts to `scores`; True where a key may be attended to. None is everywhere.
        sinks: of the dtype of `scores`, broadcasts to them without their last axis; a logit that joins the denominator
            and has no weight of its own.

    Returns:
        The weights `(...,k)` in the dtype of `scores`; float16 and bfloat16 are computed in float32. A row without
        visible keys has weights 0; one that sees NaN or +inf has NaN for every visible key.

    Raises:
        SpecificationError: for scores or sinks that are not floats, a visibility that is not boolean, and what does
            not broadcast.
    """
    scores, visible, sinks = _operands("softmax", scores, visible, sinks)
    exponentials, denominator, _, _ = _shifted(widen(scores), visible, sinks)
    weights = ops.where(visible, exponentials / denominator, 0)
    return ops.cast(weights, scores.dtype)


@symbolic
def log_sum_exp(scores: Any, *, visible: Any = None, sinks: Any = None) -> Array:
    """Give the logarithm of the softmax's denominator, `log(sum_l exp(s_l) + exp(sink))` over the visible keys l.

    Arguments:
        scores, visible, sinks: as in `softmax`.

    Returns:
        `(...)`, float32 for float16 and bfloat16, otherwise in the dtype of `scores`. A row without visible keys gives
        -inf, with a sink too.

    Raises:
        SpecificationError: as `softmax`.
    """
    scores, visible, sinks = _operands("log_sum_exp", scores, visible, sinks)
    _, denominator, shift, is_empty = _shifted(widen(scores), visible, sinks)
    log_sums = ops.where(is_empty, -math.inf, shift + ops.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = as_array(scores)
    visible = as_array(True if visible is None else visible)
    sinks = None if sinks is None else as_array(sinks)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = ops.broadcast_to(visible, ops.shape(scores))
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Give the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ops.logical_not(ops.any(visible, axis=-1, keepdims=True))  # (...,1)
    logits = ops.where(visible, scores, -math.inf)
    maximum = _largest(ops.stop_gradient(logits))  # (...,1)
    if sinks is not None:
        sinks = ops.where(is_empty, -math.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = ops.stop_gradient(ops.where(sinks > maximum, sinks, maximum))  # ops.maximum may round float64
    shift = ops.where(is_empty, 0, maximum)
    exponentials = ops.exp(logits - shift)
    denominator = ops.sum(exponentials, axis=-1, keepdims=True)
    if sinks is not None:
        denominator = denominator + ops.exp(sinks - shift)
    return exponentials, ops.where(is_empty, 1, denominator), shift, is_empty


def _largest(logits: Array) -> Array:
    """Give the row maximum, -inf of no logits at all, where `ops.amax` has no answer."""
    if 0 in logits.shape:
        return ops.full((*ops.shape(logits)[:-1], 1), -math.inf, dtype=logits.dtype)
    return ops.amax(logits, axis=-1, keepdims=True)
