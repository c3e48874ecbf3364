"""The parameter tree: drawn the same everywhere, checked in one error, saved and loaded bit by bit."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_ref import spec, weights
from attention_ref.spec.parameters import parameters
from attention_ref.spec.records import from_json, json_schema, to_json
from attention_ref.weights import files

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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": None}, "the configuration must be of the type .*\n  received NoneType"),
        ({"config": {}}, "the configuration must be of the type .*\n  received dict"),
        ({"config": spec.Norm("rms", eps=1.0)}, "the configuration must be of the type .*\n  received Norm"),
        *(({"seed": seed}, f"seed must be an integer from 0 .*\n  received {seed!r}") for seed in (-1, 0.5, "a", True)),
        ({"seed": None}, "seed must be an integer from 0 .*\n  received None"),
        ({"seed": 10**400}, "seed must be an integer from 0 .*\n  received an integer of 401 digits"),
        *(({"dtype": dtype}, f"dtype must be .*\n  received {dtype}") for dtype in ("int64", "bool", "complex64")),
        ({"dtype": None}, "dtype must be .*\n  received None"),
        ({"dtype": "real"}, "dtype must be .*\n  received 'real'"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(spec.SpecificationError, match=rf"weights\.init: {words}"):
        weights.init(**{"config": CONFIG, **arguments})


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


def header_and_data(file: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), file[end:]


def whole(header: Any, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def with_config(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Damage the configuration of a file."""

    def damage(file: bytes) -> bytes:
        header, data = header_and_data(file)
        metadata = header["__metadata__"]
        metadata["attention_ref.config"] = change(metadata["attention_ref.config"])
        return whole(header, data)

    return damage


def with_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Damage the header of a file."""

    def damage(file: bytes) -> bytes:
        header, data = header_and_data(file)
        change(header)
        return whole(header, data)

    return damage


def overlap(header: dict[str, Any]) -> None:
    first, second = (header[name] for name in ("encoder.norm.bias", "encoder.norm.gain"))
    first["data_offsets"] = second["data_offsets"]


NAME = "encoder.norm.bias"
DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "the file must be a complete safetensors file"),
    "text": (lambda _: b"Call me Ishmael. Some years ago", "the file must be a complete safetensors file"),
    "cut in its header": (lambda file: file[:100], "the file must be a complete safetensors file"),
    "cut in its tensors": (lambda file: file[:-1], "the file must be a complete safetensors file"),
    "too long": (lambda file: file + b"1", "the file must be a complete safetensors file"),
    "a header of no JSON": (lambda file: file[:8] + b"[" + file[9:], "the file must be a complete safetensors file"),
    "a header of no text": (
        lambda file: file[:9] + b"\xff" + file[10:],
        "the file must be a complete safetensors file",
    ),
    "a nested header": (lambda _: whole(b"[" * 100_000, b""), "the file must be a complete safetensors file"),
    "overlapping tensors": (with_header(overlap), "the file must be a complete safetensors file"),
    "no metadata": (with_header(lambda header: header.pop("__metadata__")), "the file's metadata must have attention_"),
    "no version": (with_header(lambda header: header["__metadata__"].pop("attention_ref.spec")), "of version"),
    "a tensor of another shape": (
        with_header(lambda header: header[NAME].update(shape=[4, 4])),
        "misshapen encoder.norm.bias (4, 4), must be (16,)",
    ),
    "a tensor of another name": (
        with_header(lambda header: header.update({"norm": header.pop(NAME)})),
        "missing encoder.norm.bias (16,)",
    ),
    "a tensor of integers": (with_header(lambda header: header[NAME].update(dtype="I32")), "received I32 and float32"),
    "tensors of two dtypes": (
        with_header(lambda header: header[NAME].update(dtype="F16", shape=[32])),
        "misshapen encoder.norm.bias (32,), must be (16,)",
    ),
    "no JSON": (with_config(lambda text: text[:-1]), "the configuration must be JSON with numbers within float64"),
    "text instead of an object": (with_config(lambda _: '"model"'), "a ModelConfig must be a JSON object"),
    "nested 100,000 deep": (with_config(lambda _: "[" * 100_000), "the configuration must be nested less deeply"),
    "nested as deep as Python reads": (with_config(lambda _: "[" * 900 + "]" * 900), "a ModelConfig must be a JSON"),
    "an integer of 5,000 digits": (
        with_config(lambda text: text.replace('"vocab": 50', f'"vocab": {"9" * 5000}')),
        "the configuration must be JSON with numbers within float64",
    ),
    "an integer of 4,000 digits": (
        with_config(lambda text: text.replace('"vocab": 50', f'"vocab": {"9" * 4000}')),
        "received an integer of 4001 digits",
    ),
    "NaN": (with_config(lambda text: text.replace('"eps": 1e-05', '"eps": NaN')), "eps: it must be a finite number"),
    "an unknown key": (with_config(lambda text: text.replace('"heads"', '"haeds"')), "received haeds"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="models are saved by safetensors")
    damage, words = DAMAGED[name]
    path = tmp_path / "model.safetensors"
    weights.save(path, CONFIG, weights.init(CONFIG))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(spec.FileError) as error:
        weights.load(path)
    text = str(error.value)
    assert words in text
    assert text.endswith(f"\n  file {path}")
    assert len(text) < 20_000


def test_tensors_of_several_dtypes_are_refused_on_both_ways(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="models are saved by safetensors")
    path = tmp_path / "model.safetensors"
    weights.save(path, CONFIG, weights.init(CONFIG))
    metadata = header_and_data(path.read_bytes())[0]["__metadata__"]
    mixed = dict(weights.init(CONFIG)) | {NAME: np.zeros(16, np.float16)}
    words = r": all tensors must have one dtype: .*\n  received float16 and float32"
    with pytest.raises(spec.FileError, match=rf"weights\.save{words}"):
        weights.save(path, CONFIG, mixed)
    numpy.save_file(mixed, path, metadata)
    with pytest.raises(spec.FileError, match=rf"weights\.load{words}"):
        weights.load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="models are saved by safetensors")
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path, "a folder"), (tmp_path / "none", "no file"), (tmp_path / "pipe", "something else")):
        with pytest.raises(spec.FileError) as error:
            weights.load(path)
        assert str(error.value).splitlines()[1:] == [f"  received {found}", f"  file {path}"]
    with pytest.raises(spec.FileError, match="the file must be writable"):
        weights.save(tmp_path / "no" / "where", CONFIG, weights.init(CONFIG))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    monkeypatch.setattr(files, "find_spec", lambda _: None)
    for act in (lambda: weights.load(path), lambda: weights.save(path, CONFIG, weights.init(CONFIG))):
        with pytest.raises(
            spec.FileError, match=r'the file needs safetensors: python -m pip install "attention-ref\[weights\]"'
        ):
            act()


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


@pytest.mark.parametrize("path", [None, 1, 1.5, [], {}, object()], ids=lambda path: type(path).__name__)
def test_what_is_no_path_is_refused(path: Any) -> None:
    rule = "path must be text or an os.PathLike object"
    calls = {
        "load": lambda: weights.load(path),
        "save": lambda: weights.save(path, CONFIG, {}),
        "read": lambda: weights.read(path),
        "write": lambda: weights.write(path, CONFIG, {}, "gpt2"),
    }
    for name, call in calls.items():
        with pytest.raises(spec.SpecificationError) as error:
            call()
        assert str(error.value) == f"weights.{name}: {rule}.\n  received {type(path).__name__}"


@pytest.mark.parametrize("params", [None, [1], "text"], ids=str)
def test_parameters_that_are_no_mapping_are_refused(params: Any) -> None:
    with pytest.raises(spec.SpecificationError, match=r"^weights.check: the parameters must be a mapping of names to"):
        weights.check(CONFIG, params)


@pytest.mark.parametrize("dtype", [int, complex, object, bool])
def test_parameters_that_are_no_floats_are_refused(dtype: type) -> None:
    params = {name: array.astype(dtype) for name, array in weights.init(CONFIG).items()}
    with pytest.raises(spec.SpecificationError, match=r"must be float16, bfloat16, float32 or float64"):
        weights.check(CONFIG, params)
