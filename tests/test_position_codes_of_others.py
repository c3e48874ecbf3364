"""Positional codes equal those of the libraries that released models were trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.whisper.modeling_whisper import sinusoids

from attention_ref.spec.config import RelativeBias, Rotary, RotaryScaling, Sinusoid
from attention_ref.spec.positions import (
    alibi_bias,
    relative_bucket,
    rotary_amplitude,
    rotary_frequencies,
    sinusoidal_positions,
)
from attention_ref.weights.layouts.parts import rotary
from tests.families.peer import only_float64


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "maximum"), [(32, 128), (32, 100), (8, 6), (12, 256), (64, 40), (4, 9)])
def test_relative_bucket(buckets: int, maximum: int, bidirectional: bool) -> None:
    config = RelativeBias(buckets=buckets, maximum_distance=maximum, bidirectional=bidirectional)
    distances = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(distances, bidirectional, buckets, maximum)
    assert [relative_bucket(int(distance), config) for distance in distances] == expected.tolist()


_ORIGINAL = "original_max_position_embeddings"
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, _ORIGINAL: 8192},
    "llama3-near": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.5,
        "high_freq_factor": 2.5,
        _ORIGINAL: 500,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, _ORIGINAL: 4096},
    "yarn-steep": {"rope_type": "yarn", "factor": 4.0, _ORIGINAL: 4096, "beta_fast": 1.01, "beta_slow": 1.0},
    "yarn-ends": {
        "rope_type": "yarn",
        "factor": 1.5,
        _ORIGINAL: 40,
        "beta_fast": 8.0,
        "beta_slow": 0.7,
        "attention_factor": 1.3,
    },
    "yarn-not-truncated": {"rope_type": "yarn", "factor": 4.0, _ORIGINAL: 4096, "truncate": False},
    "yarn-mscale": {"rope_type": "yarn", "factor": 4.0, _ORIGINAL: 4096, "mscale": 0.7, "mscale_all_dim": 1.3},
}


@pytest.mark.parametrize("base", [50.0, 10000.0, 500000.0])
@pytest.mark.parametrize("dimension", [4, 64, 128])
@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
def test_rotary_frequencies(scaling: dict[str, Any], dimension: int, base: float) -> None:
    config = transformers.LlamaConfig(
        head_dim=dimension,
        max_position_embeddings=int(scaling.get(_ORIGINAL, 64) * scaling["factor"]),
        rope_parameters={"rope_theta": base, **scaling},
    )
    with only_float64():
        expected, amplitude = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    ours = rotary(config.rope_parameters, dimension, config.max_position_embeddings)
    np.testing.assert_allclose(rotary_frequencies(dimension, ours), expected.numpy(), rtol=1e-13)
    assert rotary_amplitude(ours) == pytest.approx(amplitude, rel=1e-15)


@pytest.mark.parametrize("length", [1, 100, 101, 250])
@pytest.mark.parametrize("dimension", [4, 6, 64])
def test_frequencies_that_depend_on_the_length(dimension: int, length: int) -> None:
    """Of dynamic and longrope; ntk is the dynamic scaling of one length."""
    factors = [[1 + share * pair for pair in range(dimension // 2)] for share in (0.1, 0.7)]
    ropes: list[dict[str, Any]] = [
        {"rope_type": "dynamic", "factor": 3.0},
        {"rope_type": "longrope", "short_factor": factors[0], "long_factor": factors[1], _ORIGINAL: 100},
    ]
    for rope in ropes:
        config = transformers.LlamaConfig(
            head_dim=dimension,
            max_position_embeddings=100 if rope["rope_type"] == "dynamic" else 350,
            rope_parameters={"rope_theta": 500.0, **rope},
        )
        with only_float64():
            expected, amplitude = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu", seq_len=length)
        ours = rotary(config.rope_parameters, dimension, config.max_position_embeddings)
        actual = rotary_frequencies(dimension, ours, length=length)
        np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-13)
        assert rotary_amplitude(ours) == pytest.approx(amplitude, rel=1e-15)
        if rope["rope_type"] == "dynamic" and length > 100:
            scaling = RotaryScaling(kind="ntk", factor=3.0 * length / 100 - 2.0)
            assert rotary_frequencies(dimension, Rotary(base=500.0, scaling=scaling)) == actual


@pytest.mark.parametrize("heads", range(1, 21))
def test_alibi(heads: int) -> None:
    """Equal up to a constant of each row, which a causal softmax cancels."""
    length = 5
    with only_float64():
        theirs = build_alibi_tensor(torch.ones(1, length, dtype=torch.long), heads, torch.float64).numpy()
    ours = np.array(alibi_bias(heads, length, length).nested())
    for query in range(length):
        row = ours[:, query, : query + 1]
        np.testing.assert_allclose(row - row[:, :1], theirs[:, 0, : query + 1], rtol=1e-13, atol=1e-15)


def _marian(length: int, size: int) -> np.ndarray:
    table = MarianSinusoidalPositionalEmbedding(length, size)
    return table.create_weight().numpy()


KERAS_HUB_BASE = 8192  # keras-hub rounds its inverse to float32 in every dtype, so it must be a power of two


def _keras_hub(length: int, size: int) -> np.ndarray:
    keras_hub = pytest.importorskip("keras_hub")
    layer = keras_hub.layers.SinePositionEncoding(max_wavelength=KERAS_HUB_BASE, dtype="float64")
    return np.array(layer(np.zeros((1, length, size))))[0]


def _distilbert(length: int, size: int) -> np.ndarray:
    return create_sinusoidal_embeddings(length, size, torch.empty(length, size)).numpy()


def _whisper(length: int, size: int) -> np.ndarray:
    return sinusoids(length, size).numpy()


TABLES = {
    "distilbert": ("interleaved", _distilbert),
    "keras_hub": ("interleaved", _keras_hub),
    "marian": ("concatenated", _marian),
    "whisper": ("tensor2tensor", _whisper),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("size", [4, 6, 32])
def test_sinusoids(name: str, size: int) -> None:
    variant, make = TABLES[name]
    with only_float64():
        expected = make(40, size)
    config = Sinusoid(variant=variant, base=KERAS_HUB_BASE if name == "keras_hub" else 10000.0)
    ours = np.array(sinusoidal_positions(range(40), size, config).nested())
    np.testing.assert_allclose(ours, expected, atol=1e-13)
