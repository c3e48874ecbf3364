"""One call of a function in this process: make arrays, call, collect warnings and intermediates, read results."""

from __future__ import annotations

import contextlib
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import MissingArguments, SubjectError, Unsupported
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.conformance.outcome import Answer, result_dtype
from attention_ref.conformance.signatures import options_of, signed, type_text
from attention_ref.conformance.subjects.chunked_decoding import decoded
from attention_ref.conformance.timeouts import Late
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import OPERATIONS

_LONGEST_MESSAGE = 300


@dataclass(frozen=True, eq=False)
class Invocation:
    """A call on the inputs of a case.

    Arguments:
        function: the operation, or the builder of the layer.
        case, dtype: the case and the dtype of the inputs.
        framework: the framework of the arrays.
        gradient: returns gradients; if None, they are computed by automatic differentiation.
        reports_all_taps: whether a layer that reports any intermediate must report all.
    """

    function: Callable[..., Any]
    case: Case
    dtype: str
    framework: Framework
    gradient: Callable[..., Any] | None = None
    reports_all_taps: bool = False
    wrong_dtypes: dict[str, str] = field(default_factory=dict, init=False)

    def answer(self) -> Answer:
        """Call the function and read its results.

        Its stdout is redirected to stderr; warnings are collected regardless of filters.

        Raises:
            SubjectError: if it raises, returns a wrong number of arrays, a wrong type or shape, or mutates its inputs.
            Unsupported: if it does not support the call, raises NotImplementedError, or its framework lacks the dtype.
        """
        case, framework, taps = self.case, self.framework, dict[str, Any]()
        inputs = {name: self._made(values) for name, values in case.call.inputs.items()}
        before = {name: framework.read(array) for name, array in inputs.items() if framework.is_array(array)}
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("always")
            function = self._operation()
            if case.call.chunks:
                results = {"output": self._decoded(function)}
            elif case.cotangents:
                results = self._results(self._gradients(function, inputs))
            else:
                results = self._results(self._called(function, inputs, taps))
            read = {name: self._intermediate(name, taps[name]) for name in case.taps if name in taps}
        for name, values in before.items():
            if not np.array_equal(framework.read(inputs[name]), values, equal_nan=values.dtype.kind == "f"):
                raise SubjectError(f"it mutates its argument {name}")
        if taps and self.reports_all_taps and (missing := [name for name in case.taps if name not in taps]):
            raise SubjectError(f"it does not pass {', '.join(missing)} to its tap")
        texts = (f"{warning.category.__name__}: {_one_line(warning.message)}" for warning in caught)
        return Answer(results, read, tuple(dict.fromkeys(texts)), self.wrong_dtypes)

    def returned(self) -> Any:
        """Call the function and return what it returns, whatever that is; decoding in chunks returns the output.

        Raises:
            SubjectError: if it raises.
            Unsupported: if it does not support the call.
        """
        inputs = {name: self._made(values) for name, values in self.case.call.inputs.items()}
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            function = self._operation()
            return self._decoded(function) if self.case.call.chunks else self._called(function, inputs, {})

    def _made(self, values: np.ndarray) -> Any:
        """Make an array; an integer scalar stays a Python int."""
        if values.dtype.kind == "i" and not values.shape:
            return int(values)
        return self.framework.make(values, {"f": self.dtype, "b": "bool", "i": "int64"}[values.dtype.kind])

    def _operation(self) -> Callable[..., Any]:
        """Return the operation, or build the layer."""
        if not OPERATIONS[self.case.operation].is_layer:
            return self.function
        parameters = {name: self._made(values) for name, values in self.case.call.parameters.items()}
        with _faults():
            return self.function(self.case.call.config, parameters)

    def _called(self, function: Callable[..., Any], inputs: Mapping[str, Any], taps: dict[str, Any]) -> Any:
        """Call the function, with a tap if the signature has one, and with `like` if the operation has it."""
        call, accepted = self.case.call, self._accepted(function)
        given = {**inputs, **call.options, "config": call.config}
        options = {name: given[name] for name in call.named}
        if OPERATIONS[call.operation].takes_like and (accepted is None or "like" in accepted):
            options["like"] = self.framework.make(np.zeros(1), self.dtype)
        if self.case.taps and accepted is not None and "tap" in accepted:
            options["tap"] = taps.__setitem__
        with _faults():
            return function(*(given[name] for name in call.positional), **options)

    def _accepted(self, function: Callable[..., Any]) -> frozenset[str] | None:
        """Return the options of a signature, or None if it accepts any; raise `MissingArguments` if one is missing."""
        call = self.case.call
        accepted = options_of(signed(function), len(call.positional))
        if missing := tuple(name for name in call.named if accepted is not None and name not in accepted):
            raise MissingArguments(missing)
        return accepted

    def _gradients(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the gradients of the inputs, from `gradient` or by automatic differentiation."""
        names = list(self.case.expected)
        cotangents = [self._made(values) for values in self.case.cotangents.values()]
        if self.gradient is not None:
            found = self._called(partial(self.gradient, cotangent=cotangents[0]), inputs, {})
        else:
            self._accepted(function)

            def outputs(leaves: Mapping[str, Any]) -> list[Any]:
                return [self._called(function, {**inputs, **leaves}, {})]

            with _faults():
                found = self.framework.differentiate(outputs, {name: inputs[name] for name in names}, cotangents)
        if not isinstance(found, Mapping) or (missing := [name for name in names if name not in found]):
            received = type_text(found) if not isinstance(found, Mapping) else f"nothing for {', '.join(missing)}"
            raise SubjectError(f"its gradients are {received} instead of a dictionary of {', '.join(names)}")
        return tuple(found[name] for name in names)

    def _decoded(self, layer: Callable[..., Any]) -> np.ndarray:
        accepted = options_of(signed(layer), len(self.case.call.positional))
        if accepted is not None and self.case.operation != "Transformer" and "cache" not in accepted:
            raise MissingArguments(("cache",))

        def read(item: Any, shape: tuple[int, ...]) -> np.ndarray:
            return self._read("output", item, self.dtype, shape)

        with _faults():
            return decoded(layer, self.case, self._made, read)

    def _results(self, returned: Any) -> dict[str, np.ndarray]:
        expected = self.case.expected
        items = [returned] if len(expected) == 1 and not self.case.cotangents else returned
        if len(expected) > 1 and not isinstance(returned, (tuple, list)):
            raise SubjectError(f"it returns {type_text(returned)} instead of {_listed([*expected])}")
        if len(items) != len(expected):
            raise SubjectError(f"it returns {len(items)} values instead of {_listed([*expected])}")
        return {
            name: self._read(name, item, result_dtype(name, self.dtype), expected[name].values.shape)
            for name, item in zip(expected, items, strict=True)
        }

    def _intermediate(self, name: str, item: Any) -> np.ndarray:
        """Read an intermediate passed to a tap; any dtype is accepted."""
        shape = self.case.taps[name].values.shape
        if not self.framework.is_array(item):
            raise SubjectError(f"the tap {name} receives {type_text(item)}, not an array of {self.framework.name}")
        if tuple(item.shape) != shape:
            raise SubjectError(f"the tap {name} receives the shape {tuple(item.shape)} instead of {shape}")
        return self.framework.read(item)

    def _read(self, name: str, item: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        if not self.framework.is_array(item):
            raise SubjectError(f"{name} is {type_text(item)}, not an array of {self.framework.name}")
        if tuple(item.shape) != shape:
            raise SubjectError(f"{name} has the shape {tuple(item.shape)} instead of {shape}")
        if (found := self.framework.dtype(item)) != dtype:
            if found not in DTYPES:
                raise SubjectError(f"{name} has the dtype {found} instead of {dtype}")
            self.wrong_dtypes[name] = found
        try:
            return self.framework.read(item)
        except Exception as error:
            raise SubjectError(f"{name} cannot be read: {type(error).__name__}: {_one_line(error)}") from error


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turn exceptions of the function into `SubjectError`; a keyboard interrupt ends the check."""
    try:
        yield
    except (Unsupported, SubjectError, Late, KeyboardInterrupt):
        raise
    except NotImplementedError as error:
        raise Unsupported(_one_line(error) or "it raises NotImplementedError") from error
    except BaseException as error:
        raise SubjectError(f"it raises {type(error).__name__}: {_one_line(error)}", _last_frame(error)) from error


def _listed(names: list[str]) -> str:
    return f"{names[0]} alone" if len(names) == 1 else f"a tuple ({', '.join(names)})"


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 3] + "..."


def _last_frame(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[2:]  # the first two are `_faults` and the call above
    return shown(frames[-1]) if frames else ""


def shown(frame: traceback.FrameSummary) -> str:
    """Format the location and the text of a line of code."""
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}"
