"""Decoding: greedy, sampled and by beam search, written once over the model of any room.

A model takes part through two methods: `step`, which reads tokens behind a cache and gives the scores of the next token
as NumPy float64, and `select`, which picks batch rows of a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from attention_ref.spec.errors import reject

Array = np.ndarray[Any, Any]
Chooser = Callable[[Array], Array]


class Generated(NamedTuple):
    """What was generated.

    Arguments:
        tokens: integers `(b,t)`, prompts not among them; behind the stop token the padding token.
        lengths: how many tokens of each row count, the stop token among them, `(b,)`.
        scores: the sum of the logarithms of the chosen tokens' probabilities, `(b,)`, float64; in a beam search
            divided by the length to the power of the length penalty.
    """

    tokens: Array
    lengths: Array
    scores: Array


def greedy(model: Any, prompt: Any, *, length: int, **options: Any) -> Generated:
    """Choose the most probable token at each step, the first one among equals.

    Arguments:
        model: a decoder or an encoder-decoder with a language head, of any room.
        prompt: integers `(b,p)`, p at least 1; what the decoder reads first.
        length: how many tokens to generate at most.
        stop: the token that ends a row; None if there is none.
        padding: the token put behind the end; 0 when not given.
        prompt_lengths: how many tokens of each prompt are real, `(b,)`; all when None.
        padded: on which side of a prompt its padding stands, `right` when not given, or `left`.
        source: what the encoder of an encoder-decoder reads.
        source_lengths: how many places of each source are real, `(b,)`.

    Returns:
        What was generated; a row ends behind its stop token.

    Raises:
        SpecificationError: for prompts without a length or lengths that do not fit them.
    """
    return _generate(model, prompt, length, lambda scores: scores.argmax(axis=-1), options)


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
    """Draw each token by its probability.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        generator: where randomness comes from; each step draws one number for each row.
        temperature: what the scores are divided by, above 0.
        top_k: draw among the k most probable tokens only.
        top_p: draw among the fewest most probable tokens whose probabilities add up to at least p (Holtzman et al.,
            "The Curious Case of Neural Text Degeneration", 2020); after `top_k`.
    """
    if not temperature > 0:
        reject("sample", "temperature must be above 0", temperature)
    if top_k is not None and top_k < 1:
        reject("sample", "top_k must be at least 1", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        reject("sample", "top_p must be above 0 and at most 1", top_p)

    def choose(scores: Array) -> Array:
        order = np.argsort(-scores, axis=-1, kind="stable")  # (b,n), most probable first
        ranked = np.take_along_axis(scores, order, axis=-1) / temperature
        ranked[:, top_k:] = -np.inf
        shares = np.exp(_log_softmax(ranked))
        sums = shares.cumsum(axis=-1)
        if top_p is not None:
            shares = np.where(sums - shares < top_p, shares, 0)  # what comes before a token decides, so one stays
            sums = shares.cumsum(axis=-1)
        drawn = generator.random((len(scores), 1)) * sums[:, -1:]
        ranks = (sums <= drawn).sum(axis=-1, keepdims=True)
        return np.take_along_axis(order, ranks, axis=-1)[:, 0]

    return _generate(model, prompt, length, choose, options)


def beam_search(
    model: Any, prompt: Any, *, length: int, beams: int, length_penalty: float = 1.0, **options: Any
) -> Generated:
    """Keep the most probable beginnings at each step, and give the best finished one.

    A beginning is finished by the stop token, or by `length`. Finished ones are compared by the sum of logarithms of
    probabilities over `length^length_penalty`. The search of a row ends when it has `beams` finished ones.

    Arguments:
        model, prompt, length and the other options: as in `greedy`.
        beams: how many beginnings to keep.
        length_penalty: 0 compares sums, 1 compares means, more prefers longer ones.

    How others differ: Wu et al. (2016) divide by `((5 + length) / 6)^alpha`.
    """
    if beams < 1:
        reject("beam_search", "beams must be at least 1", beams)
    run = _Run(model, prompt, **options)
    batch, vocabulary = run.scores.shape
    run.select(np.repeat(np.arange(batch), beams))
    sums = np.where(np.arange(beams) == 0, 0.0, -np.inf) + np.zeros((batch, beams))  # all beams are one at first
    tokens = np.zeros((batch, beams, 0), np.int64)
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
    for step in range(1, length + 1):
        candidates = sums[..., None] + _log_softmax(run.scores).reshape(batch, beams, vocabulary)
        flat = candidates.reshape(batch, -1)
        best = np.argsort(-flat, axis=-1, kind="stable")[:, : 2 * beams]  # twice, for some of them may finish
        parents, choices = np.zeros((batch, beams), np.int64), np.zeros((batch, beams), np.int64)
        for row in range(batch):
            kept = 0
            for candidate in best[row]:
                beam, token = divmod(int(candidate), vocabulary)
                total = float(flat[row, candidate])
                if token == run.stop or step == length:
                    if len(finished[row]) < beams and total > -np.inf:
                        finished[row].append((total / step**length_penalty, [*tokens[row, beam].tolist(), token]))
                elif kept < beams:
                    parents[row, kept], choices[row, kept], sums[row, kept] = beam, token, total
                    kept += 1
            sums[row, kept:] = -np.inf
        tokens = np.concatenate([np.take_along_axis(tokens, parents[..., None], axis=1), choices[..., None]], axis=-1)
        if step == length or all(len(row) >= beams for row in finished):
            break
        run.select((np.arange(batch)[:, None] * beams + parents).ravel())
        run.read(choices.ravel())
    return _best(finished, run.padding)


def _best(finished: Sequence[Sequence[tuple[float, list[int]]]], padding: int) -> Generated:
    chosen = [max(row, key=lambda pair: pair[0]) for row in finished]
    lengths = np.array([len(tokens) for _, tokens in chosen])
    tokens = np.full((len(chosen), lengths.max()), padding)
    for row, (_, found) in enumerate(chosen):
        tokens[row, : len(found)] = found
    return Generated(tokens, lengths, np.array([score for score, _ in chosen]))


class _Run:
    """A model that reads on: its cache, and the scores of the next token. The arguments are those of `greedy`."""

    def __init__(
        self,
        model: Any,
        prompt: Any,
        *,
        stop: int | None = None,
        padding: int = 0,
        prompt_lengths: Any = None,
        padded: Literal["left", "right"] = "right",
        source: Any = None,
        source_lengths: Any = None,
    ) -> None:
        prompt = np.asarray(prompt)
        if prompt.ndim != 2 or prompt.shape[1] == 0:
            reject("generation", "prompt must have the shape (batch, length) with a length of at least 1", prompt.shape)
        lengths = np.full(len(prompt), prompt.shape[1]) if prompt_lengths is None else np.asarray(prompt_lengths)
        if lengths.shape != (len(prompt),) or lengths.min() < 1 or lengths.max() > prompt.shape[1]:
            rule = "prompt_lengths must be one number from 1 to the length for each row"
            reject("generation", rule, lengths.tolist())
        if padded == "left":
            prompt = _to_the_left(prompt, lengths)
        self.model, self.stop, self.padding = model, stop, padding
        self.memory = None if source is None else model.encode(source, lengths=source_lengths)
        self.scores, self.cache = model.step(
            prompt, self.memory, lengths=lengths, memory_lengths=source_lengths, cache=None
        )

    def read(self, tokens: Array) -> None:
        """Read one more token in each row."""
        self.scores, self.cache = self.model.step(tokens[:, None], None, cache=self.cache)

    def select(self, rows: Array) -> None:
        """Go on with these rows."""
        self.scores, self.cache = self.scores[rows], self.model.select(self.cache, rows)


def _generate(model: Any, prompt: Any, length: int, choose: Chooser, options: dict[str, Any]) -> Generated:
    run = _Run(model, prompt, **options)
    batch = len(run.scores)
    tokens, total = np.full((batch, length), run.padding), np.zeros(batch)
    lengths, is_open = np.zeros(batch, np.int64), np.ones(batch, bool)
    for step in range(length):
        chosen = np.where(is_open, choose(run.scores), run.padding)
        logarithms = np.take_along_axis(_log_softmax(run.scores), chosen[:, None], axis=-1)[:, 0]
        tokens[:, step] = chosen
        total += np.where(is_open, logarithms, 0)
        lengths += is_open
        if run.stop is not None:
            is_open &= chosen != run.stop
        if step + 1 == length or not is_open.any():
            break
        run.read(chosen)
    return Generated(tokens[:, : lengths.max(initial=0)], lengths, total)


def _to_the_left(prompt: Array, lengths: Array) -> Array:
    """Move each row's real tokens from the right end to the left one."""
    places = np.arange(prompt.shape[1]) + (prompt.shape[1] - lengths)[:, None]
    return np.take_along_axis(prompt, places % prompt.shape[1], axis=1)


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
