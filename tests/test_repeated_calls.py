"""A call like one that passed is checked for what it changes: no check is lost by remembering."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.spec import SpecificationError

ROWS = np.ones((2, 2, 3, 4))
GOOD: dict[str, Any] = {
    "mask": np.ones((3, 3), bool),
    "bias": np.zeros((3, 3)),
    "causal": True,
    "query_offset": 1,
    "window": (1, 1),
    "key_lengths": np.array([3, 2]),
    "scale": 1,
    "softcap": 1,
    "sinks": np.zeros(2),
    "dropout": 0.5,
    "dropout_mask": np.ones((3, 3), bool),
}
BAD = [
    {"mask": np.ones((3, 3))},
    {"mask": np.ones((3, 4), bool)},
    {"bias": np.zeros((2, 3))},
    {"causal": 1},
    {"causal": "True"},
    {"query_offset": 2**63},
    {"query_offset": np.array([1, 2, 3])},
    {"window": (True, True)},
    {"window": (1.0, 1)},
    {"window": [1]},
    {"window": (1, -1)},
    {"key_lengths": np.array([3, 4])},
    {"key_lengths": np.array([-1, 2])},
    {"key_lengths": np.array([3.0, 2.0])},
    {"scale": True},
    {"scale": float("nan")},
    {"softcap": True},
    {"softcap": 0},
    {"sinks": np.zeros(3)},
    {"dropout": True},
    {"dropout": 1.0},
    {"dropout": 0},
]


def arrays_of(arrays: Framework, call: dict[str, Any]) -> dict[str, Any]:
    kinds = {"f": "float64", "b": "bool", "i": "int64"}
    made = {name: item for name, item in call.items() if isinstance(item, np.ndarray)}
    return call | {name: arrays.make(item, kinds[item.dtype.kind]) for name, item in made.items()}


def refusal(function: Any, call: dict[str, Any]) -> str:
    with pytest.raises(SpecificationError) as error:
        function(**call)
    return str(error.value)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_call_like_one_that_passed_is_refused(bad: dict[str, Any], room: ModuleType, room_arrays: Framework) -> None:
    rows = dict.fromkeys(("query", "key", "value"), ROWS)
    for _ in range(2):
        room.attention(**arrays_of(room_arrays, rows | GOOD))
        call = rows | GOOD | bad
        nested = {name: item.tolist() if isinstance(item, np.ndarray) else item for name, item in call.items()}
        expected = refusal(spec.attention, nested).replace("received real", "received float64")
        assert refusal(room.attention, arrays_of(room_arrays, call)) == expected
