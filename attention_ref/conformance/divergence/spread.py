"""The expected size of rounding errors of every tensor, from runs with perturbed roundings.

In each run, every parameter and every recorded tensor is changed, at random, by a small multiple of itself. To first
order the changes of the tensors are those of rounding errors of that relative size, so their spread over a few runs,
divided by that size, is what one unit of roundoff costs; that of the tensor itself is added. From one recorded tensor
to the next a model rounds more than once, in products, sums and elementary functions: a step counts as `STEP_UNITS`
roundings.

Source: random perturbation of roundings as in Parker, "Monte Carlo Arithmetic" (1997).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from attention_ref.conformance.divergence.recording import Arrays, Recorder, Recording, relative_noise
from attention_ref.spec.trace import ELEMENTARY_UNITS, FACTOR

RUNS = 6

STEP_UNITS = ELEMENTARY_UNITS
"""The roundings that a step counts as. With it the spread is 1 to 5 times the expected size by the specification's
tape, and the largest errors of correct float32 models of `transformers` are at most half of their budgets.
"""

_SCALES = {"float64": 2.0**-40}
_COARSE = 2.0**-16  # of every other dtype

Run = Callable[[Callable[[str, np.ndarray], np.ndarray]], Recording]


def spread(model: Recorder, fixed: Mapping[str, np.ndarray], runs: int, seed: int) -> Arrays:
    """Return the expected size of the error of each tensor, in units of roundoff.

    Arguments:
        model: what runs.
        fixed: values that tensors have instead of those that the model computes, for errors of one step alone.
        runs: how often it runs.
        seed: of the perturbations.
    """
    base = model.run(lambda name, _: fixed.get(name))
    return _sizes(base.values, model, runs, seed, model.run, lambda each: each.values, fixed)


def gradient_spread(model: Recorder, output: str, cotangent: np.ndarray, runs: int, seed: int) -> Arrays:
    """Return the same for the gradient of each tensor."""
    base = model.differentiate(output, cotangent)

    def run(replace: Callable[[str, np.ndarray], np.ndarray]) -> Recording:
        return model.differentiate(output, cotangent, replace)

    return _sizes(base.gradients, model, runs, seed, run, lambda each: each.gradients, {})


def budget(sizes: np.ndarray, unit: float) -> np.ndarray:
    """Return the largest error allowed in each element.

    A few runs estimate the size of one element roughly, so no element counts as more exact than its row, along the
    last axis, and than the whole tensor.
    """
    squares = sizes**2
    row = squares.mean(axis=-1, keepdims=True) if sizes.ndim else squares
    return FACTOR * unit * np.sqrt(np.maximum(np.maximum(squares, row), squares.mean()))


def _sizes(
    base: Arrays,
    model: Recorder,
    runs: int,
    seed: int,
    run: Run,
    read: Callable[[Recording], Arrays],
    fixed: Mapping[str, np.ndarray],
) -> Arrays:
    scale = _SCALES.get(model.dtype, _COARSE)
    sums = {name: np.zeros_like(array) for name, array in base.items()}
    for number in range(runs):
        generator = np.random.default_rng((seed, number))

        def perturb(name: str, values: np.ndarray, generator: np.random.Generator = generator) -> np.ndarray:
            values = fixed.get(name, values)
            return values * relative_noise(values.shape, scale, generator)

        with model.perturbed(scale, generator), np.errstate(invalid="ignore"):
            for name, array in read(run(perturb)).items():
                sums[name] += np.nan_to_num((array - base[name]) / scale) ** 2
    return {
        name: STEP_UNITS * np.sqrt(each / runs + np.where(np.isfinite(base[name]), base[name], 0) ** 2)
        for name, each in sums.items()
    }
