"""The process of a subject: reads requests, calls the subject, and writes what it returns as plain bytes.

It is told neither seeds nor truths. Requests and replies are lines of JSON; after the line of an answer come its
numbers, float64. What the subject prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.dialects import resolve
from attention_ref.conformance.dialects.adapter import adapted
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import SubjectError, Unsupported, UsageError
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.judge.contents import decoded
from attention_ref.conformance.judge.loading import load
from attention_ref.conformance.judge.refusal import fault
from attention_ref.conformance.judge.storage import Place, view
from attention_ref.conformance.judge.supervisor import supervise
from attention_ref.conformance.signatures import options_of, signed


class Worker:
    """Calls a function on arrays in shared memory.

    Arguments:
        function: takes and returns arrays of a framework, by the conventions of a dialect where one is named.
        arrays: the name of the framework; None: that of the dialect, or NumPy.
    """

    def __init__(
        self, function: Callable[..., Any], arrays: str | None, dialect: Dialect | str | None, memory: mmap.mmap
    ) -> None:
        found = resolve(dialect) if dialect is not None else None
        self.function = adapted(function, found) if found else function
        self.framework = framework(arrays or (found.arrays if found else "numpy"))
        self.memory = memory
        self._kept: dict[str, dict[str, Any]] = {}

    def options(self) -> list[str] | None:
        """Return the options that the function takes; None: any."""
        accepted = options_of(signed(self.function))
        return None if accepted is None else sorted(accepted)

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Call, and return what the results are, and their numbers."""
        try:
            arrays = self._arrays(request)
            before = {} if self.framework.shares_memory else {n: self.framework.read(a) for n, a in arrays.items()}
            results = self._called(arrays, request)
            read = [self._read(name, result) for name, result in results.items()]
            changed = [
                n for n, values in before.items() if self.framework.read(arrays[n]).tobytes() != values.tobytes()
            ]
        except Unsupported as unsupported:
            return {"unsupported": str(unsupported) or "without a reason"}, []
        except SubjectError as error:
            return {"error": error.reason, "where": error.where}, []
        described = [
            {"name": name, "shape": list(result.shape), "dtype": self.framework.dtype(result)}
            for name, result in results.items()
        ]
        return {"results": described, "changed": changed}, read

    def _arrays(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make the arguments, or take those of an earlier call whose memory was written anew."""
        key = request["storage"]
        if key in self._kept and self.framework.shares_memory:
            return self._kept[key]
        made = {name: self._made(item, request["dtype"]) for name, item in request["arrays"].items()}
        if key is not None:
            self._kept = {key: made}
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
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # a warning is printed, and no reason to reject
            try:
                returned = self.function(*positional, **given)
            except BaseException as error:
                raise fault(error) from error
        names = request["results"]
        items = [returned] if len(names) == 1 else returned
        if not isinstance(items, (list, tuple)) or len(items) != len(names):
            raise SubjectError(f"it returns {_kind(returned)} instead of {', '.join(names)}")
        return dict(zip(names, items, strict=True))

    def _read(self, name: str, item: Any) -> np.ndarray:
        if not self.framework.is_plain(item):
            raise SubjectError(f"{name} is {_kind(item)}, not a plain array of {self.framework.name}")
        try:
            return np.ascontiguousarray(self.framework.read(item), np.float64)
        except Exception as error:
            raise SubjectError(f"{name} cannot be read: {type(error).__name__}: {error}") from error


def serve(make: Callable[[mmap.mmap], Worker], requests: int, replies: int, memory: int) -> None:
    """Answer requests until there are no more."""
    shared = mmap.mmap(memory, 0)
    process = os.getpid()
    with os.fdopen(requests, "rb") as lines:
        try:
            worker = make(shared)
            _write(replies, {"id": 0, "options": worker.options()})
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
    told = json.loads(arguments[0])

    def make(memory: mmap.mmap) -> Worker:
        return Worker(load(told["subject"]), told["arrays"], told["dialect"], memory)

    descriptors = told["requests"], told["replies"], told["memory"]
    supervise(lambda: serve(make, *descriptors), descriptors)


if __name__ == "__main__":
    main(sys.argv[1:])
