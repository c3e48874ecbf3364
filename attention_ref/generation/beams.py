"""Decoding by beam search: several beginnings of each row at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_ref.generation.decoding import Decoding, Generated
from attention_ref.generation.job import checked_job


def beam_search(
    model: Any, prompt: Any, *, length: int, beams: int, length_penalty: float = 1.0, **options: Any
) -> Generated:
    """Keep the most probable beginnings at each step, and return the best finished one.

    A beginning is finished by the stop token, or by `length`. Finished ones are compared by the sum of logarithms of
    probabilities over `length^length_penalty`. At each step the `2 beams` most probable continuations of all beginnings
    are looked at, the most probable first: one that is finished is put aside while fewer than `beams` are, the others
    are kept while fewer than `beams` are. The search of a row ends when it has `beams` finished ones. Among equals the
    first one counts, by beginning and then by token.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        beams: how many beginnings to keep, at least 1.
        length_penalty: 0 compares sums, 1 compares means, more prefers longer ones; finite.

    Returns:
        What was generated; a row ends behind its stop token.

    Raises:
        SpecificationError: as in `greedy`.

    How others differ: Wu et al. (2016) divide by `((5 + length) / 6)^alpha`.
    """
    own = {"beams": beams, "length_penalty": length_penalty}
    job = checked_job("beam_search", own, model, prompt, length=length, **options)
    decoding = Decoding("beam_search", job)
    batch, vocabulary = decoding.scores.shape
    decoding.select(np.repeat(np.arange(batch), beams))
    sums = np.where(np.arange(beams) == 0, 0.0, -np.inf) + np.zeros((batch, beams))  # all beams are one at first
    tokens = np.zeros((batch, beams, 0), np.int64)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
    for step in range(1, length + 1):
        candidates = sums[..., None] + decoding.log_probabilities().reshape(batch, beams, vocabulary)
        flat = candidates.reshape(batch, -1)
        best = np.argsort(-flat, axis=-1, kind="stable")[:, : 2 * beams]  # twice, for some of them may finish
        parents, choices = np.zeros((batch, beams), np.int64), np.zeros((batch, beams), np.int64)
        for row in range(batch):
            kept = 0
            for candidate in best[row]:
                beam, token = divmod(int(candidate), vocabulary)
                total = float(flat[row, candidate])
                if token == job.stop or step == length:
                    if len(finished[row]) < beams and total > -np.inf:
                        finished[row].append(
                            (total / step ** float(length_penalty), [*tokens[row, beam].tolist(), token])
                        )
                elif kept < beams:
                    parents[row, kept], choices[row, kept], sums[row, kept] = beam, token, total
                    kept += 1
            sums[row, kept:] = -np.inf
        tokens = np.concatenate([np.take_along_axis(tokens, parents[..., None], axis=1), choices[..., None]], axis=-1)
        if step == length or all(len(row) >= beams for row in finished):
            break
        decoding.select((np.arange(batch)[:, None] * beams + parents).ravel())
        decoding.read(choices.ravel())
    return _best(finished, job.padding)


def _best(finished: Sequence[Sequence[tuple[float, list[int]]]], padding: int) -> Generated:
    chosen = [max(row, key=lambda pair: pair[0]) for row in finished]
    lengths = np.array([len(tokens) for _, tokens in chosen])
    tokens = np.full((len(chosen), lengths.max()), padding)
    for row, (_, found) in enumerate(chosen):
        tokens[row, : len(found)] = found
    return Generated(tokens, lengths, np.array([score for score, _ in chosen]))
