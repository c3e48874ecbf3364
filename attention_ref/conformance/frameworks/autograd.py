"""The gradients of a function as its framework's automatic differentiation gives them.

Every function here takes `function(inputs) -> outputs`, which maps arrays by name to a list of arrays, the inputs by
name, and a cotangent for each output, and gives the gradient of `sum(cotangent * output)` by every input. What the
output does not depend on has the gradient 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from attention_ref.conformance.errors import Unsupported

Inputs = Mapping[str, Any]
Function = Callable[[Inputs], Sequence[Any]]


def differentiate(kind: str, function: Function, inputs: Inputs, cotangents: Sequence[Any]) -> dict[str, Any]:
    """Differentiate a function of one kind of arrays, a key of `conformance.KINDS`.

    Raises:
        Unsupported: for NumPy, which differentiates nothing.
    """
    engine = import_module("keras").backend.backend() if kind == "keras" else kind
    if engine not in _WAYS:
        raise Unsupported("NumPy differentiates nothing: give the check a function of the gradients too")
    return _WAYS[engine](function, inputs, cotangents)


def _torch(function: Function, inputs: Inputs, cotangents: Sequence[Any]) -> dict[str, Any]:
    torch = import_module("torch")
    leaves = {name: array.detach().clone().requires_grad_() for name, array in inputs.items()}
    outputs = function(leaves)
    found = torch.autograd.grad(outputs, list(leaves.values()), cotangents, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _tensorflow(function: Function, inputs: Inputs, cotangents: Sequence[Any]) -> dict[str, Any]:
    tensorflow = import_module("tensorflow")
    leaves = dict(inputs)
    with tensorflow.GradientTape() as tape:
        tape.watch(leaves)
        outputs = function(leaves)
    zero = tensorflow.UnconnectedGradients.ZERO
    return dict(tape.gradient(list(outputs), leaves, output_gradients=list(cotangents), unconnected_gradients=zero))


def _jax(function: Function, inputs: Inputs, cotangents: Sequence[Any]) -> dict[str, Any]:
    jax = import_module("jax")
    return dict(jax.vjp(lambda given: list(function(given)), dict(inputs))[1](list(cotangents))[0])


_WAYS = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
