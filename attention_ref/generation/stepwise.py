"""Decoding one token after another: the most probable one, or one that is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.generation.decoding import Array, Decoding, Generated
from attention_ref.generation.job import Job, checked_job


def greedy(model: Any, prompt: Any, *, length: int, **options: Any) -> Generated:
    """Choose the most probable token at each step, the first one among equals.

    Arguments:
        model: a decoder or an encoder-decoder with a language head, of any room.
        prompt: integers `(b,p)`, p at least 1; what the decoder reads first.
        length: how many tokens to generate at most, at least 1.
        stop: the token that ends a row; None if there is none.
        padding: the token put behind the end; 0 when not given.
        prompt_lengths: how many tokens of each prompt are real, integers `(b,)` from 1 to p; all when None.
        padded: on which side of a prompt its padding stands, `right` when not given, or `left`.
        source: what the encoder of an encoder-decoder reads; one row for each prompt.
        source_lengths: how many places of each source are real, integers `(b,)`; all when None.

    Returns:
        What was generated; a row ends behind its stop token.

    Raises:
        SpecificationError: for an argument that is none of these, with the operation, the argument, its rule and what
            was received; and for scores that are NaN.
    """
    job = checked_job("greedy", {}, model, prompt, length=length, **options)
    return _generate("greedy", job, lambda scores: scores.argmax(axis=-1))


def sample(
    model: Any,
    prompt: Any,
    *,
    length: int,
    generator: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    **options: Any,
) -> Generated:
    """Draw each token by its probability, `softmax(scores / temperature)` over the tokens that are left.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        generator: where randomness comes from; each step draws one number in [0, 1) for each row, and the first token
            whose cumulative probability exceeds it is chosen, the most probable token first.
        temperature: what the scores are divided by, finite and above 0.
        top_k: leave the k most probable tokens only, at least 1; all when there are no more. Among equals the first
            ones stay.
        top_p: leave the fewest most probable tokens whose probabilities add up to at least p, above 0 and at most 1
            (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020); after `temperature` and `top_k`.

    Returns:
        What was generated; a row ends behind its stop token.

    Raises:
        SpecificationError: as in `greedy`.

    How others differ: Transformers leaves every token that is as probable as the k-th one.
    """
    own = {"generator": generator, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    job = checked_job("sample", own, model, prompt, length=length, **options)

    def draw(scores: Array) -> Array:
        order = np.argsort(-scores, axis=-1, kind="stable")  # (b,n), most probable first
        weights = _weights(np.take_along_axis(scores, order, axis=-1), temperature, top_k, top_p)
        sums = weights.cumsum(axis=-1)
        drawn = generator.random((len(scores), 1)) * sums[:, -1:]
        ranks = (sums <= drawn).sum(axis=-1, keepdims=True)
        return np.take_along_axis(order, ranks, axis=-1)[:, 0]

    return _generate("sample", job, draw)


def _weights(ranked: Array, temperature: float, top_k: int | None, top_p: float | None) -> Array:
    """Return the probability of each token relative to the most probable one, 0 where it is left out.

    Arguments:
        ranked: scores `(b,n)`, highest first.
    """
    with np.errstate(over="ignore"):  # a distance past float64 is an infinite one
        weights = np.exp((ranked - ranked[:, :1]) / float(temperature))
    if top_k is not None:
        weights[:, top_k:] = 0
    if top_p is not None:
        sums = weights.cumsum(axis=-1)
        before = np.pad(sums[:, :-1], ((0, 0), (1, 0)))  # a token stays where those before it do not suffice
        weights = np.where(before < float(top_p) * sums[:, -1:], weights, 0)
    return weights


def _generate(operation: str, job: Job, choose: Callable[[Array], Array]) -> Generated:
    """Choose token after token until every row has its stop token or the length is reached."""
    decoding = Decoding(operation, job)
    batch = len(decoding.scores)
    tokens, total = np.full((batch, job.length), job.padding), np.zeros(batch)
    lengths, is_open = np.zeros(batch, np.int64), np.ones(batch, bool)
    for step in range(job.length):
        chosen = np.where(is_open, choose(decoding.scores), job.padding)
        logarithms = np.take_along_axis(decoding.log_probabilities(), chosen[:, None], axis=-1)[:, 0]
        tokens[:, step] = chosen
        total += np.where(is_open, logarithms, 0)
        lengths += is_open
        if job.stop is not None:
            is_open &= chosen != job.stop
        if step + 1 == job.length or not is_open.any():
            break
        decoding.read(chosen)
    return Generated(tokens[:, : lengths.max()], lengths, total)
