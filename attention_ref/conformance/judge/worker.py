"""The process of a subject: reads requests, calls the subject, and writes what it returns as plain bytes.

It knows neither seeds nor expected results. Requests and replies are lines of JSON; after the line of an answer come
its numbers, float64. What the subject prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attention_ref.conformance.dialects import resolve
from attention_ref.conformance.dialects.adapter import adapted
from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.errors import SubjectError, Unsupported, UsageError
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.judge.contents import decoded
from attention_ref.conformance.judge.program_worker import ProgramWorker
from attention_ref.conformance.judge.refusal import fault
from attention_ref.conformance.judge.source import Source, loaded
from attention_ref.conformance.judge.storage import Place, view
from attention_ref.conformance.judge.supervisor import supervise
from attention_ref.conformance.signatures import options_of, signed


class Worker:
    """Calls a function on arrays in shared memory.

    Arguments:
        source: where the function comes from; it takes and returns arrays of a framework, by the conventions of a
            dialect where one is named.
        memory: where the arrays are written.
    """

    def __init__(self, source: Source, memory: mmap.mmap) -> None:
        subject = loaded(source.subject)
        dialect = subject.dialect or (resolve(source.dialect) if source.dialect is not None else None)
        self.framework = framework(source.arrays or (dialect.arrays if dialect else "numpy"))
        if source.device is not None:
            self.framework.use(source.device)
        self.limits = dialect.limits if dialect else Limits()
        self.function = adapted(subject.function, dialect) if dialect else subject.function
        self.gradient = None if source.gradient is None else loaded(source.gradient).function
        if source.gradients and self.gradient is None and not self.framework.differentiates:
            raise UsageError(f"{self.framework.name} differentiates nothing: give a function of the gradients too")
        self.memory = memory
        self._earlier: dict[str, dict[str, Any]] = {}

    def options(self) -> dict[str, list[str] | None]:
        """Return the options of calls, and of calls that ask for gradients; None: any."""
        takes = options_of(signed(self.function))
        differentiates = takes if self.gradient is None else options_of(signed(self.gradient))
        both = {"options": takes, "gradient_options": differentiates}
        return {name: None if accepted is None else sorted(accepted) for name, accepted in both.items()}

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Call, and return what the results are, and their numbers."""
        try:
            arrays = self._arrays(request)
            before = {} if self.framework.shares_memory else {n: self.framework.read(a) for n, a in arrays.items()}
            results = self._called(arrays, request)
        except Unsupported as unsupported:
            return {"unsupported": str(unsupported) or "without a reason"}, []
        except SubjectError as error:
            return {"error": error.reason, "where": error.where}, []
        try:  # what it refuses now it has computed
            read = [self._read(name, result) for name, result in results.items()]
            changed = [
                n for n, values in before.items() if self.framework.read(arrays[n]).tobytes() != values.tobytes()
            ]
        except SubjectError as error:
            return {"error": error.reason, "where": error.where}, []
        except Unsupported as late:
            return {"error": f"it refuses the call after it has returned: {late}"}, []
        described = [
            {"name": name, "shape": list(result.shape), "dtype": self.framework.dtype(result)}
            for name, result in results.items()
        ]
        return {"results": described, "changed": changed}, read

    def _arrays(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make the arguments, or take those of an earlier call whose memory was written anew."""
        key = request["storage"]
        if key in self._earlier and self.framework.shares_memory:
            return self._earlier[key]
        if key in self._earlier and self.framework.overwrites:
            for name, array in self._earlier[key].items():
                self.framework.overwrite(array, self._made(request["arrays"][name], request["dtype"]))
            return self._earlier[key]
        made = {name: self._made(item, request["dtype"]) for name, item in request["arrays"].items()}
        if key is not None:
            self._earlier = {key: made}
        return made

    def _made(self, item: Mapping[str, Any], dtype: str) -> Any:
        stored = view(self.memory, Place(item["offset"], tuple(item["shape"]), item["stored"]))
        if not item["is_real"]:
            return self.framework.wrap(stored, stored.dtype.name)
        if self.framework.shares_memory:
            return self.framework.wrap(stored, dtype)
        return self.framework.make(decoded(stored, dtype), dtype)

    def _called(self, arrays: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
        given = {**arrays, **{name: _option(option) for name, option in request["options"].items()}}
        positional = [given.pop(name) for name in ("query", "key", "value")]
        names = list(request["results"])
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a warning is printed, and no reason to reject
            try:
                if "cotangent" in given:
                    return self._gradients(names, positional, given)
                returned = self.function(*positional, **given)
            except BaseException as error:
                raise fault(error) from error
        items = [returned] if len(names) == 1 else returned
        if not isinstance(items, (list, tuple)) or len(items) != len(names):
            raise SubjectError(f"it returns {_kind(returned)} instead of {', '.join(names)}")
        return dict(zip(names, items, strict=True))

    def _gradients(self, names: Sequence[str], positional: Sequence[Any], given: dict[str, Any]) -> dict[str, Any]:
        """Return the gradients of the inputs with these names, from `gradient` or by automatic differentiation."""
        if self.gradient is not None:
            found = self.gradient(*positional, **given)
        else:
            cotangent, inputs = given.pop("cotangent"), dict(zip(("query", "key", "value"), positional, strict=True))
            inputs |= {name: given.pop(name) for name in names if name in given}

            def outputs(leaves: Mapping[str, Any]) -> list[Any]:
                options = {name: array for name, array in leaves.items() if name not in ("query", "key", "value")}
                return [self.function(leaves["query"], leaves["key"], leaves["value"], **given, **options)]

            found = self.framework.differentiate(outputs, inputs, [cotangent])
        if not isinstance(found, Mapping) or (missing := [name for name in names if name not in found]):
            received = f"nothing for {', '.join(missing)}" if isinstance(found, Mapping) else _kind(found)
            raise SubjectError(f"its gradients are {received} instead of a dictionary of {', '.join(names)}")
        return {name: found[name] for name in names}

    def _read(self, name: str, item: Any) -> np.ndarray:
        if not self.framework.is_plain(item):
            raise SubjectError(f"{name} is {_kind(item)}, not a plain array of {self.framework.name}")
        try:
            return np.ascontiguousarray(self.framework.read(item), np.float64)
        except Exception as error:
            raise SubjectError(f"{name} cannot be read: {type(error).__name__}: {error}") from error


def serve(source: Source, requests: int, replies: int, memory: int) -> None:
    """Answer requests until there are no more."""
    shared = mmap.mmap(memory, 0)
    process = os.getpid()
    with os.fdopen(requests, "rb") as lines:
        try:
            worker = _worker(source, shared)
            _write(replies, {"id": 0, **worker.options(), "limits": worker.limits})
        except UsageError as error:
            _write(replies, {"id": 0, "usage": str(error)})
            return
        for line in lines:
            request = json.loads(line)
            answer, numbers = worker.answer(request)
            if os.getpid() != process:
                os._exit(1)  # a second process, which the subject made and let return from the call
            _flush()
            _write(replies, {"id": request["id"], **answer}, *numbers)


def _worker(source: Source, memory: mmap.mmap) -> Worker | ProgramWorker:
    if source.is_program:
        return ProgramWorker(source, memory)
    return Worker(source, memory)


def _write(descriptor: int, header: Mapping[str, Any], *numbers: np.ndarray) -> None:
    for part in (json.dumps(header).encode() + b"\n", *(array.tobytes() for array in numbers)):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def _option(option: Any) -> Any:
    return tuple(option) if isinstance(option, list) else option


def _kind(item: Any) -> str:
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {len(item)}"
    return "None" if item is None else f"a {type(item).__module__}.{type(item).__qualname__}"


def main(arguments: list[str]) -> None:
    """Serve the subject that is named on the command line as JSON."""
    settings = json.loads(arguments[0])
    descriptors = settings["requests"], settings["replies"], settings["memory"]
    supervise(lambda: serve(Source(**settings["source"]), *descriptors), descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
