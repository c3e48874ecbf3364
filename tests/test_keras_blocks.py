"""Blocks of the Keras backend in compiled calls: results and gradients, whatever is not finite, and memory.

The truth is NumPy's formula in float64 and its closed form of the gradients, which conform with the vectors.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.numpy import attention as formula
from attention_ref.numpy.gradients import attention_gradients

keras = pytest.importorskip("keras")

B, H, G, LENGTH, D, ROWS = 1, 4, 2, 52, 4, 16
"""Three blocks of 16 queries, which one loop computes, and one of 4."""
OPTIONS: dict[str, Any] = {"window": (20, 3), "query_offset": -3, "key_lengths": np.array([LENGTH - 10])}
RANDOM = np.random.default_rng(5)
SHAPES = {"query": (B, H, LENGTH, D), "key": (B, G, LENGTH, D), "value": (B, G, LENGTH, D), "bias": (H, 1, LENGTH)}
NUMBERS = {name: RANDOM.integers(-64, 65, shape) / 64 for name, shape in (SHAPES | {"sinks": (H,)}).items()}
COTANGENT = RANDOM.integers(-64, 65, SHAPES["query"]) / 64
KINDS = {"tensorflow": ("graph", "XLA"), "jax": ("jit",), "torch": ("eager",)}


def attend(room: ModuleType, arrays: list[Any]) -> Any:
    return room.attention(**dict(zip(NUMBERS, arrays, strict=True)), **OPTIONS)


def with_gradients(room: ModuleType, kind: str) -> Callable[..., tuple[Any, list[Any]]]:
    """Return a function of all arrays that computes the output and the gradients of all, compiled by the engine."""
    engine = keras.config.backend()
    framework = importlib.import_module(engine)

    def by_jax(*arrays: Any) -> tuple[Any, list[Any]]:
        output, backward = framework.vjp(lambda *arrays: attend(room, arrays), *arrays)
        return output, backward(framework.numpy.asarray(COTANGENT))

    def by_tensorflow(*arrays: Any) -> tuple[Any, list[Any]]:
        with framework.GradientTape() as tape:
            tape.watch(arrays)
            output = attend(room, arrays)
        return output, tape.gradient(output, arrays, COTANGENT)

    def by_torch(*arrays: Any) -> tuple[Any, list[Any]]:
        arrays = [array.detach().requires_grad_() for array in arrays]
        output = attend(room, arrays)
        return output, framework.autograd.grad(output, arrays, framework.as_tensor(COTANGENT))

    if engine == "torch":
        return by_torch
    return framework.jit(by_jax) if engine == "jax" else framework.function(by_tensorflow, jit_compile=kind == "XLA")


def poisoned(is_hidden: bool) -> dict[str, np.ndarray]:
    """Return the numbers with a NaN in the last key and value, which is padding, or in a value that is seen."""
    changed = {name: array.copy() for name, array in NUMBERS.items()}
    if is_hidden:
        changed["key"][..., -1, :] = changed["value"][..., -1, :] = np.nan
    else:
        changed["value"][0, 1, 30, 2] = np.nan
    return changed


def sizes_of_arrays(function: Any, kind: str, arrays: list[Any]) -> set[int]:
    """Return the number of elements of every array of a program, which XLA alone lists."""
    if kind == "jit":
        shapes = re.findall(r"tensor<([\dx]+)x[a-z]", function.lower(*arrays).as_text())
    elif kind == "XLA":
        shapes = re.findall(r"\[([\d,]+)\]", function.experimental_get_compiler_ir(*arrays)(stage="hlo"))
    else:
        return set()
    return {math.prod(map(int, re.split("[x,]", shape))) for shape in shapes}


@pytest.mark.parametrize("kind", ["graph", "XLA", "jit", "eager"])
def test_results_gradients_and_memory_of_blocks(
    room: ModuleType, room_arrays: Framework, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compiled function takes finite numbers and others; no array of its program has a number for every score."""
    if not room.__name__.endswith("keras") or kind not in KINDS[keras.config.backend()]:
        pytest.skip("no way to compile on this engine")
    monkeypatch.setattr("attention_ref.keras._gradients.KEPT", 0)  # blocks are computed again for their gradients
    monkeypatch.setattr("attention_ref.keras._blocks.LARGEST", ROWS)
    monkeypatch.setattr("attention_ref.keras._blocks.SMALLEST", ROWS)
    function = with_gradients(room, kind)
    for numbers in (NUMBERS, poisoned(is_hidden=True), poisoned(is_hidden=False)):
        found, gradients = function(*(room_arrays.make(array, "float64") for array in numbers.values()))
        expected = {"output": formula(**numbers, **OPTIONS, implementation="reference")}
        expected |= attention_gradients(**numbers, **OPTIONS, cotangent=COTANGENT)
        for name, array in {"output": found, **dict(zip(NUMBERS, gradients, strict=True))}.items():
            is_finite = np.isfinite(numbers.get(name, 1.0))  # the gradient of a NaN itself is not compared
            result, truth = (np.where(is_finite, each, 0) for each in (room_arrays.read(array), expected[name]))
            largest = max(1.0, np.abs(truth[np.isfinite(truth)]).max())
            np.testing.assert_allclose(result, truth, rtol=0, atol=64 * 2.0**-53 * largest, err_msg=name)
    arrays = [room_arrays.make(array, "float64") for array in NUMBERS.values()]
    assert max(sizes_of_arrays(function, kind, arrays), default=0) <= B * H * ROWS * LENGTH
