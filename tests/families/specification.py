"""Our side: the specification on floats, taking and giving NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.spec.architecture import ModelConfig
from attention_ref.spec.arrays import Array
from attention_ref.spec.block import Block
from attention_ref.spec.config import AttentionConfig, BlockConfig
from attention_ref.spec.model import Transformer
from attention_ref.spec.multihead import MultiHeadAttention
from attention_ref.spec.parameters import check_parameters
from attention_ref.vectors import array_forms

LAYERS = {AttentionConfig: MultiHeadAttention, BlockConfig: Block, ModelConfig: Transformer}


class Specification:
    """A layer or model of the specification whose calls and methods take and give NumPy arrays."""

    def __init__(self, config: Any, parameters: Mapping[str, np.ndarray]) -> None:
        check_parameters("Specification", config, {name: array.shape for name, array in parameters.items()})
        self._layer = LAYERS[type(config)](config, to_spec(dict(parameters)))

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return to_numpy(self._layer(*to_spec(arrays), **to_spec(options)))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._layer, name)
        return lambda *arrays, **options: to_numpy(method(*to_spec(arrays), **to_spec(options)))


def to_spec(value: Any) -> Any:
    """Make the specification's arrays of NumPy's, inside tuples and dictionaries too."""
    if isinstance(value, np.ndarray):
        return array_forms.to_spec(value)
    return _inside(value, to_spec)


def to_numpy(value: Any) -> Any:
    """Make NumPy's arrays of the specification's, inside tuples too."""
    if isinstance(value, Array):
        return array_forms.from_spec(value)
    return _inside(value, to_numpy)


def _inside(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {name: change(item) for name, item in value.items()}
    if isinstance(value, tuple):
        items = [change(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
