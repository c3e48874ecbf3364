"""The softmax over the keys that are visible, and its denominator."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.numpy._arrays import Array, as_array, describe, widen
from attention_ref.spec.shapes import check_softmax


@np.errstate(all="ignore")  # infinities and NaN are results here, not accidents
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
    weights = np.where(visible, exponentials / denominator, 0)
    return weights.astype(scores.dtype)


@np.errstate(all="ignore")
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
    log_sums = np.where(is_empty, -np.inf, shift + np.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = as_array(scores)
    visible = as_array(True if visible is None else visible)
    sinks = None if sinks is None else as_array(sinks)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = np.broadcast_to(visible, scores.shape)
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Give the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ~np.any(visible, axis=-1, keepdims=True)  # (...,1)
    logits = np.where(visible, scores, -np.inf)
    maximum = np.max(logits, axis=-1, keepdims=True, initial=-np.inf)
    if sinks is not None:
        sinks = np.where(is_empty, -np.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = np.maximum(maximum, sinks)
    shift = np.where(is_empty, 0, maximum)
    exponentials = np.exp(logits - shift)
    denominator = np.sum(exponentials, axis=-1, keepdims=True)
    if sinks is not None:
        denominator = denominator + np.exp(sinks - shift)
    return exponentials, np.where(is_empty, 1, denominator), shift, is_empty
