"""A rotation is that of its own call, whatever was rotated before: backends remember cosines and sines.

The truth is a product of complex numbers.
"""

from __future__ import annotations

import itertools
import random
from types import ModuleType

import numpy as np
import pytest

from attention_ref import spec
from attention_ref.conformance.frameworks.interface import Framework

ARRAY = np.random.default_rng(0).normal(size=(2, 3, 2, 8))
CONFIGS = (spec.Rotary(), spec.Rotary(base=100.0))
POSITIONS = ([0, 1], [1, 0], [[0, -(2**30)], [1, 2**30]])
TOLERANCES = {"float64": 1e-14, "float32": 4e-7}


def turned(array: np.ndarray, positions: list, config: spec.Rotary) -> np.ndarray:
    """Return (x_a + i x_b) exp(i position frequency)."""
    size = config.dimension or array.shape[-1]
    angles = np.array(positions)[..., None] * config.base ** (-np.arange(0, size, 2) / size)
    angles = angles[:, None] if angles.ndim == 3 else angles
    places = np.arange(size).reshape((-1, 2) if config.interleaved else (2, -1))
    first, second = places.T if config.interleaved else places
    product = (array[..., first] + 1j * array[..., second]) * np.exp(1j * angles)
    result = array.copy()
    result[..., first], result[..., second] = product.real, product.imag
    return result


def test_a_rotation_is_that_of_its_call(room: ModuleType, room_arrays: Framework) -> None:
    calls = list(itertools.product(CONFIGS, POSITIONS, TOLERANCES)) * 2
    for config, positions, dtype in random.Random(1).sample(calls, len(calls)):
        places = room_arrays.make(np.array(positions), "int32")
        given = room_arrays.make(ARRAY, dtype)
        result = room.rotate(given, places, config)
        assert room_arrays.dtype(result) == dtype
        expected = turned(room_arrays.read(given).astype(np.float64), positions, config)
        np.testing.assert_allclose(room_arrays.read(result), expected, atol=4 * TOLERANCES[dtype], rtol=0)


def test_remembered_tables_belong_to_no_mode_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from attention_ref.torch import rotate

    array, config = torch.from_numpy(ARRAY), spec.Rotary(base=77.0)
    with torch.inference_mode():
        rotate(array, torch.tensor([3, 5]), config)
    torch.func.grad(lambda x: rotate(x, torch.tensor([5, 7]), config).sum())(array)
    torch.func.vmap(lambda x, places: rotate(x, places, config))(array[None], torch.tensor([[7, 9]]))
    for positions in ([3, 5], [5, 7], [7, 9]):
        leaf = array.clone().requires_grad_()
        result = rotate(leaf, torch.tensor(positions), config)
        np.testing.assert_allclose(result.detach(), turned(ARRAY, positions, config), atol=1e-14)
        back = turned(np.ones_like(ARRAY), [-place for place in positions], config)
        np.testing.assert_allclose(torch.autograd.grad(result.sum(), leaf)[0], back, atol=1e-14)
