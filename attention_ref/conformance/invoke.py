"""One call of a subject: made on fresh arrays, watched, and its results read."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.conformance.chunked_decoding import decoded
from attention_ref.conformance.errors import MissingArguments, SubjectError, Unsupported
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.conformance.outcome import Answer
from attention_ref.conformance.subjects.subject import Subject, options_of, signed
from attention_ref.conformance.timeouts import Late
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION, OPERATIONS

_LONGEST_MESSAGE = 300
_IN_ARITHMETIC = {result.name for result in ATTENTION.results if result.precision == "arithmetic"}


def call(subject: Subject, case: Case, dtype: str) -> Answer:
    """Call a subject on the inputs of a case.

    What the subject prints goes to stderr; its warnings are collected, whatever the filters are.

    Raises:
        SubjectError: when it raises, returns something else than arrays of the right number, shape and dtype, or
            changes its inputs.
        Unsupported: when the subject or its arrays do not offer the call, or the subject raises NotImplementedError.
    """
    arrays = framework(subject.arrays)
    given = {name: _made(arrays, values, dtype) for name, values in case.call.inputs.items()}
    before = {name: arrays.read(array) for name, array in given.items() if arrays.is_array(array)}
    told: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("always")
        function = _function(subject, case, arrays, dtype)
        if case.call.chunks:
            results = {"output": _decoded(function, case, arrays, dtype)}
        elif case.cotangents:
            results = _results(arrays, case, dtype, _gradients(subject, case, given, arrays, dtype))
        else:
            results = _results(arrays, case, dtype, _called(function, case, given, told, arrays, dtype))
        taps = {name: _told(arrays, name, told[name], case) for name in case.taps if name in told}
    for name, values in before.items():
        if not np.array_equal(arrays.read(given[name]), values, equal_nan=values.dtype.kind == "f"):
            raise SubjectError(f"it changes its argument {name}")
    if told and subject.is_room and (missing := [name for name in case.taps if name not in told]):
        raise SubjectError(f"its tap is not told of {', '.join(missing)}")
    texts = (f"{warning.category.__name__}: {_one_line(warning.message)}" for warning in caught)
    return Answer(results, taps, tuple(dict.fromkeys(texts)))


def _made(arrays: Framework, values: np.ndarray, dtype: str) -> Any:
    """Make an array; a single integer stays one."""
    if values.dtype.kind == "i" and not values.shape:
        return int(values)
    return arrays.make(values, {"f": dtype, "b": "bool", "i": "int64"}[values.dtype.kind])


def _function(subject: Subject, case: Case, arrays: Framework, dtype: str) -> Callable[..., Any]:
    """Give what is called: the operation itself, or the layer that it builds."""
    function = subject.operations[case.operation]
    if not OPERATIONS[case.operation].is_layer:
        return function
    parameters = {name: _made(arrays, values, dtype) for name, values in case.call.parameters.items()}
    with _blamed():
        return function(case.call.config, parameters)


def _called(
    function: Callable[..., Any],
    case: Case,
    given: Mapping[str, Any],
    told: dict[str, Any],
    arrays: Framework,
    dtype: str,
) -> Any:
    """Call, with a tap where the signature names one, and with `like` where the operation has it."""
    everything = {**given, **case.call.options, "config": case.call.config}
    accepted = _accepted(function, case)
    options = {name: everything[name] for name in case.call.named}
    if OPERATIONS[case.operation].takes_like and (accepted is None or "like" in accepted):
        options["like"] = arrays.make(np.zeros(1), dtype)
    if case.taps and accepted is not None and "tap" in accepted:
        options["tap"] = told.__setitem__
    with _blamed():
        return function(*(everything[name] for name in case.call.positional), **options)


def _accepted(function: Callable[..., Any], case: Case) -> frozenset[str] | None:
    """Give the options of a signature, None for all, or raise `MissingArguments`."""
    accepted = options_of(signed(function), len(case.call.positional))
    if lacking := tuple(name for name in case.call.named if accepted is not None and name not in accepted):
        raise MissingArguments(lacking)
    return accepted


def _gradients(
    subject: Subject, case: Case, given: Mapping[str, Any], arrays: Framework, dtype: str
) -> tuple[Any, ...]:
    """Ask the subject for the gradients of its inputs, or differentiate through what it does."""
    cotangents = [_made(arrays, values, dtype) for values in case.cotangents.values()]
    inputs = {name: given[name] for name in case.expected}
    if closed_form := subject.gradients.get(case.operation):
        found = _called(partial(closed_form, cotangent=cotangents[0]), case, given, {}, arrays, dtype)
    else:
        operation = subject.operations[case.operation]
        _accepted(operation, case)

        def function(leaves: Mapping[str, Any]) -> list[Any]:
            return [_called(operation, case, {**given, **leaves}, {}, arrays, dtype)]

        with _blamed():
            found = arrays.differentiate(function, inputs, cotangents)
    if not isinstance(found, Mapping) or (missing := [name for name in case.expected if name not in found]):
        told = _kind(found) if not isinstance(found, Mapping) else f"nothing for {', '.join(missing)}"
        raise SubjectError(f"its gradients are {told} instead of a dictionary of {', '.join(case.expected)}")
    return tuple(found[name] for name in case.expected)


def _decoded(function: Callable[..., Any], case: Case, arrays: Framework, dtype: str) -> np.ndarray:
    accepted = options_of(signed(function), len(case.call.positional))
    if accepted is not None and case.operation != "Transformer" and "cache" not in accepted:
        raise MissingArguments(("cache",))

    def read(item: Any, shape: tuple[int, ...]) -> np.ndarray:
        return _read(arrays, "output", item, dtype, shape)

    with _blamed():
        return decoded(function, case, lambda values: _made(arrays, values, dtype), read)


@contextlib.contextmanager
def _blamed() -> Iterator[None]:
    """Make a fault of what the subject raises. A keyboard interrupt is the user's, and ends the check."""
    try:
        yield
    except (Unsupported, SubjectError, Late, KeyboardInterrupt):
        raise
    except NotImplementedError as error:
        raise Unsupported(_one_line(error) or "it raises NotImplementedError") from error
    except BaseException as error:
        raise SubjectError(f"it raises {type(error).__name__}: {_one_line(error)}", _last_frame(error)) from error


def _results(arrays: Framework, case: Case, dtype: str, returned: Any) -> dict[str, np.ndarray]:
    names = list(case.expected)
    items = [returned] if len(names) == 1 and not case.cotangents else returned
    if len(names) > 1 and not isinstance(returned, (tuple, list)):
        raise SubjectError(f"it returns {_kind(returned)} instead of {_listed(names)}")
    if len(items) != len(names):
        raise SubjectError(f"it returns {len(items)} values instead of {_listed(names)}")
    return {
        name: _read(arrays, name, item, dtype_of(name, dtype), case.expected[name].values.shape)
        for name, item in zip(names, items, strict=True)
    }


def dtype_of(name: str, dtype: str) -> str:
    """Results have the dtype of the inputs, except that log-sum-exp stays in the dtype that was computed in."""
    return DTYPES[dtype].arithmetic if name in _IN_ARITHMETIC else dtype


def _told(arrays: Framework, name: str, item: Any, case: Case) -> np.ndarray:
    """Read what a tap was told; its dtype is free."""
    shape = case.taps[name].values.shape
    if not arrays.is_array(item):
        raise SubjectError(f"the tap {name} is told {_kind(item)}, not an array of {arrays.name}")
    if tuple(item.shape) != shape:
        raise SubjectError(f"the tap {name} is told the shape {tuple(item.shape)} instead of {shape}")
    return arrays.read(item)


def _read(arrays: Framework, name: str, item: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not arrays.is_array(item):
        raise SubjectError(f"{name} is {_kind(item)}, not an array of {arrays.name}")
    if tuple(item.shape) != shape:
        raise SubjectError(f"{name} has the shape {tuple(item.shape)} instead of {shape}")
    if arrays.dtype(item) != dtype:
        raise SubjectError(f"{name} has the dtype {arrays.dtype(item)} instead of {dtype}")
    try:
        return arrays.read(item)
    except Exception as error:
        raise SubjectError(f"{name} cannot be read: {type(error).__name__}: {_one_line(error)}") from error


def _kind(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    return "None" if item is None else f"a {type(item).__module__}.{type(item).__qualname__}"


def _listed(names: list[str]) -> str:
    return f"{names[0]} alone" if len(names) == 1 else f"a tuple ({', '.join(names)})"


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 3] + "..."


def _last_frame(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[2:]  # the first two are the watch and the call above
    if not frames:
        return ""
    return shown(frames[-1])


def shown(frame: traceback.FrameSummary) -> str:
    """Write where a line of code is, and the line."""
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
