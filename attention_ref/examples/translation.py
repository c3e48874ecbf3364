"""A toy translation: write a string of symbols backwards, in other symbols.

It needs everything that an encoder-decoder is made of: two vocabularies, positions (without them "ab" is "ba"), padding
(strings differ in length), a causal decoder, cross-attention, and a stop token. It needs no download and no minute more
than one. This file has the task and what every framework's training shares; `translation_torch.py` and
`translation_keras.py` train the same configuration.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from attention_ref import generation
from attention_ref.spec import ModelConfig

PADDING, START, STOP, FIRST = 0, 1, 2, 3
SYMBOLS = "abcdefghij"
TRANSLATIONS = "ουιηεδγβαθ"
SHORTEST, LONGEST = 3, 8

CONFIG = ModelConfig.encoder_decoder(
    vocab=FIRST + len(SYMBOLS),
    target_vocab=FIRST + len(TRANSLATIONS),  # two vocabularies, two embeddings
    model=64,
    heads=4,
    layers=2,
    feedforward=128,
    dropout=0.05,
)
STEPS, BATCH, WARMUP, PEAK = 700, 64, 100, 3e-3
"""How long the models train, and the learning rate: up to its peak in a straight line, then down with the root."""


class Batch(NamedTuple):
    """Pairs of strings as tokens.

    Arguments:
        source, lengths: integers `(b,l)`, right-padded, and how many of each row are real.
        target: integers `(b,t)`: start token, translation, stop token, padding.
    """

    source: np.ndarray
    lengths: np.ndarray
    target: np.ndarray

    @property
    def read(self) -> np.ndarray:
        """What the decoder reads in training: the target without its last place (teacher forcing)."""
        return self.target[:, :-1]

    @property
    def predicted(self) -> np.ndarray:
        """What it must say at each of these places: the token that comes next."""
        return self.target[:, 1:]


def encode(strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Make tokens and lengths of strings over `SYMBOLS`."""
    source = np.full((len(strings), LONGEST), PADDING, np.int32)
    for row, string in enumerate(strings):
        source[row, : len(string)] = [FIRST + SYMBOLS.index(symbol) for symbol in string]
    return source, np.array([len(string) for string in strings], np.int32)


def decode(tokens: np.ndarray) -> list[str]:
    """Make strings over `TRANSLATIONS` of tokens; a string ends where one is no symbol."""
    rows = (list(row) for row in np.asarray(tokens))
    ended = (row[: next((i for i, token in enumerate(row) if token < FIRST), len(row))] for row in rows)
    return ["".join(TRANSLATIONS[token - FIRST] for token in row) for row in ended]


def translate(string: str) -> str:
    """Return the right translation: the string backwards, symbol by symbol."""
    return "".join(TRANSLATIONS[SYMBOLS.index(symbol)] for symbol in reversed(string))


def draw(generator: np.random.Generator, size: int, *, held_out: bool = False) -> list[str]:
    """Draw strings; one in eight of all there are is held out, and never trained on."""
    strings: list[str] = []
    while len(strings) < size:
        length = generator.integers(SHORTEST, LONGEST + 1)
        string = "".join(SYMBOLS[i] for i in generator.integers(0, len(SYMBOLS), length))
        if is_held_out(string) == held_out:
            strings.append(string)
    return strings


def is_held_out(string: str) -> bool:
    """Return whether a string is for testing: known from the string alone, so that no list has to be kept."""
    return sum((place + 1) * SYMBOLS.index(symbol) for place, symbol in enumerate(string)) % 8 == 0


def batch_of(strings: list[str]) -> Batch:
    """Make a batch of strings and their translations."""
    source, lengths = encode(strings)
    target = np.full((len(strings), LONGEST + 2), PADDING, np.int32)
    target[:, 0] = START
    for row, string in enumerate(strings):
        translation = [FIRST + TRANSLATIONS.index(symbol) for symbol in translate(string)]
        target[row, 1 : len(string) + 2] = [*translation, STOP]
    return Batch(source, lengths, target)


def learning_rate(step: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    return PEAK * min((step + 1) / WARMUP, (WARMUP / (step + 1)) ** 0.5)


def translated(model: Any, strings: list[str]) -> list[str]:
    """Translate strings greedily, by the model of any room."""
    source, lengths = encode(strings)
    prompt = np.full((len(strings), 1), START, np.int32)
    found = generation.greedy(
        model, prompt, length=LONGEST + 1, stop=STOP, padding=PADDING, source=source, source_lengths=lengths
    )
    return decode(found.tokens)


def exact_match(model: Any, strings: list[str]) -> float:
    """Return the fraction of strings that a model translates without an error."""
    found = translated(model, strings)
    return sum(one == translate(string) for one, string in zip(found, strings, strict=True)) / len(strings)
