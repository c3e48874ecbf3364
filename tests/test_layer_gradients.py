"""Gradients of layers by their inputs and parameters are those of the vectors, within the budget of each number.

The vectors hold them for rows that see no key. NumPy's layers have no gradients.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import vectors
from attention_ref.conformance import OPERATIONS, Case, cases
from attention_ref.conformance.budget import budget, compare
from attention_ref.conformance.case import case_of
from attention_ref.conformance.frameworks.interface import Framework

LAYERS = [name for name in OPERATIONS if OPERATIONS[name].is_layer]
EVERY = [case for name in LAYERS for profile in vectors.profiles(name) for case in cases(name, profile)]
CASES = [case for case in EVERY if case.gradient is not None]
KINDS = {"b": "bool", "i": "int64"}
Named = dict[str, Any]


def torch_gradients(layer: Any, inputs: Named, cotangent: Any) -> Named:
    leaves = {name: array.requires_grad_() for name, array in inputs.items() if array.is_floating_point()}
    (layer(**inputs) * cotangent).sum().backward()
    return {name: leaf.grad for name, leaf in {**leaves, **dict(layer.named_parameters())}.items()}


def keras_gradients(layer: Any, inputs: Named, cotangent: Any) -> Named:
    engine = import_module("keras").backend.backend()
    variables = layer.variables_by_name()
    if engine == "torch":
        leaves = {name: array.requires_grad_() for name, array in inputs.items() if array.is_floating_point()}
        (layer(**inputs) * cotangent).sum().backward()
        leaves |= {name: variable.value for name, variable in variables.items()}
        return {name: leaf.grad for name, leaf in leaves.items()}
    real = {name: array for name, array in inputs.items() if "float" in str(array.dtype)}
    if engine == "tensorflow":
        tensorflow = import_module("tensorflow")
        leaves = {**real, **{name: variable.value for name, variable in variables.items()}}
        with tensorflow.GradientTape() as tape:
            tape.watch(real)
            total = tensorflow.reduce_sum(layer(**inputs) * cotangent)
        found = tape.gradient(total, leaves, unconnected_gradients=tensorflow.UnconnectedGradients.ZERO)
        return {
            name: tensorflow.convert_to_tensor(array) for name, array in found.items()
        }  # rows of a table are sparse

    def total(given: Named, values: list[Any]) -> Any:
        returned, _ = layer.stateless_call(values, [], **{**inputs, **given})
        return (returned * cotangent).sum()

    values = [variable.value for variable in layer.trainable_variables]
    of_inputs, of_variables = import_module("jax").grad(total, argnums=(0, 1))(real, values)
    paths = {variable.path: found for variable, found in zip(layer.trainable_variables, of_variables, strict=True)}
    return {**of_inputs, **{name: paths[variable.path] for name, variable in variables.items()}}


GRADIENTS = {"torch": torch_gradients, "keras": keras_gradients}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_gradients_of_a_layer(case: Case, dtype: str, room: ModuleType, room_arrays: Framework) -> None:
    name = room.__name__.rpartition(".")[-1]
    if name == "numpy":
        pytest.skip("NumPy has no automatic differentiation")
    options = {"dtype": dtype} if name == "keras" else {}
    parameters = {key: room_arrays.make(values, dtype) for key, values in case.call.parameters.items()}
    inputs = {
        key: room_arrays.make(values, KINDS.get(values.dtype.kind, dtype)) for key, values in case.call.inputs.items()
    }
    layer = getattr(room, case.operation)(case.call.config, parameters, **options)
    cotangent = np.reshape(case.gradient["cotangents"]["output"]["values"], case.expected["output"].values.shape)
    found = GRADIENTS[name](layer, inputs, room_arrays.make(cotangent, dtype))
    expected = gradients_of(case)
    assert set(expected) == {key for key in inputs if case.call.inputs[key].dtype.kind == "f"} | set(
        case.call.parameters
    )
    for key, (values, allowed) in expected.items():
        got = np.zeros(values.shape) if found[key] is None else room_arrays.read(found[key])
        assert compare(got, values, budget(allowed, dtype)).error_ratio.max(initial=0) <= 1, key


def gradients_of(case: Case) -> dict[str, tuple[np.ndarray, Any]]:
    """Return the expected gradients and the sizes of their rounding errors."""
    (item,) = (item for item in vectors.load(case.operation, case.profile)["cases"] if item["id"] == case.id)
    read = case_of(case.operation, case.profile, {**item, "expected": item["gradient"]["expected"]})
    return {name: (result.values, result.roundings) for name, result in read.expected.items()}


def test_every_kind_of_layer_has_gradients() -> None:
    with_empty_rows = {case.operation for case in CASES if "attention.empty-row" in case.clauses}
    assert with_empty_rows == {"MultiHeadAttention", "Block", "Transformer"}
    assert {case.operation for case in CASES} == with_empty_rows | {"LatentAttention", "MixtureOfExperts"}
    kinds = {case.call.config.kind for case in CASES if case.operation == "Transformer"}
    assert kinds == {"encoder", "decoder", "encoder-decoder"}
