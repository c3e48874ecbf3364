"""The tests of the standard from the package onnx: a model of one node, inputs, expected outputs.

Each test exists twice: as a model of the operator itself and, named `..._expanded`, as a model of the simpler operators
that define it, with the same inputs and expected outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

OPERATORS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Attention": (
        ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"),
        ("Y", "present_key", "present_value", "qk_matmul_output"),
    ),
    "RotaryEmbedding": (("X", "cos_cache", "sin_cache", "position_ids"), ("Y",)),
    "RMSNormalization": (("X", "scale"), ("Y",)),
}
"""The operators, each with the names of its inputs and outputs in the standard's order."""

EXPANDED = "_expanded"


@dataclass(frozen=True, eq=False)
class NodeTest:
    """One test of the standard.

    Arguments:
        name: the name without `test_`.
        operator: a key of `OPERATORS`.
        opset: the version of the operator set.
        attributes: the attributes that are set.
        inputs, outputs: arrays by their names in the standard.
        rtol, atol: the tolerance of the standard.
    """

    name: str
    operator: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    rtol: float
    atol: float

    @property
    def dtype(self) -> str:
        """The dtype of the first input."""
        return str(next(iter(self.inputs.values())).dtype.name)


@cache
def node_tests() -> tuple[NodeTest, ...]:
    """Return the tests of the three operators, in the standard's order.

    Raises:
        RuntimeError: if onnx returns none for an operator: onnx caches the tests that it collects first in a process,
            which are those of a single operator if only that was requested.
    """
    tests = tuple(_node_test(item) for item in _collected() if _operator(item))
    for operator in OPERATORS:
        if not any(test.operator == operator for test in tests):
            raise RuntimeError(
                f"onnx returns no tests of {operator}; did this process request another operator before?"
            )
    return tests


def expanded() -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Return inputs and outputs of the expanded tests, by the name of the original test."""
    names = {f"test_{test.name}{EXPANDED}": test.name for test in node_tests()}
    return {names[item.name]: _data(item) for item in _collected() if item.name in names}


@cache
def _collected() -> list[Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests of other operators overflow on purpose
        return list(collect_testcases(None))


def _operator(item: Any) -> str:
    nodes = list(item.model.graph.node) if item.model is not None else []
    return nodes[0].op_type if len(nodes) == 1 and nodes[0].op_type in OPERATORS else ""


def _node_test(item: Any) -> NodeTest:
    from onnx import helper

    node = item.model.graph.node[0]
    opset = next(entry.version for entry in item.model.opset_import if not entry.domain)
    input_names, output_names = OPERATORS[node.op_type]
    inputs, outputs = _data(item)
    return NodeTest(
        name=item.name.removeprefix("test_"),
        operator=node.op_type,
        opset=opset,
        attributes={attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute},
        inputs=_named(input_names, node.input, inputs),
        outputs=_named(output_names, node.output, outputs),
        rtol=item.rtol,
        atol=item.atol,
    )


def _named(names: tuple[str, ...], used: Any, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays by the names of their slots; unnamed slots are left out."""
    given = [name for name, here in zip(names, used, strict=False) if here]
    return dict(zip(given, arrays, strict=True))


def _data(item: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    ((inputs, outputs),) = item.data_sets
    return [np.asarray(array) for array in inputs], [np.asarray(array) for array in outputs]
