"""Parameters of modules from the parameter tree, and the modules `Linear` and `Normalization`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from attention_ref import weights
from attention_ref.spec.config import Norm, NormHeads
from attention_ref.spec.parameters import Config, check_arrays, under
from attention_ref.spec.parameters import parameters as tree
from attention_ref.torch import primitives
from attention_ref.torch._arrays import Array, is_autocast

Given = Mapping[str, Any]


def init_or_check(operation: str, config: Config, parameters: Given | None) -> Given:
    """Check the given parameters of a configuration, or initialise them; on the meta device without values.

    Raises:
        SpecificationError: for parameters that do not match the configuration.
    """
    if parameters is None and torch.get_default_device().type == "meta":
        return {name: torch.empty(parameter.shape) for name, parameter in tree(config).items()}
    if parameters is None:
        return weights.init(config)
    check_arrays(operation, config, parameters)
    return parameters


def register(module: nn.Module, parameters: Given, *names: str) -> None:
    """Register copies of arrays or tensors as parameters of a module, in their dtype; None for missing names."""
    for name in names:
        given = parameters.get(name)
        # not by register_parameter, which rejects the name `type`, because every module has a method of that name
        module._parameters[name] = None if given is None else nn.Parameter(_copy(given))


def _copy(given: Any) -> Array:
    if isinstance(given, torch.Tensor):
        return given.detach().clone()
    array = np.asarray(given)
    if array.dtype.name == "bfloat16":  # PyTorch does not read this dtype from NumPy
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


class Linear(nn.Module):
    """`y = x kernel + bias`; see `primitives.linear`.

    Arguments:
        parameters: `kernel (*contracted, *outputs)` and, where configured, `bias outputs`.
        inputs: how many axes are contracted.
    """

    def __init__(self, parameters: Given, *, inputs: int = 1) -> None:
        super().__init__()
        register(self, parameters, "kernel", "bias")
        self.inputs = inputs

    def forward(self, array: Array) -> Array:
        """Return `(..., *outputs)` for `(..., *contracted)`."""
        return primitives.linear(array, self.kernel, self.bias, inputs=self.inputs)

    def extra_repr(self) -> str:
        """Return the shape of the kernel."""
        return str(tuple(self.kernel.shape))


class Normalization(nn.Module):
    """A normalisation of the last axis; see `primitives.normalize`.

    Arguments:
        config: the kind.
        parameters: `gain (m)` and, where configured, `bias (m)`.
        heads: what is normalised of queries and keys; see `primitives.normalize_heads`.
    """

    def __init__(self, config: Norm, parameters: Given, heads: NormHeads = "shared") -> None:
        super().__init__()
        register(self, parameters, "gain", "bias")
        self.config = config
        self.heads: NormHeads = heads

    def forward(self, array: Array) -> Array:
        """Return `(..., m)` for `(..., m)`."""
        parameters = {"norm.gain": self.gain, "norm.bias": self.bias}
        return primitives.normalize_heads(array, self.config, self.heads, parameters, "norm")

    def extra_repr(self) -> str:
        """Return the configuration."""
        return str(self.config)


def normalization(
    config: Norm | None, parameters: Given, name: str, heads: NormHeads = "shared"
) -> Normalization | None:
    """Return the normalisation with the gain and bias under `name`; None if none is configured."""
    return None if config is None else Normalization(config, under(parameters, name), heads)


def without_autocast(device_type: str) -> AbstractContextManager[Any]:
    """Return a context manager that suspends autocast, if it is active."""
    if is_autocast(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
