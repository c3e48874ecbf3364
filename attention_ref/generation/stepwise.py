"""Greedy decoding and sampling, one token after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.generation.decoding import Array, Decoding, Generated
from attention_ref.generation.job import Job, checked_job


def greedy(model: Any, prompt: Any, *, length: int, **options: Any) -> Generated:
    """Choose the most probable token at each step, the lowest one of a tie.

    Arguments:
        model: a decoder or an encoder-decoder with a language head, of any backend.
        prompt: the tokens that are continued, integers `(b,p)`, p at least 1.
        length: how many tokens to generate at most, at least 1.
        stop: the token that ends a row, or None.
        padding: the token after the end of a row; 0 by default.
        prompt_lengths: how many tokens of each prompt are not padding, integers `(b,)` from 1 to p; all when None.
        padded: the side of a prompt on which it is padded, `right` by default, or `left`.
        source: the input of the encoder of an encoder-decoder, one row for each prompt.
        source_lengths: how many positions of each source are not padding, integers `(b,)`; all when None.

    Returns:
        The generated tokens; a row ends with its stop token.

    Raises:
        SpecificationError: for an invalid argument, with the operation, the argument, the rule and what was received;
            and for scores without a finite maximum.
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
    """Draw each token from `softmax(scores / temperature)` over the tokens that `top_k` and `top_p` leave.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        generator: the source of randomness; each step draws one number in [0, 1) for each row and chooses the first
            token whose cumulative probability exceeds it, the most probable token first.
        temperature: divides the scores, finite and above 0.
        top_k: draw from the k most probable tokens only, at least 1; from all when None. Of a tie, the lowest tokens
            are left.
        top_p: draw from the smallest set of most probable tokens whose probabilities sum to at least p, above 0 and at
            most 1 (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020); after `temperature` and
            `top_k`.

    Returns:
        The generated tokens; a row ends with its stop token.

    Raises:
        SpecificationError: as in `greedy`.

    How others differ: Transformers' top-k leaves every token that is as probable as the k-th one.

    Example:
        >>> config = spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16)
        >>> model = Transformer(config, weights.init(config))
        >>> sample(model, [[1, 2]], length=3, generator=np.random.default_rng(0)).tokens.shape
        (1, 3)
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
    """Return the probability of each token relative to the most probable one, 0 if it is excluded.

    Arguments:
        ranked: scores `(b,n)`, highest first.
    """
    with np.errstate(over="ignore"):  # a difference that overflows float64 becomes infinite, as it should
        weights = np.exp((ranked - ranked[:, :1]) / float(temperature))
    if top_k is not None:
        weights[:, top_k:] = 0
    if top_p is not None:
        sums = weights.cumsum(axis=-1)
        before = np.pad(sums[:, :-1], ((0, 0), (1, 0)))  # a token is left if those before it do not suffice
        weights = np.where(before < float(top_p) * sums[:, -1:], weights, 0)
    return weights


def _generate(operation: str, job: Job, choose: Callable[[Array], Array]) -> Generated:
    """Choose tokens until every row has its stop token or the length is reached."""
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
