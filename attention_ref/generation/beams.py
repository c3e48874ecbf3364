"""Decoding by beam search: several hypotheses for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attention_ref.generation.decoding import Decoding, Generated
from attention_ref.generation.job import checked_job


def beam_search(
    model: Any, prompt: Any, *, length: int, beams: int, length_penalty: float = 1.0, **options: Any
) -> Generated:
    """Keep the most probable hypotheses at each step, and return the best finished one.

    A hypothesis is finished by the stop token, or by `length`. Finished hypotheses are compared by their
    log-probability over `length^length_penalty`. Each step goes through the `2 beams` most probable continuations of
    all hypotheses, the most probable first: the first ones become up to `beams` finished hypotheses in total, if they
    end, and up to `beams` hypotheses of the next step, if they do not. The search of a row ends when it has `beams`
    finished hypotheses. Ties are broken by hypothesis and then by token, the lowest first.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        beams: the number of hypotheses, at least 1.
        length_penalty: 0 compares sums of log-probabilities, 1 compares means, a larger one prefers longer hypotheses;
            finite.

    Returns:
        The generated tokens; a row ends with its stop token.

    Raises:
        SpecificationError: as in `greedy`.

    How others differ: Wu et al. (2016) divide by `((5 + length) / 6)^alpha`.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> model = Transformer(config, weights.init(config))
        >>> beam_search(model, [[1, 2]], length=3, beams=2).tokens.shape
        (1, 3)
    """
    own = {"beams": beams, "length_penalty": length_penalty}
    job = checked_job("beam_search", own, model, prompt, length=length, **options)
    decoding = Decoding("beam_search", job)
    batch, vocabulary = decoding.scores.shape
    decoding.select(np.repeat(np.arange(batch), beams))
    sums = np.where(np.arange(beams) == 0, 0.0, -np.inf) + np.zeros((batch, beams))  # all beams are equal at first
    tokens = np.zeros((batch, beams, 0), np.int64)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
    for step in range(1, length + 1):
        candidates = sums[..., None] + decoding.log_probabilities().reshape(batch, beams, vocabulary)
        flat = candidates.reshape(batch, -1)
        best = np.argsort(-flat, axis=-1, kind="stable")[:, : 2 * beams]  # twice, because some may finish
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
