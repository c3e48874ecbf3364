"""The state that every way of decoding advances: the cache of a model and its scores of the next token."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attention_ref.generation.job import Job
from attention_ref.spec.errors import reject

Array = np.ndarray[Any, Any]


class Generated(NamedTuple):
    """What was generated.

    Arguments:
        tokens: integers `(b,t)`, prompts not among them; behind the stop token the padding token.
        lengths: how many tokens of each row count, the stop token among them, `(b,)`.
        scores: the sum of the logarithms of the chosen tokens' probabilities under the model, `(b,)`, float64; in a
            beam search divided by the length to the power of the length penalty.
    """

    tokens: Array
    lengths: Array
    scores: Array


class Decoding:
    """A model that has read the prompts of a job.

    Arguments:
        operation: the public name of what was called.
        job: its model and prompts.

    Attributes:
        scores: of the next token of each row, `(b,n)`, float64.
    """

    def __init__(self, operation: str, job: Job) -> None:
        self.operation, self.model = operation, job.model
        memory = None if job.source is None else job.model.encode(job.source, lengths=job.source_lengths)
        lengths = {"lengths": job.prompt_lengths, "memory_lengths": job.source_lengths}
        self.scores, self.cache = self._checked(job.model.step(job.prompt, memory, **lengths, cache=None))

    def read(self, tokens: Array) -> None:
        """Read one more token `(b,)` in each row."""
        self.scores, self.cache = self._checked(self.model.step(tokens[:, None], None, cache=self.cache))

    def select(self, rows: Array) -> None:
        """Continue with these batch rows, any row any number of times."""
        self.scores, self.cache = self.scores[rows], self.model.select(self.cache, rows)

    def log_probabilities(self) -> Array:
        """Return the logarithm of the probability of each next token, `(b,n)`."""
        with np.errstate(over="ignore"):  # a distance past float64 is an infinite one
            shifted = self.scores - self.scores.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def _checked(self, step: tuple[Array, Any]) -> tuple[Array, Any]:
        """Return what `step` gave, or reject scores that have no most probable token."""
        highest = step[0].max(axis=-1)  # NaN where a row has one
        if not np.isfinite(highest).all():
            rule = "each row of the model's scores must have a finite maximum, without NaN"
            reject(self.operation, rule, highest[~np.isfinite(highest)][0])
        return step
