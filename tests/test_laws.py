"""What holds for every model whatever its numbers: laws, tried on random configurations."""

from __future__ import annotations

import os
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attention_ref import spec, weights
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.arrays import Arrays

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax",
    reason="JAX compiles every example anew; the other engines try the laws",
)
VOCAB, LENGTH, FREE = 7, 5, 3
LIMIT = 1e-12  # of float64, relative to the largest score; the models are at most two blocks deep
laws = settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def configurations(draw: st.DrawFn) -> spec.ModelConfig:
    """A decoder of any kind that a few choices make."""
    rotary = st.builds(spec.Rotary, interleaved=st.booleans(), dimension=st.sampled_from([None, 2]))
    learned = st.just(spec.Learned(length=LENGTH + FREE))
    return spec.ModelConfig.decoder(
        vocab=VOCAB,
        model=8,
        heads=2,
        kv_heads=draw(st.sampled_from([None, 1])),
        layers=draw(st.integers(1, 2)),
        feedforward=12,
        norm=draw(st.sampled_from([spec.Norm("layer", eps=1e-5), spec.Norm("rms", eps=1e-3)])),
        order=draw(st.sampled_from(["post", "pre", "sandwich", "parallel"])),
        activation=draw(st.sampled_from(["relu", "gelu", "gelu_tanh", "silu", "quick_gelu"])),
        gated=draw(st.booleans()),
        bias=draw(st.booleans()),
        positions=draw(st.one_of(st.just(spec.Sinusoid()), learned, rotary)),
        tied=draw(st.booleans()),
    )


class Model:
    """A room's model with random values in every tensor, from NumPy to NumPy."""

    def __init__(self, config: spec.ModelConfig, room: ModuleType, arrays: Arrays, seed: int) -> None:
        generator = np.random.default_rng(seed)
        shapes = {name: array.shape for name, array in weights.init(config).items()}
        params = {n: arrays.make(generator.normal(scale=0.5, size=s), "float64") for n, s in shapes.items()}
        self.model = subject_of(room, room.__name__.rpartition(".")[-1], "").operations["Transformer"](config, params)
        self.arrays = arrays
        self.tokens = generator.integers(0, VOCAB, (3, LENGTH))

    def __call__(self, tokens: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        integers = [None if array is None else self.arrays.make(array, "int64") for array in (tokens, lengths)]
        return self.arrays.read(self.model(integers[0], lengths=integers[1]))


def assert_same(left: np.ndarray, right: np.ndarray) -> None:
    assert np.abs(left - right).max() <= LIMIT * np.abs(right).max()


@given(config=configurations(), seed=st.integers(0, 1000), place=st.integers(1, LENGTH - 1))
@laws
def test_the_future_does_not_matter(
    room: ModuleType, room_arrays: Arrays, config: spec.ModelConfig, seed: int, place: int
) -> None:
    model = Model(config, room, room_arrays, seed)
    changed = model.tokens.copy()
    changed[:, place:] = (changed[:, place:] + 1) % VOCAB
    before, after = model(model.tokens), model(changed)
    assert_same(after[:, :place], before[:, :place])
    assert np.abs(after[:, place:] - before[:, place:]).max() > 1e-6


@given(config=configurations(), seed=st.integers(0, 1000), length=st.integers(1, LENGTH))
@laws
def test_padding_does_not_matter(
    room: ModuleType, room_arrays: Arrays, config: spec.ModelConfig, seed: int, length: int
) -> None:
    model = Model(config, room, room_arrays, seed)
    lengths = np.array([length, LENGTH, length])
    padded = model.tokens.copy()
    padded[0, length:] = (padded[0, length:] + 3) % VOCAB
    assert_same(model(padded, lengths)[:, :length], model(model.tokens, lengths)[:, :length])
    assert_same(model(padded, lengths)[:1, :length], model(model.tokens[:1, :length]))


@given(config=configurations(), seed=st.integers(0, 1000), order=st.permutations(range(3)))
@laws
def test_rows_of_a_batch_do_not_know_each_other(
    room: ModuleType, room_arrays: Arrays, config: spec.ModelConfig, seed: int, order: list[int]
) -> None:
    model = Model(config, room, room_arrays, seed)
    whole = model(model.tokens)
    assert_same(model(model.tokens[order]), whole[order])
    assert_same(model(model.tokens[:1]), whole[:1])


@given(config=configurations(), seed=st.integers(0, 1000), first=st.integers(1, LENGTH))
@laws
def test_a_cache_changes_nothing(
    room: ModuleType, room_arrays: Arrays, config: spec.ModelConfig, seed: int, first: int
) -> None:
    model = Model(config, room, room_arrays, seed)
    lengths = np.array([first, 1, first])
    scores, cache = model.model.step(model.tokens[:, :first], None, lengths=lengths, cache=None)
    texts = [model.tokens[row, : lengths[row]].tolist() for row in range(3)]
    for _ in range(FREE):
        for row, text in enumerate(texts):
            assert_same(scores[row], model(np.array([text]))[0, -1])
        chosen = scores.argmax(axis=-1)
        texts = [[*text, int(token)] for text, token in zip(texts, chosen, strict=True)]
        scores, cache = model.model.step(chosen[:, None], None, cache=cache)
