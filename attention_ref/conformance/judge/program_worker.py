"""The process beside a program: it asks the program, in a process of its own, for what the judge asks of it."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np

from attention_ref.conformance.budget import Roundings
from attention_ref.conformance.case import Case, Expected
from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.errors import SubjectError, Unsupported, UsageError
from attention_ref.conformance.judge.contents import decoded
from attention_ref.conformance.judge.source import Source
from attention_ref.conformance.judge.storage import Place, view
from attention_ref.conformance.outcome import result_dtype
from attention_ref.conformance.subjects.program import program
from attention_ref.vectors.call import Call

_NOTHING = Roundings(*(np.zeros(()) for _ in range(4)))


class ProgramWorker:
    """Sends the requests of the judge to a program, and its answers back.

    Arguments:
        source: the command, and how arrays are exchanged.
        memory: where the arrays of requests are written.
    """

    def __init__(self, source: Source, memory: mmap.mmap) -> None:
        arrays = source.arrays or "json"
        self.subject = program(source.name, timeout=None, arrays=arrays, folder=source.folder)
        self.memory, self.limits = memory, Limits()

    def options(self) -> dict[str, list[str] | None]:
        """Return that it is asked for every option: it answers which it does not offer."""
        return {"options": None, "gradient_options": None}

    def answer(self, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Ask the program, and return what the results are, and their numbers."""
        dtype = request["dtype"]
        try:
            found = self.subject.answer(self._case(request), dtype).results
        except UsageError as error:
            return {"usage": str(error)}, []
        except Unsupported as unsupported:
            return {"unsupported": str(unsupported)}, []
        except SubjectError as error:
            return {"error": error.reason, "where": error.where}, []
        described = [
            {"name": name, "shape": list(found[name].shape), "dtype": result_dtype(name, dtype)}
            for name in request["results"]
        ]
        return {"results": described}, [found[name] for name in request["results"]]

    def _case(self, request: Mapping[str, Any]) -> Case:
        arrays = {name: self._array(item, request["dtype"]) for name, item in request["arrays"].items()}
        cotangents = {"output": arrays.pop("cotangent")} if "cotangent" in arrays else {}
        options = {name: tuple(each) if isinstance(each, list) else each for name, each in request["options"].items()}
        return Case(
            id="attention/judge",
            call=Call("attention", arrays, options),
            profile="judge",
            clauses=(),
            catches="",
            references=(),
            dtypes=(request["dtype"],),
            expected={
                name: Expected(np.broadcast_to(0.0, shape), _NOTHING) for name, shape in request["results"].items()
            },
            cotangents=cotangents,
        )

    def _array(self, item: Mapping[str, Any], dtype: str) -> np.ndarray:
        stored = view(self.memory, Place(item["offset"], tuple(item["shape"]), item["stored"]))
        return decoded(stored, dtype) if item["is_real"] else np.array(stored)
