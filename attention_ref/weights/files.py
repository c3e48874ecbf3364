"""Save and load a model as one safetensors file: tensors by name, the configuration in the metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np

from attention_ref import spec
from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.errors import reject
from attention_ref.spec.records import from_json, to_json
from attention_ref.weights.tree import check

Array = np.ndarray[Any, Any]


def save(path: str | PathLike[str], config: ModelConfig, params: Mapping[str, Array]) -> None:
    """Save a model.

    Arguments:
        path: the file to write.
        config: the model.
        params: its parameters, NumPy arrays.

    Raises:
        SpecificationError: for parameters that are not those of the configuration.
    """
    from safetensors.numpy import save_file

    check(config, params)
    metadata = {"attention_ref.spec": spec.VERSION, "attention_ref.config": json.dumps(to_json(config))}
    save_file({name: np.ascontiguousarray(array) for name, array in params.items()}, path, metadata=metadata)


def load(path: str | PathLike[str]) -> tuple[ModelConfig, Mapping[str, Array]]:
    """Load a model that `save` wrote.

    Arguments:
        path: the file to read. Nothing in it is executed.

    Returns:
        The configuration and the parameters. A tensor is read from the file when it is first asked for.

    Raises:
        SpecificationError: for a file without a configuration, of another version of the specification, or whose
            tensors are not those of its configuration.
    """
    from safetensors import safe_open

    file: Any = safe_open(path, framework="numpy")
    metadata = file.metadata() or {}
    if "attention_ref.config" not in metadata:
        reject("weights.load", "the file's metadata must hold attention_ref.config", sorted(metadata))
    if metadata.get("attention_ref.spec") != spec.VERSION:
        rule = f"the file must be of version {spec.VERSION} of the specification"
        reject("weights.load", rule, metadata.get("attention_ref.spec"))
    config = from_json(ModelConfig, json.loads(metadata["attention_ref.config"]))
    params = LazyParameters(file)
    spec.parameters.check_parameters("weights.load", config, params.shapes)
    return config, params


class LazyParameters(Mapping[str, Array]):
    """The tensors of an open safetensors file by name; each is read when it is asked for, and kept.

    Arguments:
        file: what `safetensors.safe_open` gives.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
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
