"""Initialise and check the parameters of a configuration."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.errors import received_text, reject
from attention_ref.spec.parameters import Config, Parameter, check_arrays, check_config, parameters
from attention_ref.spec.shapes import LARGEST_INTEGER, is_integer

Parameters = dict[str, np.ndarray[Any, Any]]


def init(config: Config, seed: int = 0, *, dtype: Any = np.float32) -> Parameters:
    """Initialise the parameters of a layer or model, the same on every platform and in every framework.

        kernel      uniform within sqrt(6 / (inputs + outputs))      (Glorot and Bengio, 2010)
        embedding   uniform with standard deviation m^-0.5
        bias, table, logit   0
        gain        1, minus the gain offset of the norm

    Each tensor has its own random stream, seeded by its name, so that a change of one part of a model does not change
    the others.

    Arguments:
        config: the layer or model.
        seed: an integer from 0 to 2^63 - 1.
        dtype: float32, float64, float16 or, with ml_dtypes, bfloat16.

    Returns:
        The parameters in order, name to array.

    Raises:
        SpecificationError: for a configuration without parameters, and any other seed or dtype.

    How others differ: Keras draws Glorot for each of the query, key and value kernels, as here; PyTorch draws it for
    the three packed as one, which makes the bound smaller.
    """
    check_config("weights.init", config)
    if not is_integer(seed) or not 0 <= seed <= LARGEST_INTEGER:
        reject("weights.init", "seed must be an integer from 0 to 2^63 - 1", received_text(seed))
    if _dtype_name(dtype) not in DTYPES:
        reject("weights.init", f"dtype must be {' or '.join(DTYPES)}", _dtype_name(dtype))
    return {name: _draw(name, parameter, seed).astype(dtype) for name, parameter in parameters(config).items()}


def check(config: Config, params: Mapping[str, Any]) -> None:
    """Check that parameters match a configuration.

    Arguments:
        config: the layer or model.
        params: name to array of any framework.

    Raises:
        SpecificationError: one error that names every parameter that is missing, unexpected or misshapen; and for
            parameters that are not real numbers.
    """
    check_config("weights.check", config)
    check_arrays("weights.check", config, params, shared=params)  # each may have a dtype of its own


def _dtype_name(dtype: Any) -> str:
    """Return NumPy's name of a dtype; of what is none, how it is written."""
    try:
        return np.dtype(dtype).name if not (dtype is None or isinstance(dtype, bytes)) else repr(dtype)
    except TypeError:
        return repr(dtype)


def _draw(name: str, parameter: Parameter, seed: int) -> np.ndarray[Any, Any]:
    shape = parameter.shape
    if parameter.kind == "kernel":
        inputs = math.prod(shape[: parameter.inputs])
        outputs = math.prod(shape[parameter.inputs :])
        return _uniform(name, shape, seed) * math.sqrt(6 / (inputs + outputs))
    if parameter.kind == "embedding":
        return _uniform(name, shape, seed) * math.sqrt(3 / shape[-1])
    return np.full(shape, parameter.start)


def _uniform(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """Draw numbers in (-1, 1) from the tensor's own stream; only raw bits are used, which never change between versions
    of NumPy.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    stream = np.random.PCG64(int.from_bytes(digest[:16], "little"))
    bits = stream.random_raw(math.prod(shape)) >> np.uint64(11)  # 53 random bits each
    return ((bits.astype(np.float64) + 0.5) * 2.0**-52 - 1.0).reshape(shape)
