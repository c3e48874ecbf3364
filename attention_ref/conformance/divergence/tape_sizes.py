"""The expected size of rounding errors of every tensor of a small model, from the specification's tape.

The specification runs once on traced numbers; their record gives the size of the accumulated rounding errors of every
element (`attention_ref.spec.trace`). Its cost grows with the square of the model, so larger models use `spread`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.divergence.layer_calls import Model
from attention_ref.conformance.divergence.recording import Arrays
from attention_ref.spec.arrays import Array
from attention_ref.spec.trace import Traced, roundings
from attention_ref.vectors.call import Call

LARGEST = 1_500_000
"""The largest product of the number of elements and of operations whose record is followed."""


def is_small(model: Model, values: Arrays) -> bool:
    """Return whether the tape of a model can be followed in a few seconds.

    Arguments:
        model: the model.
        values: its tensors.
    """
    positions = max((math.prod(array.shape[:2]) for array in values.values()), default=0)
    operations = 2 * positions * sum(array.size for array in model.parameters.values())
    return operations * sum(array.size for array in values.values()) <= LARGEST


def tape_sizes(model: Model) -> Arrays:
    """Return the expected size of the error of each tensor, in units of roundoff, for a dtype whose arithmetic is its
    own.
    """
    sizes: Arrays = {}

    def tap(name: str, array: Array) -> None:
        traced = [value if isinstance(value, Traced) else Traced(value) for value in array.values]
        found = [rounding.arithmetic for rounding in roundings(traced)]
        sizes[name] = np.array(found).reshape(array.shape)

    inputs: Mapping[str, Any] = {name: np.asarray(array) for name, array in model.inputs.items()}
    parameters = {name: np.asarray(array, np.float64) for name, array in model.parameters.items()}
    Call("Transformer", inputs, {}, model.config, parameters).specified(Traced, tap=tap)
    return sizes
