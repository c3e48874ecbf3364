"""A softmax whose scores arrive tile by tile, and the values that it weighs."""

from __future__ import annotations

import numpy as np

from attention_ref.numpy._arrays import Array


class RunningSoftmax:
    """The sums of `exp(s - m)` and of `exp(s - m) value` over the keys so far, `m` being the largest score so far.

    Arguments:
        rows: how many queries there are.
        largest: no score, hidden ones apart, exceeds this in size. Where `exp` of it stays so near to 1 that nothing
            is lost, `m` is 0 for good, and neither the maximum nor the subtraction is needed.
        dtype: of the arithmetic.
    """

    def __init__(self, rows: int, value_size: int, largest: float, dtype: np.dtype) -> None:
        self.is_shifted = not largest <= -np.log(np.finfo(dtype).eps)
        self.maximum = np.full((rows, 1), -np.inf if self.is_shifted else 0, dtype)
        self.total = np.zeros((rows, 1), dtype)
        self.output = np.zeros((rows, value_size), dtype)

    def add(self, scores: Array, value: Array, kept: Array | None) -> None:
        """Take in a tile.

        Arguments:
            scores: `(q,k)`, -inf where hidden; overwritten.
            value: `(k,v)`.
            kept: boolean, broadcasts to `(q,k)`; True where dropout keeps a weight. None keeps all.
        """
        if self.is_shifted:
            self._shift(np.max(scores, axis=1, keepdims=True))
            scores -= self._finite_maximum()
        np.exp(scores, out=scores)
        self.total += np.einsum("qk->q", scores)[:, None]
        if kept is not None:
            scores *= kept
        self.output += scores @ value

    def finish(self, sink: float | None, dropout: float) -> tuple[Array, Array]:
        """Return the output `(q,v)` and the log-sum-exp `(q,)`; 0 and -inf for a row without a visible key."""
        total, maximum, is_empty = self.total, self.maximum, self.total == 0
        if sink is not None:
            self._shift(np.full_like(maximum, sink))
            maximum = self._finite_maximum()
            total = self.total + np.exp(sink - maximum)
        output = self.output / np.where(is_empty, 1, total * (1 - dropout))
        return output, np.where(is_empty, -np.inf, maximum + np.log(total))[:, 0]

    def _shift(self, maximum: Array) -> None:
        """Raise the maximum of every row to at least `maximum`."""
        before, self.maximum = self.maximum, np.maximum(self.maximum, maximum)
        decay = np.exp(before - self._finite_maximum())
        self.total *= decay
        self.output *= decay

    def _finite_maximum(self) -> Array:
        """Return the maximum, 0 where no key was visible so far: `-inf - -inf` would be NaN."""
        return np.where(np.isneginf(self.maximum), 0, self.maximum)
