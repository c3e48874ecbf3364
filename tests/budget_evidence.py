"""Evidence for the error budget: is it sound (never exceeded), and is it sharp (not far above what happens)?

    python -m tests.budget_evidence --room torch --count 2000

runs a backend on random calls: random shapes and options, inputs with every bit of their dtype used. The truth and the
sizes of rounding errors are the specification's, in 50 digits. Then it runs the backend on the vectors. For every dtype
a line says how many calls break the budget, and the median and the largest, over calls, of

    error_ratio = the largest of (error / budget) over all numbers of a call's results

Sound: no violation. Sharp: a median ratio above 1/40. The Keras engine is chosen by KERAS_BACKEND.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from attention_ref import backends, vectors
from attention_ref.conformance.budget import Roundings
from attention_ref.conformance.case import Case, Expected, cases
from attention_ref.conformance.frameworks.interface import numpy_dtype
from attention_ref.conformance.outcome import PASSED
from attention_ref.conformance.run import run
from attention_ref.conformance.subjects.room import room
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.vectors.build import attention_truth
from attention_ref.vectors.build.recipe import Recipe
from attention_ref.vectors.call import Call

SHAPES = (  # (b,), h, g, q, k, d, v
    ((1,), 1, 1, 1, 1, 4, 4),
    ((1,), 1, 1, 5, 5, 8, 8),
    ((1,), 2, 1, 3, 6, 16, 4),
    ((2,), 2, 2, 3, 4, 4, 3),
    ((2,), 4, 2, 2, 3, 5, 2),
    ((1,), 1, 1, 1, 40, 8, 2),
    ((1,), 1, 1, 2, 8, 48, 2),
    ((), 2, 1, 4, 2, 8, 4),
    ((2, 1), 2, 1, 2, 5, 4, 3),
)
"""Few, so that an engine that compiles for every shape does not spend the run on that."""

OPERATIONS = ("attention",) * 3 + ("additive_attention", "multiplicative_attention")
LARGEST_KERNEL = 8
SHARP = 1 / 40


class Summary(NamedTuple):
    """The errors of all calls in a dtype."""

    calls: int
    violations: int
    median: float
    largest: float

    @property
    def is_sound(self) -> bool:
        """Whether no number of any call exceeds its budget."""
        return self.violations == 0

    @property
    def is_sharp(self) -> bool:
        """Whether a usual call comes near its budget."""
        return self.median > SHARP


class Drawing:
    """A random call in a dtype, the same for the same seed."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.dtype = dtype
        self.random = random.Random(f"{seed}/{dtype}")
        self.operation = self.random.choice(OPERATIONS)
        shapes = [shape for shape in SHAPES if self.operation == "attention" or shape[5] <= LARGEST_KERNEL]
        self.sizes = self.random.choice(shapes)

    def maybe(self, rate: float = 0.3) -> bool:
        """Draw whether an option is used."""
        return self.random.random() < rate

    def reals(self, *shape: int, size: float = 1.0) -> np.ndarray:
        """Draw numbers that the dtype holds exactly, with every bit of it used."""
        numbers = np.array([self.random.gauss(0, size) for _ in range(int(np.prod(shape)))])
        return numbers.astype(numpy_dtype(self.dtype)).astype(float).reshape(shape)

    def booleans(self, *shape: int) -> np.ndarray:
        """Draw a mask with seven True in ten."""
        return np.array([self.maybe(0.7) for _ in range(int(np.prod(shape)))], bool).reshape(shape)

    def inputs(self) -> dict[str, np.ndarray]:
        """Draw the arrays."""
        batch, h, g, q, k, d, v = self.sizes
        size = self.random.choice((0.3, 1.0, 3.0))
        inputs = {"query": self.reals(*batch, h, q, d, size=size), "key": self.reals(*batch, g, k, d, size=size)}
        inputs["value"] = self.reals(*batch, g, k, v)
        if self.operation == "additive_attention":
            kernels = {"score_kernel": (4,), "query_kernel": (d, 4), "key_kernel": (d, 4)}
            inputs |= {name: self.reals(*shape) for name, shape in kernels.items()}
        elif self.operation == "multiplicative_attention":
            inputs["score_kernel"] = self.reals(d, d, size=d**-0.5)
        elif self.maybe():
            inputs["sinks"] = self.reals(h)
        if self.maybe():
            inputs["bias"] = self.reals(h, q, k)
        if self.maybe():
            inputs["mask"] = self.booleans(*batch, 1, q, k)
        if batch and self.maybe():
            lengths = [self.random.randint(0, k) for _ in range(int(np.prod(batch)))]
            inputs["key_lengths"] = np.array(lengths, np.int64).reshape(batch)
        if self.maybe(0.2):
            inputs["dropout_mask"] = self.booleans(h, q, k)
        return inputs

    def options(self) -> Iterator[tuple[str, Any]]:
        """Draw the options that are no arrays."""
        key_length = self.sizes[4]
        if self.operation == "attention" and self.maybe():
            yield "scale", self.random.uniform(0.05, 1.0)
        if self.operation == "attention" and self.maybe():
            yield "softcap", self.random.uniform(1.0, 30.0)
        if self.maybe():
            yield "causal", True
            yield "query_offset", self.random.randint(0, key_length)
        if self.maybe(0.2):
            yield "window", (self.random.randint(0, key_length), self.random.choice((None, 1)))


def random_cases(count: int, dtype: str) -> Iterator[Case]:
    """Draw calls and find out their truth."""
    for seed in range(count):
        drawing = Drawing(seed, dtype)
        inputs, options = drawing.inputs(), dict(drawing.options())
        if "dropout_mask" in inputs:
            options["dropout"] = 0.3
        call = Call(drawing.operation, inputs, options)
        recipe = Recipe(f"random/{dtype}/{seed}", call, "")
        expected = {name: _expected(result) for name, result in attention_truth.forward(recipe).items()}
        asked = call.changed(return_weights=True, return_log_sum_exp=True)
        yield Case(recipe.id, asked, "random", (), "", (), (dtype,), expected)


def vector_cases(dtype: str) -> Iterator[Case]:
    """Return the cases of the vectors that have a dtype."""
    for operation in vectors.operations():
        for profile in vectors.profiles(operation):
            yield from (case for case in cases(operation, profile) if dtype in case.dtypes)


def summary(backend: Subject, dtype: str, calls: Iterable[Case]) -> Summary:
    """Run a backend on many calls."""
    violations, ratios = 0, []
    for case in calls:
        (result,) = run(backend, [(case, dtype)])
        if result.verdict != PASSED:
            violations += 1
            print(case.id, case.operation, dict(case.call.options), result.verdict, result.reason, result.mismatch)
        if result.error_ratio is not None:
            ratios.append(result.error_ratio)
    return Summary(len(ratios), violations, statistics.median(ratios), max(ratios))


def main() -> int:
    """Print a line for every dtype; exit 1 where the budget is not sound, or not sharp on random calls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", choices=backends.ROOMS, default="numpy")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--dtypes", default="float32,float64")
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    module = importlib.import_module(f"attention_ref.{arguments.room}")
    backend = room(module, arguments.room, "")
    print(f"{'room':8}{'on':10}{'dtype':10}" + "".join(f"{field:>12}" for field in Summary._fields))
    holds = True
    for dtype in arguments.dtypes.split(","):
        for source, calls in {"random": random_cases(arguments.count, dtype), "vectors": vector_cases(dtype)}.items():
            seen = summary(backend, dtype, calls)
            figures = [f"{number:12.3f}" if isinstance(number, float) else f"{number:12,}" for number in seen]
            print(f"{arguments.room:8}{source:10}{dtype:10}" + "".join(figures), flush=True)
            holds &= seen.is_sound and (seen.is_sharp or source == "vectors")
    return 0 if holds else 1


def _expected(result: attention_truth.Result) -> Expected:
    sizes = np.array(result.roundings, np.float64).reshape(-1, len(Roundings._fields)).T
    shape = result.array.shape
    return Expected(result.array, Roundings(*(size.reshape(shape) for size in sizes)))


if __name__ == "__main__":
    raise SystemExit(main())
