"""The expected results of every answer to a question, from the specification, and their comparison with a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from attention_ref.conformance.probes.question import Question
from attention_ref.vectors.array_forms import from_spec
from attention_ref.vectors.call import Call

_SIZES = {"batch": 1, "heads": 2, "groups": 2, "queries": 3, "keys": 4, "size": 4}
_CLOSE = {"float64": 1e-5, "float32": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}
"""The tolerance for results around 1: far above rounding errors, far below the difference between answers."""


class Found(NamedTuple):
    """A returned result: values and dtype."""

    values: np.ndarray
    dtype: str


@dataclass(frozen=True, eq=False)
class Probe:
    """The inputs of a question, with NaN or other poison at chosen keys; `clean` are the inputs without it."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    clean: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, sizes: Mapping[str, int], fill: float | None, poison: Mapping[str, Any]) -> Probe:
        """Make inputs that are exact in every dtype: random, or with constant queries and keys."""
        full = {**_SIZES, **sizes}
        batch, queries, keys, size = (full[name] for name in ("batch", "queries", "keys", "size"))
        heads, groups = full["heads"], full.get("groups", full["heads"]) if "heads" not in sizes else sizes["groups"]
        random = np.random.default_rng(7)
        value_size = full.get("value_size", size)
        shapes = [(batch, heads, queries, size), (batch, groups, keys, size), (batch, groups, keys, value_size)]
        clean = [random.integers(-128, 129, shape) / 64 for shape in shapes]
        if fill is not None:
            clean[:2] = [np.full_like(array, fill) for array in clean[:2]]
        given = [array.copy() for array in clean]
        if poison:
            given[("query", "key", "value").index(poison["array"])][..., poison["key"], :] = poison["number"]
        return cls(given[0], given[1], given[2], (clean[0], clean[1], clean[2]))


def match(found: Found, question: Question, probe: Probe) -> str | None:
    """Return the name of the answer whose expected results agree, or None."""
    if question.measure == "precision":
        return _precision(found, question, probe)
    if question.measure == "dropout":
        return _dropout(found, question, probe)
    for name, answer in question.answers.items():
        expected = _numbers(answer, found.values.shape, probe)
        got = found.values
        if question.at is not None:
            expected, got = expected[..., question.at, :], got[..., question.at, :]
        close = _CLOSE.get(question.dtype, 0.0)
        if expected.shape == got.shape and np.allclose(got, expected, rtol=close, atol=close, equal_nan=True):
            return name
    return None


def _numbers(answer: Mapping[str, Any], shape: tuple[int, ...], probe: Probe) -> np.ndarray:
    """Compute the expected output of an answer."""
    if "constant" in answer:
        return np.full(shape, answer["constant"])
    query, key, value = (probe.query, probe.key, probe.value) if answer.get("poisoned") else probe.clean
    options = {name: option for name, option in answer.items() if name not in ("poisoned", "tiled", "bias_in_scores")}
    if answer.get("tiled"):
        times = query.shape[1] // key.shape[1]
        key, value = (np.tile(array, (1, times, 1, 1)) for array in (key, value))
    if answer.get("bias_in_scores"):
        bias, options["scale"] = np.array(options.pop("bias")), 1 / np.sqrt(query.shape[-1])
        query, key = _with_bias(query, key, bias, options["scale"])
    return _specified(query, key, value, **options)


def _with_bias(query: np.ndarray, key: np.ndarray, bias: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Append 1 to every query and the bias `(1,k)` to every key, so that the products include the bias."""
    ones = np.ones((*query.shape[:-1], 1))
    column = np.broadcast_to(bias[0][:, None] / scale, (*key.shape[:-1], 1))
    return np.concatenate([query, ones], -1), np.concatenate([key, column], -1)


def _specified(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> Any:
    arrays = {"query": query, "key": key, "value": value}
    results = Call("attention", arrays).changed(**options).specified()
    found = [from_spec(array) for array in results.values()]
    return found[0] if len(found) == 1 else found


def _precision(found: Found, question: Question, probe: Probe) -> str | None:
    if found.dtype != question.dtype:
        return f"returns {found.dtype}"
    error = np.max(np.abs(found.values - _numbers({}, found.values.shape, probe)))
    return next((name for name, answer in question.answers.items() if error < answer["below"]), None)


def _dropout(found: Found, question: Question, probe: Probe) -> str | None:
    """Compare returned weights with those before dropout, and with 0 or rescaled weights after dropout."""
    weights = _specified(probe.query, probe.key, probe.value, return_weights=True)[1]
    close = _CLOSE[question.dtype]
    if np.allclose(found.values, weights, rtol=close, atol=close):
        return next(name for name, answer in question.answers.items() if answer["kept"] == "all")
    kept = weights / (1 - question.call["dropout"])
    if np.allclose(np.where(found.values == 0, kept, found.values), kept, rtol=close, atol=close):
        return next(name for name, answer in question.answers.items() if answer["kept"] == "some")
    return None
