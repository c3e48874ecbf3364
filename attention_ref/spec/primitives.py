"""The softmax over the keys that are visible, and its denominator."""

from __future__ import annotations

from collections.abc import Sequence

from attention_ref.spec.numbers import Number, detached, exp, log, maximum, total


def softmax(scores: Sequence[Number], sink: Number | None = None) -> list[Number]:
    """Turn the scores of one row into weights.

        w_j = exp(s_j) / (sum_l exp(s_l) + exp(sink))

    Every exponent is shifted by the row's maximum, which changes no weight and lets none overflow.

    Arguments:
        scores: the scores of the visible keys, in order; there may be none.
        sink: a logit that joins the denominator and has no weight of its own (Xiao et al., "Efficient Streaming
            Language Models with Attention Sinks", 2023; learned for each head in gpt-oss).

    Returns:
        One weight for each score; NaN for all of them when a score is NaN or +inf.

    How others differ: a row without visible keys has no weights here. `jax.nn`, Flax and Keras give such a row the
    same weight everywhere, so that it returns the mean of the values, hidden ones included.
    """
    if not scores:
        return []
    exponentials, denominator, _ = _shifted(scores, sink)
    return [numerator / denominator for numerator in exponentials]


def log_sum_exp(scores: Sequence[Number], sink: Number | None = None) -> Number | None:
    """Give the logarithm of the softmax's denominator, `log(sum_l exp(s_l) + exp(sink))`; None stands for -inf.

    A row without visible keys gives -inf, with a sink too: it attends to nothing.

    Arguments:
        scores: the scores of the visible keys.
        sink: as in `softmax`.
    """
    if not scores:
        return None
    _, denominator, shift = _shifted(scores, sink)
    return shift + log(denominator)


def _shifted(scores: Sequence[Number], sink: Number | None) -> tuple[list[Number], Number, Number]:
    logits = list(scores) if sink is None else [*scores, sink]
    shift = detached(maximum(logits))
    exponentials = [exp(logit - shift) for logit in logits]
    return exponentials[: len(scores)], total(exponentials), shift
