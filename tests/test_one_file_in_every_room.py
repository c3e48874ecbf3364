"""A model is saved once and is the same model in every room: outputs, every intermediate, and what it generates."""

from __future__ import annotations

import itertools
import os
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import generation, spec, vectors, weights
from attention_ref.conformance import cases
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec.arrays import as_array

pytest.importorskip("safetensors", reason="models are saved by safetensors")


def room_model(room: ModuleType, config: spec.ModelConfig, params: dict[str, Any]) -> Any:
    """Build a room's model for inference, in the dtype of its parameters."""
    return subject_of(room, room.__name__.rpartition(".")[-1], "").operations["Transformer"](config, params)


KINDS = {"b": "bool", "i": "int64"}
MODELS = [case for profile in vectors.profiles("Transformer") for case in cases("Transformer", profile)]
WHOLE = [case for case in MODELS if not case.call.chunks and not case.is_optional]
STACKS = ("encoder_stack", "decoder_stack")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.id)
def test_a_model_from_a_file(case, dtype: str, room: ModuleType, room_arrays: Framework, tmp_path) -> None:
    on_jax = room.__name__.endswith("keras") and os.environ.get("KERAS_BACKEND") == "jax"
    if on_jax and dtype == "float32" and not case.id.endswith("four-layers"):
        pytest.skip("JAX compiles every shape anew for every dtype; there the deepest models stand for all in float32")
    path = tmp_path / "model.safetensors"
    weights.save(path, case.call.config, {name: array.astype(dtype) for name, array in case.call.parameters.items()})
    config, params = weights.load(path)
    told = {}
    model = room_model(room, config, {name: room_arrays.make(params[name], dtype) for name in params})
    inputs = {
        name: room_arrays.make(array, KINDS.get(array.dtype.kind, dtype)) for name, array in case.call.inputs.items()
    }
    output = model(**inputs, **case.call.options, tap=told.__setitem__)

    assert config == case.call.config
    assert list(told) == list(case.taps)
    for got, expected in [(output, case.expected["output"]), *((told[n], e) for n, e in case.taps.items())]:
        shares = compare(room_arrays.read(got), expected.values, budget(expected.roundings, dtype)).share
        assert shares.max(initial=0) <= 1


def test_every_kind_of_model_has_one_to_four_layers() -> None:
    stacks = [[getattr(case.call.config, name) for name in STACKS] for case in WHOLE]
    depths = {tuple(len(stack.blocks) if stack else 0 for stack in pair) for pair in stacks}
    assert depths >= {kind for n in (1, 2, 3, 4) for kind in ((n, 0), (0, n), (n, n))}


CONFIGS = {
    "decoder": spec.ModelConfig.decoder(vocab=5, model=8, heads=2, layers=2, feedforward=16),
    "rotary": spec.ModelConfig.decoder(
        vocab=5,
        model=8,
        heads=4,
        kv_heads=2,
        layers=1,
        feedforward=16,
        positions=spec.Rotary(),
        bias=False,
        norm=spec.Norm("rms", eps=1e-6),
        gated=True,
        activation="silu",
    ),
    "encoder-decoder": spec.ModelConfig.encoder_decoder(vocab=5, model=8, heads=2, layers=1, feedforward=16),
}
PROMPTS, LENGTHS = [[1, 2, 3], [4, 0, 0]], [3, 1]
SOURCES = {"source": [[1, 2, 3], [3, 4, 0]], "source_lengths": [3, 2]}
STEPS = 4


def _random(config: spec.ModelConfig, arrays: Framework) -> dict[str, Any]:
    generator = np.random.default_rng(7)
    shapes = {name: array.shape for name, array in weights.init(config).items()}
    return {name: arrays.make(generator.normal(scale=0.6, size=shape), "float64") for name, shape in shapes.items()}


def _options(config: spec.ModelConfig) -> dict:
    sources = {name: np.array(array) for name, array in SOURCES.items()} if config.encoder_stack is not None else {}
    return {"prompt_lengths": np.array(LENGTHS), **sources}


class Specified:
    """The specification, asked for the whole text at every step: no cache, no room."""

    def __init__(self, config: spec.ModelConfig) -> None:
        self.has_source = config.encoder_stack is not None
        self.model = spec.Transformer(
            config, {n: as_array(a.tolist()) for n, a in _random(config, framework("numpy")).items()}
        )

    def logarithms(self, row: int, text: list[int]) -> np.ndarray:
        source = [[SOURCES["source"][row][: SOURCES["source_lengths"][row]]]] if self.has_source else []
        scores = self.model(*(part for part in source), [text])
        last = np.array(scores[(0, len(text) - 1)])
        return last - np.log(np.exp(last - last.max()).sum()) - last.max()


def _prompt(row: int) -> list[int]:
    return PROMPTS[row][: LENGTHS[row]]


@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_decoding_takes_the_most_probable_token(name: str, room: ModuleType, room_arrays: Framework) -> None:
    config = CONFIGS[name]
    model = room_model(room, config, _random(config, room_arrays))
    right = generation.greedy(model, np.array(PROMPTS), length=STEPS, **_options(config))
    moved = np.array([[1, 2, 3], [0, 0, 4]])
    left = generation.greedy(model, moved, length=STEPS, padded="left", **_options(config))

    specified = Specified(config)
    for row in range(2):
        text, total = _prompt(row), 0.0
        for _ in range(STEPS):
            logarithms = specified.logarithms(row, text)
            total += logarithms.max()
            text = [*text, int(logarithms.argmax())]
        assert right.tokens[row].tolist() == text[LENGTHS[row] :]
        assert right.scores[row] == pytest.approx(total, rel=1e-9)
    np.testing.assert_array_equal(left.tokens, right.tokens)


@pytest.mark.parametrize("name", ["decoder", "encoder-decoder"])
def test_a_beam_that_holds_every_text_finds_the_best_one(name: str, room: ModuleType, room_arrays: Framework) -> None:
    config, length = CONFIGS[name], 3
    model = room_model(room, config, _random(config, room_arrays))
    options = _options(config)
    found = generation.beam_search(model, np.array(PROMPTS), length=length, beams=25, length_penalty=0.0, **options)

    specified = Specified(config)
    for row in range(2):
        scores = {}
        for text in itertools.product(range(5), repeat=length):
            prefixes = [[*_prompt(row), *text[:i]] for i in range(length)]
            scores[text] = sum(_logarithms(specified, row, tuple(p))[t] for p, t in zip(prefixes, text, strict=True))
        best = max(scores, key=scores.__getitem__)
        assert tuple(found.tokens[row]) == best
        assert found.scores[row] == pytest.approx(scores[best], rel=1e-9)


_known: dict = {}


def _logarithms(specified: Specified, row: int, text: tuple[int, ...]) -> np.ndarray:
    key = (specified.has_source, row, text)
    if key not in _known:
        _known[key] = specified.logarithms(row, list(text))
    return _known[key]


def test_sampling_follows_the_probabilities(room: ModuleType, room_arrays: Framework) -> None:
    config = CONFIGS["decoder"]
    model = room_model(room, config, _random(config, room_arrays))
    rows = 2000
    prompts = np.repeat(np.array([[1, 2]]), rows, axis=0)
    drawn = generation.sample(model, prompts, length=1, generator=np.random.default_rng(3), temperature=0.7, top_k=3)

    shares = np.exp(Specified(config).logarithms(0, [1, 2]) / 0.7)
    shares[np.argsort(shares)[:2]] = 0
    shares /= shares.sum()
    counts = np.bincount(drawn.tokens[:, 0], minlength=5)
    assert (np.abs(counts - rows * shares) <= 5 * np.sqrt(rows * shares * (1 - shares))).all()


def test_a_stop_token_ends_a_row(room: ModuleType, room_arrays: Framework) -> None:
    config = CONFIGS["decoder"]
    model = room_model(room, config, _random(config, room_arrays))
    free = generation.greedy(model, np.array([[1, 2, 3]]), length=STEPS)
    stop = int(free.tokens[0, 1])
    first = free.tokens[0].tolist().index(stop)
    stopped = generation.greedy(model, np.array([[1, 2, 3]]), length=STEPS, stop=stop)
    assert stopped.tokens[0].tolist() == free.tokens[0, : first + 1].tolist()
    assert stopped.lengths.tolist() == [first + 1]
