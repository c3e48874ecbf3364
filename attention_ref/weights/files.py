"""Save and load a model as one safetensors file, with the configuration in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref import spec
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.errors import naming, reject
from attention_ref.spec.records import from_json, to_json
from attention_ref.weights.tensors import path_text
from attention_ref.weights.tree import check

Array = np.ndarray[Any, Any]

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The dtypes of parameters, by their names in safetensors."""


def save(path: str | PathLike[str], config: ModelConfig, params: Mapping[str, Array]) -> None:
    """Save a model.

    Arguments:
        path: the file to write.
        config: the model.
        params: its parameters, NumPy arrays of one dtype: float64, float32, float16 or bfloat16.

    Raises:
        FileError: for parameters that do not match the configuration, have several dtypes or another dtype, for a file
            that cannot be written, and if safetensors is not installed.
    """
    path = path_text("weights.save", path)
    with naming(path):
        _require("weights.save", "safetensors")
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        check(config, params)
        _check_dtypes("weights.save", {array.dtype.name for array in params.values()})
        metadata = {"attention_ref.spec": spec.VERSION, "attention_ref.config": json.dumps(to_json(config))}
        arrays = {name: np.ascontiguousarray(array) for name, array in params.items()}
        try:
            save_file(arrays, path, metadata=metadata)
        except (OSError, SafetensorError) as error:
            reject("weights.save", "the file must be writable", error)


def load(path: str | PathLike[str]) -> tuple[ModelConfig, Mapping[str, Array]]:
    """Load a model that `save` wrote.

    Arguments:
        path: the file to read. Nothing in it is executed.

    Returns:
        The configuration and the parameters. A tensor is read from the file when it is first accessed.

    Raises:
        FileError: for a file that is not a complete safetensors file, has no valid configuration, is of another version
            of the specification, or whose tensors do not match the configuration or have several dtypes; and if
            safetensors is not installed. The message names the file and the problem.
    """
    path = path_text("weights.load", path)
    with naming(path):
        file = _opened(path)
        params = LazyParameters(file)
        try:
            config = _configuration(file.metadata() or {})
            spec.parameters.check_parameters("weights.load", config, params.shapes)
        except (OverflowError, ValueError) as error:
            if isinstance(error, spec.SpecificationError):
                raise
            reject("weights.load", "the configuration must be JSON with numbers within float64", error)
        except RecursionError:
            reject("weights.load", "the configuration must be nested less deeply", "more levels than Python reads")
        _check_dtypes("weights.load", params.dtypes)
        return config, params


class LazyParameters(Mapping[str, Array]):
    """The tensors of an open safetensors file by name; each is read on first access and cached.

    Arguments:
        file: the result of `safetensors.safe_open`.
    """

    def __init__(self, file: Any) -> None:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        self.file = file
        self.shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
        self.dtypes = {DTYPES.get(each.get_dtype(), each.get_dtype()) for each in slices.values()}
        self._read: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self.shapes:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = self.file.get_tensor(name)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def _opened(path: str) -> Any:
    """Open a safetensors file, which checks that its header matches its tensors and its length."""
    place = Path(path)
    if not place.is_file():
        found = "a folder" if place.is_dir() else "no file" if not os.path.lexists(place) else "something else"
        reject("weights.load", "the path must be a file", found)
    _require("weights.load", "safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        reject("weights.load", "the file must be a complete safetensors file", error)


def _configuration(metadata: Mapping[str, str]) -> ModelConfig:
    """Read the configuration of a file's metadata."""
    if "attention_ref.config" not in metadata:
        received = f"the metadata {', '.join(sorted(metadata))}" if metadata else "no metadata"
        reject("weights.load", "the file's metadata must have attention_ref.config", received)
    if metadata.get("attention_ref.spec") != spec.VERSION:
        rule = f"the file must be of version {spec.VERSION} of the specification"
        reject("weights.load", rule, metadata.get("attention_ref.spec"))
    return from_json(ModelConfig, json.loads(metadata["attention_ref.config"]))


def _check_dtypes(operation: str, dtypes: Collection[str]) -> None:
    rule = f"all tensors must have one dtype: {', '.join(DTYPES.values())}"
    if len(dtypes) != 1 or not set(dtypes) <= set(DTYPES.values()):
        reject(operation, rule, " and ".join(sorted(dtypes)))
    if "bfloat16" in dtypes:
        _require(operation, "ml_dtypes")


def _require(operation: str, package: str) -> None:
    if find_spec(package) is None:
        reject(operation, f'the file needs {package}: python -m pip install "attention-ref[weights]"', "none installed")
