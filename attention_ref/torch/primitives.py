"""The softmax over the keys that are visible, and its denominator."""

from __future__ import annotations

import math
from typing import Any

import torch

from attention_ref.spec.shapes import check_softmax
from attention_ref.torch._arrays import Array, as_array, describe, widen


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
    weights = torch.where(visible, exponentials / denominator, 0)
    return weights.to(scores.dtype)


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
    log_sums = torch.where(is_empty, -math.inf, shift + torch.log(denominator))
    return log_sums[..., 0]


def _operands(operation: str, scores: Any, visible: Any, sinks: Any) -> tuple[Array, Array, Array | None]:
    """Check what is given; give the visibility in the shape of the scores, the sinks in at least float32."""
    scores = as_array(scores)
    visible = as_array(True if visible is None else visible, scores.device)
    sinks = None if sinks is None else as_array(sinks, scores.device)
    check_softmax(operation, describe(scores), describe(visible), None if sinks is None else describe(sinks))
    visible = torch.broadcast_to(visible, scores.shape)
    return scores, visible, None if sinks is None else widen(sinks)


def _shifted(scores: Array, visible: Array, sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Give the exponentials, their sum with the sink's (1 in an empty row), the shift, and which rows are empty."""
    is_empty = ~torch.any(visible, dim=-1, keepdim=True)  # (...,1)
    logits = torch.where(visible, scores, -math.inf)
    maximum = _largest(logits.detach())  # (...,1)
    if sinks is not None:
        sinks = torch.where(is_empty, -math.inf, sinks[..., None])  # an empty row attends to nothing, not to its sink
        maximum = torch.maximum(maximum, sinks.detach())
    shift = torch.where(is_empty, 0, maximum)
    exponentials = torch.exp(logits - shift)
    denominator = torch.sum(exponentials, dim=-1, keepdim=True)
    if sinks is not None:
        denominator = denominator + torch.exp(sinks - shift)
    return exponentials, torch.where(is_empty, 1, denominator), shift, is_empty


def _largest(logits: Array) -> Array:
    """Give the row maximum, -inf of no logits at all, where `torch.amax` has no answer."""
    if logits.shape[-1] == 0:
        return logits.new_full((*logits.shape[:-1], 1), -math.inf)
    return torch.amax(logits, dim=-1, keepdim=True)
