"""The state of decoding: the cache of a model and its scores of the next token."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attention_ref.generation.job import Job
from attention_ref.spec.errors import reject

Array = np.ndarray[Any, Any]


class Generated(NamedTuple):
    """The result of decoding.

    Arguments:
        tokens: integers `(b,t)`, without the prompts; after the stop token the padding token.
        lengths: how many tokens each row has up to and including the stop token, `(b,)`.
        scores: the log-probability of the tokens of each row under the model, `(b,)`, float64; beam search divides it
            by the length to the power of the length penalty.
    """

    tokens: Array
    lengths: Array
    scores: Array


class Decoding:
    """A model after the prompts of a job.

    Arguments:
        operation: the name of the called function, for errors.
        job: its model and prompts.

    Attributes:
        scores: the scores of each row's next token, `(b,n)`, float64.
    """

    def __init__(self, operation: str, job: Job) -> None:
        self.operation, self.model = operation, job.model
        memory = None if job.source is None else job.model.encode(job.source, lengths=job.source_lengths)
        lengths = {"lengths": job.prompt_lengths, "memory_lengths": job.source_lengths}
        self.scores, self.cache = self._checked(job.model.step(job.prompt, memory, **lengths, cache=None))

    def read(self, tokens: Array) -> None:
        """Append one token to each row, `(b,)`."""
        self.scores, self.cache = self._checked(self.model.step(tokens[:, None], None, cache=self.cache))

    def select(self, rows: Array) -> None:
        """Continue with these batch rows, in which a row may be repeated."""
        self.scores, self.cache = self.scores[rows], self.model.select(self.cache, rows)

    def log_probabilities(self) -> Array:
        """Return the log-probability of each next token, `(b,n)`."""
        with np.errstate(over="ignore"):  # a difference that overflows float64 becomes infinite, as it should
            shifted = self.scores - self.scores.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def _checked(self, step: tuple[Array, Any]) -> tuple[Array, Any]:
        """Return the result of `step`, or reject scores without a most probable token."""
        highest = step[0].max(axis=-1)  # NaN if the row has one
        if not np.isfinite(highest).all():
            rule = "each row of the model's scores must have a finite maximum, without NaN"
            reject(self.operation, rule, highest[~np.isfinite(highest)][0])
        return step
