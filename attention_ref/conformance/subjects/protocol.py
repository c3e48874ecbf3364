"""The protocol for programs in any language: a call and its answer as JSON, one object per line.

    request  {"id": 7, "case": "attention/core/plain", "operation": "attention", "dtype": "float32",
              "inputs": {"query": {"shape": [2, 2, 3, 4], "dtype": "real", "values": [...]}, ...},
              "options": {"causal": true}, "results": ["output"]}
    answer   {"id": 7, "results": {"output": {"shape": [2, 2, 3, 4], "values": [...]}}}
          or {"id": 7, "unsupported": "no window"}
          or {"id": 7, "error": "out of memory"}

Where arrays are in files they have no values here: `"files"` names a file of safetensors that has them, and one for
those of the answer, whose `"results"` is a list of their names.

Values are flat and row-major, as in the vectors. A number is written with enough digits to read back the
same float64; NaN and infinities are the strings "NaN", "Infinity" and "-Infinity". `schema("request")` and
`schema("answer")` describe every field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import SubjectError, Unsupported
from attention_ref.conformance.outcome import Answer, result_dtype
from attention_ref.conformance.subjects.array_files import ArrayFiles
from attention_ref.vectors.array_forms import NON_FINITE, kind_of, to_json

_QUOTED = 80


class ProtocolError(SubjectError):
    """The line is not an answer to the request, so the following lines cannot be trusted."""


def request(case: Case, dtype: str, number: int, files: ArrayFiles | None = None) -> str:
    """Return a request as one line without line end; fields that do not apply are left out.

    Arguments:
        case, dtype, number: the call, its dtype and its id.
        files: where the arrays are written; None: their values are part of the line.
    """
    inputs, parameters, cotangents = case.call.inputs, case.call.parameters, case.cotangents
    optional: dict[str, Any] = {"parameters": _arrays(parameters, files), "cotangents": _arrays(cotangents, files)}
    optional["taps"] = list(case.taps)
    fields = {
        "id": number,
        "case": case.id,
        "operation": case.operation,
        "dtype": dtype,
        **replace(case.call, inputs={}, parameters={}).to_json(),
        "inputs": _arrays(inputs, files),
        **{name: value for name, value in optional.items() if value},
        "results": list(case.expected),
    }
    if files is not None:
        named = {f"cotangents.{name}": array for name, array in cotangents.items()}
        files.write({**inputs, **parameters, **named}, dtype)
        fields["files"] = files.paths
    return json.dumps(fields, allow_nan=False)


def answer(line: str, case: Case, dtype: str, number: int | None = None, files: ArrayFiles | None = None) -> Answer:
    """Read an answer; its `id` must equal `number`, if given, and its arrays are in `files`, if given.

    Raises:
        ProtocolError: if the line is not a JSON object, or has another id.
        SubjectError: if the answer reports an error, lacks a result, or a result has a wrong shape, dtype or number of
            values.
        Unsupported: if the answer says so.
    """
    fields = _object(line)
    if number is not None and fields.get("id") != number:
        raise ProtocolError(f"it answers with the id {quoted(fields.get('id'))} to the request {number}")
    if "unsupported" in fields:
        raise Unsupported(str(fields["unsupported"]))
    if "error" in fields:
        raise SubjectError(f"it answers with an error: {_one_line(str(fields['error']))}")
    given: Any = fields.get("results")
    has_results = isinstance(given, dict) if files is None else isinstance(given, list)
    if not has_results:
        raise SubjectError("its answer has neither results nor unsupported nor error")
    if missing := [name for name in case.expected if name not in given]:
        raise SubjectError(f"its answer lacks {', '.join(missing)}")
    expected = {name: (each.values.shape, result_dtype(name, dtype)) for name, each in case.expected.items()}
    if files is None:
        results = {name: _read(name, given[name], *each) for name, each in expected.items()}
    else:
        results = files.read(expected)
    found = fields.get("taps", {})
    if not isinstance(found, dict):
        raise SubjectError(f"its taps are {quoted(found)}, not an object")
    taps = {name: _read(name, found[name], tap.values.shape, None) for name, tap in case.taps.items() if name in found}
    return Answer(results, taps, ())


def schema(name: str) -> dict[str, Any]:
    """Read the JSON Schema of a `"request"` or an `"answer"`."""
    path = resources.files(__package__).joinpath("schema", f"{name}.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _arrays(arrays: Mapping[str, np.ndarray], files: ArrayFiles | None) -> dict[str, Any]:
    if files is None:
        return {name: to_json(values) for name, values in arrays.items()}
    return {name: {"shape": list(values.shape), "dtype": kind_of(values)} for name, values in arrays.items()}


def _object(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        place = getattr(error, "pos", 0)
        near = f", near {quoted(line[place - 10 : place + 20])}" if place > _QUOTED - 20 else ""
        raise ProtocolError(f"it writes a line that is not JSON: {quoted(line)}{near}") from None
    except RecursionError:
        raise ProtocolError(f"it writes JSON that is nested too deeply: {quoted(line)}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"it writes a line that is not a JSON object: {quoted(line)}")
    return fields


def _read(name: str, item: Any, shape: tuple[int, ...], dtype: str | None) -> np.ndarray:
    if not isinstance(item, dict) or not all(isinstance(item.get(field), list) for field in ("shape", "values")):
        raise SubjectError(f"{name} is {quoted(item)}, not an object with shape and values")
    if item["shape"] != list(shape):
        raise SubjectError(f"{name} has the shape ({', '.join(map(str, item['shape']))}) instead of {shape}")
    if dtype is not None and item.get("dtype", dtype) != dtype:
        raise SubjectError(f"{name} has the dtype {item['dtype']} instead of {dtype}")
    if len(item["values"]) != math.prod(shape):
        raise SubjectError(f"{name} has {len(item['values'])} values instead of the {math.prod(shape)} of its shape")
    numbers = [_number(name, place, value) for place, value in enumerate(item["values"])]
    return np.array(numbers, np.float64).reshape(shape)


def _number(name: str, place: int, value: Any) -> float:
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value]
    try:
        if not isinstance(value, (bool, str)):
            return float(value)
    except (TypeError, OverflowError):
        pass
    raise SubjectError(f'{name}.values[{place}] is {quoted(value)}, not a number, "NaN", "Infinity" or "-Infinity"')


def quoted(item: Any) -> str:
    """Quote an item in a message, shortened."""
    text = repr(item.rstrip("\r\n")) if isinstance(item, str) else json.dumps(item)
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 3]}..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
