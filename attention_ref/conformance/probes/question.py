"""The questions about the conventions of a function, read from `probes.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

SOMETHING_ELSE = "something else"
"""The answer if the results agree with no named answer."""
CANNOT_BE_ASKED = "cannot be asked"
"""How the answer begins if the function lacks what the question needs; the reason follows."""


@dataclass(frozen=True)
class Question:
    """A question.

    Arguments:
        id, title: the id and the text of the question.
        answers: for every answer the call of the specification that computes its expected results.
        clause: the id of the clause that decides it.
        specified: the answer of the specification, `"error"` where it refuses the call; the first one if empty.
        call: the options of the call.
        reading: the fields of the dialect that are reset.
        sizes, fill, poison, dtype: properties of the inputs.
        dtypes: the dtypes of inputs that differ from `dtype`, by name.
        at: the query to compare; all if None.
        measure: `"numbers"`, `"precision"` or `"dropout"`.
        of: the dialects to which the question applies; all if empty.
    """

    id: str
    title: str
    answers: Mapping[str, Mapping[str, Any]]
    clause: str = ""
    specified: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)
    reading: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    fill: float | None = None
    poison: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    at: int | None = None
    measure: str = "numbers"
    of: tuple[str, ...] = ()

    def is_specified(self, answer: str) -> bool:
        """Return whether an answer is that of the specification."""
        wanted = self.specified or next(iter(self.answers))
        return answer.startswith("error: ") if wanted == "error" else answer == wanted


@cache
def questions() -> Mapping[str, Question]:
    """Return every question by its id."""
    text = Path(__file__).with_name("probes.toml").read_text(encoding="utf-8")
    return {item["id"]: Question(**item) for item in tomllib.loads(text)["question"]}
