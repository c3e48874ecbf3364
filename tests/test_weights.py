"""The parameter tree: drawn the same everywhere, checked in one error, saved and loaded bit by bit."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from attention_ref import spec, weights
from attention_ref.spec.parameters import parameters
from attention_ref.spec.records import from_json, json_schema, to_json

CONFIG = spec.ModelConfig.encoder_decoder(vocab=50, model=16, heads=4, layers=2, feedforward=32)
PRESETS = {"base": (spec.vaswani2017_base(), 63e6), "big": (spec.vaswani2017_big(), 213e6)}


def test_tensors_are_drawn_with_the_spread_that_is_documented() -> None:
    params = weights.init(CONFIG, seed=1, dtype=np.float64)
    kernel = params["encoder.blocks.0.feedforward.input.kernel"]
    bound = math.sqrt(6 / (16 + 32))
    assert np.abs(kernel).max() < bound
    assert kernel.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert params["encoder.embedding.token"].std() == pytest.approx(16**-0.5, rel=0.1)
    assert (params["encoder.norm.gain"] == 1).all()
    assert (params["encoder.norm.bias"] == 0).all()


def test_a_tensor_depends_on_its_name_and_seed_alone() -> None:
    small = spec.ModelConfig.encoder_decoder(vocab=50, model=16, heads=4, layers=1, feedforward=32)
    first, again, other = weights.init(CONFIG, 1), weights.init(small, 1), weights.init(small, 2)
    for name in again:
        np.testing.assert_array_equal(first[name], again[name])
    name = "encoder.blocks.0.self_attention.query.kernel"
    assert (again[name] != other[name]).all()
    assert (again[name] != again[name.replace("query", "key")]).any()


def test_a_wrong_tree_is_one_error_with_every_name() -> None:
    params = dict(weights.init(CONFIG))
    del params["encoder.norm.gain"]
    params["extra"] = np.zeros(3)
    params["head.kernel"] = np.zeros((2, 2))
    params["decoder.norm.bias"] = np.zeros((4, 4))
    with pytest.raises(spec.SpecificationError) as error:
        weights.check(CONFIG, params)
    text = str(error.value)
    assert "missing encoder.norm.gain (16,)" in text
    assert "unexpected extra (3,)" in text
    assert "unexpected head.kernel (2, 2)" in text
    assert "misshapen decoder.norm.bias (4, 4), must be (16,)" in text


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_file_gives_back_every_bit(dtype: str, tmp_path) -> None:
    pytest.importorskip("safetensors", reason="models are saved by safetensors")
    params = weights.init(CONFIG, dtype=dtype)
    weights.save(tmp_path / "model.safetensors", CONFIG, params)
    config, loaded = weights.load(tmp_path / "model.safetensors")
    assert config == CONFIG
    assert set(loaded) == set(params)
    for name, array in params.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_a_foreign_file_is_refused(tmp_path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="models are saved by safetensors")
    numpy.save_file({"x": np.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(spec.SpecificationError, match=r"metadata must hold attention_ref\.config"):
        weights.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_size_of_the_paper(name: str) -> None:
    config, size = PRESETS[name]
    count = sum(math.prod(parameter.shape) for parameter in parameters(config).values())
    assert count == pytest.approx(size, rel=0.01)


def test_a_configuration_is_json_that_its_schema_accepts() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    data = json.loads(json.dumps(to_json(CONFIG)))
    jsonschema.validate(data, json_schema(spec.ModelConfig))
    assert from_json(spec.ModelConfig, data) == CONFIG
    data["encoder_stack"]["blocks"][1]["attention"]["haeds"] = 3
    with pytest.raises(
        spec.SpecificationError, match=r"ModelConfig\.encoder_stack\.blocks\[1\]\.attention: .*\n.*haeds"
    ):
        from_json(spec.ModelConfig, data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema(spec.ModelConfig))
