"""Probes: determine the conventions of a function by questions.

A check finds that results differ; a question finds which convention the function follows. Every possible answer has a
name and the results that the specification computes for it. The answer with the results of the function is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from attention_ref.conformance.dialects.adapter import adapted, narrowed
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import SubjectError, Unsupported, reject
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.probes import answers
from attention_ref.conformance.probes.answers import Probe
from attention_ref.conformance.probes.question import CANNOT_BE_ASKED, SOMETHING_ELSE, Question, questions
from attention_ref.conformance.signatures import options_of

__all__ = ["SOMETHING_ELSE", "Question", "ask", "questions"]

_LONGEST = 100
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def ask(function: Callable[..., Any], dialect: Dialect, question: Question | str) -> str:
    """Return the answer of a function to a question.

    Arguments:
        function: the attention.
        dialect: its dialect; the fields that the question is about are ignored.
        question: the question or its id.

    Returns:
        The name of an answer; or `error: ...` with the exception; or `cannot be asked: ...` with the reason; or
        `"something else"`.

    Raises:
        UsageError: for an unknown question.
    """
    if isinstance(question, str):
        if question not in questions():
            reject("question", question, questions())
        question = questions()[question]
    expressed = sorted({"causal", "window"} & set(question.call) & (set(dialect.by_mask) - _set_aside(question)))
    if expressed:
        return f"{CANNOT_BE_ASKED}: its mask expresses {' and '.join(expressed)}"
    probe = Probe.of(question.sizes, question.fill, question.poison)
    operation = adapted(function, narrowed(_plain(dialect, question), function))
    if missing := sorted(set(question.call) - (options_of(operation) or set())):
        return f"{CANNOT_BE_ASKED}: it has no {', '.join(missing)}"
    try:
        found = _called(operation, dialect, question, probe)
    except Unsupported as reason:
        return f"{CANNOT_BE_ASKED}: {reason}"
    except SubjectError as fault:
        return f"error: {fault.reason}"
    except Exception as error:  # noqa: BLE001 - any exception is an answer
        return f"error: {type(error).__name__}: {' '.join(_COLOUR.sub('', str(error)).split())}"[:_LONGEST]
    return answers.match(found, question, probe) or SOMETHING_ELSE


def _set_aside(question: Question) -> set[str]:
    """Return the options that the question passes as arguments although the dialect expresses them by the mask."""
    return set(question.call) if "by_mask" in question.reading else set()


def _plain(dialect: Dialect, question: Question) -> Dialect:
    """Reset the fields of the dialect that the question is about to their defaults."""
    reading = dict(question.reading)
    reading["arguments"] = {**dialect.arguments, **reading.get("arguments", {})}
    if dialect.window != "count":
        reading.pop("window", None)
    if dialect.heads == "equal":
        reading.pop("heads", None)
    return replace(dialect, exclusions=(), dtypes=(), ranks=(), **reading)


def _called(operation: Callable[..., Any], dialect: Dialect, question: Question, probe: Probe) -> Any:
    arrays = framework(dialect.arrays)
    dtypes = defaultdict(lambda: question.dtype, question.dtypes)
    given = {"query": probe.query, "key": probe.key, "value": probe.value}
    tensors = [arrays.make(array, dtypes[name]) for name, array in given.items()]
    options = {name: _made(arrays, option, dtypes[name]) for name, option in question.call.items()}
    with np.errstate(all="ignore"):
        returned = operation(*tensors, **options)
    result = returned[1] if question.measure == "dropout" else returned
    values = np.asarray(arrays.read(result), np.float64)
    return answers.Found(values, arrays.dtype(result))


def _made(arrays: Any, option: Any, dtype: str) -> Any:
    """Make an array of a nested list of booleans, integers or real numbers."""
    if not isinstance(option, list) or (isinstance(option[0], int) and not isinstance(option[0], bool)):
        return tuple(option) if isinstance(option, list) else option  # a window is a pair, not an array
    values = np.array(option)
    return arrays.make(values, {"b": "bool", "i": "int32", "f": dtype}[values.dtype.kind])
