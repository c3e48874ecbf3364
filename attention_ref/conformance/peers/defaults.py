"""The defaults of released libraries: which GELU, and which eps of a norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.probes.question import SOMETHING_ELSE
from attention_ref.spec.arrays import as_array
from attention_ref.spec.primitives import activate, layer_norm, rms_norm

_NUMBERS = np.array([[-2.5, -1.0, -0.5, 0.25], [0.5, 1.0, 1.5, 3.0]])
_SMALL = np.array([[1.0, -2.0, 0.5, 3.0], [2.0, 0.0, -1.0, 1.5]]) * 2.0**-11
"""Inputs so small that eps dominates the variance."""
_ONE = as_array([1.0] * 4)
_EPS = {"1e-3": 1e-3, "1e-5": 1e-5, "1e-6": 1e-6, "1e-12": 1e-12, "the unit roundoff of the dtype, doubled": 2.0**-23}


class Default(NamedTuple):
    """A function of a library and the module that it needs; `make()` returns a function of one array."""

    module: str
    arrays: str
    make: Callable[[], Callable[[Any], Any]]


def _torch(name: str) -> Callable[[], Any]:
    def make() -> Any:
        from torch import nn

        return getattr(nn, name)(*(() if name == "GELU" else (4,)))

    return make


def _keras(part: str, name: str) -> Callable[[], Any]:
    def make() -> Any:
        import keras

        found = getattr(getattr(keras, part), name)
        return found() if part == "layers" else found

    return make


def _jax() -> Any:
    import jax

    return jax.nn.gelu


def _flax(name: str) -> Callable[[], Any]:
    def make() -> Any:
        from flax import nnx

        return nnx.gelu if name == "gelu" else getattr(nnx, name)(4, rngs=nnx.Rngs(0))

    return make


DEFAULTS: Mapping[str, Mapping[str, Default]] = {
    "gelu": {
        "torch.nn.GELU": Default("torch", "torch", _torch("GELU")),
        "keras.activations.gelu": Default("keras", "keras", _keras("activations", "gelu")),
        "keras.ops.gelu": Default("keras", "keras", _keras("ops", "gelu")),
        "jax.nn.gelu": Default("jax", "jax", _jax),
        "flax.nnx.gelu": Default("flax", "jax", _flax("gelu")),
    },
    "layer-norm-eps": {
        "torch.nn.LayerNorm": Default("torch", "torch", _torch("LayerNorm")),
        "keras.layers.LayerNormalization": Default("keras", "keras", _keras("layers", "LayerNormalization")),
        "flax.nnx.LayerNorm": Default("flax", "jax", _flax("LayerNorm")),
    },
    "rms-norm-eps": {
        "torch.nn.RMSNorm": Default("torch", "torch", _torch("RMSNorm")),
        "keras.layers.RMSNormalization": Default("keras", "keras", _keras("layers", "RMSNormalization")),
        "flax.nnx.RMSNorm": Default("flax", "jax", _flax("RMSNorm")),
    },
}
"""The functions by question and name."""


def default(question: str, name: str) -> str:
    """Return the default of a library: the name of an answer, or `"something else"`.

    Arguments:
        question: a key of `DEFAULTS`: `"gelu"`, `"layer-norm-eps"` or `"rms-norm-eps"`.
        name: a key of `DEFAULTS[question]`.
    """
    asked = DEFAULTS[question][name]
    arrays = framework(asked.arrays)
    given = _NUMBERS if question == "gelu" else _SMALL
    found = arrays.read(asked.make()(arrays.make(given, "float32")))
    answers = _answers(question, as_array(given.tolist()))
    same = (name for name, numbers in answers.items() if np.allclose(found, numbers, 2e-5, 1e-7))
    return next(same, SOMETHING_ELSE)


def _answers(question: str, given: Any) -> dict[str, np.ndarray]:
    if question == "gelu":
        results = {"exact": activate(given, "gelu"), "by tanh": activate(given, "gelu_tanh")}
    elif question == "layer-norm-eps":
        results = {name: layer_norm(given, _ONE, eps=eps) for name, eps in _EPS.items()}
    else:
        results = {name: rms_norm(given, _ONE, eps=eps) for name, eps in _EPS.items()}
    return {name: np.array(array.values).reshape(array.shape) for name, array in results.items()}
