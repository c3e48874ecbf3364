"""A plain call of attention, with no option or one, and what comes back: right or wrong numbers, or none at all."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from attention_ref.conformance.errors import SubjectError, Unsupported
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.signatures import type_text
from attention_ref.conformance.timeouts import Late, limited
from attention_ref.vectors.array_forms import from_spec
from attention_ref.vectors.call import Call

RIGHT, WRONG, SHAPE, KIND, ERROR, UNKNOWN = "right", "wrong", "shape", "kind", "error", "unknown"
"""What a call gives: right numbers, other numbers, another shape, no array, an exception, or nothing that says more."""

_CLOSE = {"float64": 1e-6, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
"""How close to the truth numbers around 1 count as right here; the cases judge them by their budgets."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a plain call."""

    batch: int = 2
    heads: int = 3
    queries: int = 4
    keys: int = 5
    size: int = 8


DISTINCT = Shape()
"""No two axes have the same size, so that arrays in another layout do not fit."""
SQUARE = Shape(keys=4)
"""As many keys as queries, for a function of one sequence."""
SHAPES = (DISTINCT, SQUARE, Shape(heads=1), Shape(queries=3, keys=3, size=16))


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call.

    Arguments:
        what: `RIGHT`, `WRONG`, `SHAPE`, `KIND`, `ERROR` or `UNKNOWN`.
        text: the shape or the kind that came back, or the exception.
        returned: what came back.
        expected: the shape that it should have.
    """

    what: str
    text: str = ""
    returned: Any = None
    expected: tuple[int, ...] = ()


@dataclass(frozen=True)
class Caller:
    """Makes the calls.

    Arguments:
        dtype: of the arrays.
        timeout: how many seconds a call may take.
        before: called before every call.
    """

    dtype: str
    timeout: float | None = None
    before: Callable[[], object] = lambda: None

    def call(self, function: Callable[..., Any], arrays: str, shape: Shape = DISTINCT, /, **options: bool) -> Outcome:
        """Call a function on arrays of a kind and compare what it returns.

        Arguments:
            function, arrays, shape: what is called, on which kind of arrays, of which sizes.
            options: `mask=True` gives it the mask `mask_of(shape)`, `key_lengths=True` the lengths
                `lengths_of(shape)`, `causal=True` itself.
        """
        inputs = _inputs(shape)
        expected = _truth(shape, tuple(sorted(options)))
        self.before()
        try:
            made = framework(arrays)
            given = {name: made.make(values, self.dtype) for name, values in inputs.items()}
            named = {name: _option(made, name, option, shape) for name, option in options.items()}
            with limited(self.timeout), _silent():
                returned = function(*given.values(), **named)
            if not made.is_array(returned):
                return Outcome(KIND, type_text(returned), returned)
            if tuple(returned.shape) != expected.shape:
                return Outcome(SHAPE, str(tuple(returned.shape)), returned, expected.shape)
            values = made.read(returned)
        except KeyboardInterrupt:
            raise
        except (Unsupported, NotImplementedError, Late):
            return Outcome(UNKNOWN)
        except SubjectError as fault:
            return Outcome(ERROR, fault.reason)
        except BaseException as error:  # noqa: BLE001 - whatever a function raises is its outcome
            return Outcome(ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
        close = _CLOSE.get(self.dtype, 1e-4)
        is_right = np.allclose(values, expected, rtol=close, atol=close)
        return Outcome(RIGHT if is_right else WRONG, "", returned, expected.shape)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence warnings, those of NumPy and those that libraries log, and move what is printed to stderr."""
    logged = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logged)


def mask_of(shape: Shape = DISTINCT) -> np.ndarray:
    """Return a mask that hides a few keys, without an empty row, whose opposite has none either."""
    place = np.arange(shape.queries)[:, None] * 2 + np.arange(shape.keys)
    return np.asarray(place % 3 != 0)


def lengths_of(shape: Shape = DISTINCT) -> np.ndarray:
    """Return key lengths, of which all but the first are short."""
    return np.where(np.arange(shape.batch) == 0, shape.keys, shape.keys - 2)


def _option(made: Any, name: str, option: Any, shape: Shape) -> Any:
    if name == "key_lengths":
        return made.make(lengths_of(shape), "int32")
    return made.make(mask_of(shape), "bool") if name == "mask" else option


@cache
def _inputs(shape: Shape) -> Mapping[str, np.ndarray]:
    random = np.random.default_rng(7)
    queries = (shape.batch, shape.heads, shape.queries, shape.size)
    keys = (shape.batch, shape.heads, shape.keys, shape.size)
    sizes = {"query": queries, "key": keys, "value": keys}
    return {name: random.integers(-128, 129, size) / 64 for name, size in sizes.items()}


@cache
def _truth(shape: Shape, options: tuple[str, ...]) -> np.ndarray:
    given = {"mask": mask_of(shape), "causal": True, "key_lengths": lengths_of(shape)}
    call = Call("attention", _inputs(shape)).changed(**{name: given[name] for name in options})
    (output,) = (from_spec(array) for array in call.specified().values())
    return np.asarray(output)
