"""The examples of the site: they agree with the specification in every backend, and what they train learns."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import attention_ref.numpy
from attention_ref import spec, weights
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.examples import additive, encoder, translation
from attention_ref.examples.agreement import agreement, specified

FOLDER = Path(additive.__file__).parent
RANDOM = np.random.default_rng(0)
HELD_OUT = translation.draw(np.random.default_rng(99), 100, held_out=True)


def drawn(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def name_of(room: ModuleType) -> str:
    return room.__name__.rpartition(".")[-1]


def in_inference(model):
    return model.eval() if hasattr(model, "eval") else model


def agrees(room_arrays: Framework, result, expected) -> None:
    agreement({"room": room_arrays.read(result).astype(np.float32)}, expected)


def test_attention(room: ModuleType, room_arrays: Framework) -> None:
    example = importlib.import_module(f"attention_ref.examples.attention_{name_of(room)}")
    arrays = drawn(2, 2, 5, 4), drawn(2, 2, 5, 4), drawn(2, 2, 5, 6)
    lengths = np.array([5, 3])
    given = [room_arrays.make(array, "float32") for array in arrays]
    expected = spec.attention(*map(specified, arrays), key_lengths=specified(lengths))
    agrees(room_arrays, example.cross_attention(*given, room_arrays.make(lengths, "int64")), expected)
    expected = spec.attention(*map(specified, arrays), causal=True, return_weights=True)
    for result, truth in zip(example.self_attention(*given), expected, strict=True):
        agrees(room_arrays, result, truth)


def test_additive_attention(room: ModuleType, room_arrays: Framework) -> None:
    state, memory, kernels = drawn(2, 1, 3, additive.QUERY_SIZE), drawn(2, 1, 5, additive.KEY_SIZE), additive.kernels()
    lengths = np.array([5, 2])
    made = [room_arrays.make(array, "float32") for array in (state, memory)]
    given = {name: room_arrays.make(array, "float32") for name, array in kernels.items()}
    result = additive.decoder_looks_at_encoder(room, *made, room_arrays.make(lengths, "int64"), given)
    expected = spec.additive_attention(
        *map(specified, (state, memory, memory)),
        key_lengths=specified(lengths),
        **{name: specified(array) for name, array in kernels.items()},
    )
    agrees(room_arrays, result, expected)


@pytest.mark.parametrize("make", [encoder.article_a, encoder.article_e])
def test_encoder(make, room: ModuleType, room_arrays: Framework) -> None:
    config = make(layers=2)
    params = encoder.parameters(config)
    model = in_inference(room.Transformer(config, params))
    specification = spec.Transformer(config, {name: specified(array) for name, array in params.items()})
    expected = specification(specified(encoder.TOKENS), lengths=specified(encoder.LENGTHS))
    agrees(room_arrays, model(encoder.TOKENS, lengths=encoder.LENGTHS), expected)


def test_the_toy_translation_is_what_it_says() -> None:
    assert translation.translate("abc") == "ιυο"
    batch = translation.batch_of(["abc", "abcdefgh"])
    assert batch.source[0].tolist() == [3, 4, 5, 0, 0, 0, 0, 0]
    assert batch.lengths.tolist() == [3, 8]
    assert batch.read[0].tolist() == [1, 5, 4, 3, 2, 0, 0, 0, 0]
    assert batch.predicted[0].tolist() == [5, 4, 3, 2, 0, 0, 0, 0, 0]
    assert translation.decode(batch.predicted) == [translation.translate("abc"), translation.translate("abcdefgh")]
    trained_on = translation.draw(np.random.default_rng(0), 500)
    assert not any(translation.is_held_out(string) for string in trained_on)
    assert all(translation.is_held_out(string) for string in HELD_OUT)


@pytest.mark.long
def test_a_trained_translation_is_right_and_the_same_in_numpy(room: ModuleType, tmp_path: Path) -> None:
    """It trains for real, in a third of the steps that the pages of the site take. Guessing translates none."""
    name = name_of(room)
    if name == "numpy":
        pytest.skip("the NumPy backend does not train")
    if name == "keras" and importlib.import_module("keras").backend.backend() != "tensorflow":
        pytest.skip("one engine of Keras is enough to see the example train")
    example = importlib.import_module(f"attention_ref.examples.translation_{name}")
    model = example.train(steps=250)
    assert translation.exact_match(model, HELD_OUT) > 0.6
    weights.save(tmp_path / "translation.safetensors", translation.CONFIG, example.parameters(model))
    config, params = weights.load(tmp_path / "translation.safetensors")
    in_numpy = attention_ref.numpy.Transformer(config, params)
    assert translation.translated(in_numpy, HELD_OUT) == translation.translated(model, HELD_OUT)


@pytest.mark.parametrize("example", ["attention_{room}", "additive", "encoder"])
def test_an_example_runs_as_a_program(example: str, room: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / f"{example.format(room=name_of(room))}.py"), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize(("example", "chance"), [("sentences", 1 / 2), ("digits", 1 / 10)])
def test_a_classifier_learns(example: str, chance: float) -> None:
    """A part of the steps that the page takes is enough to see it."""
    pytest.importorskip("torch")
    module = importlib.import_module(f"attention_ref.examples.{example}")
    assert module.accuracy(module.train(steps=200)) > (1 + chance) / 2
