"""Decoding in chunks with a cache; the outputs are assembled in the layout of a single call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.conformance.errors import Unsupported

Make = Callable[[np.ndarray], Any]
Read = Callable[[Any, tuple[int, ...]], np.ndarray]
Step = Callable[[Any, Any, Any], tuple[Any, Any]]


def decoded(layer: Any, case: Case, make: Make, read: Read) -> np.ndarray:
    """Call a layer on one chunk after another, with the cache of the previous call.

    A chunk has a number of new positions for each batch row; shorter rows are padded with their first position, and the
    outputs of padding are ignored.

    Arguments:
        layer: the layer to call.
        case: the case, with its chunks.
        make: makes an array of the subject's type.
        read: reads an array of a given shape.
    """
    name = "target" if "target" in case.call.inputs else case.call.positional[0]
    whole, expected = case.call.inputs[name], case.expected["output"].values
    step, output = _step(layer, case, make), np.full(expected.shape, np.nan)
    done, cache = np.zeros(len(whole), np.int64), None
    for chunk in case.call.chunks:
        width = max(chunk)
        places = done[:, None] + np.arange(width)
        is_new = np.arange(width) < np.array(chunk)[:, None]
        rows = np.arange(len(whole))[:, None]
        returned, cache = step(make(whole[rows, np.where(is_new, places, 0)]), make(np.array(chunk)), cache)
        found = read(returned, (len(whole), width, *expected.shape[2:]))
        output[np.broadcast_to(rows, places.shape)[is_new], places[is_new]] = found[is_new]
        done += np.array(chunk)
    return output


def _step(layer: Any, case: Case, make: Make) -> Step:
    """Return a function for one chunk: `step(chunk, lengths, cache)` returns the output and the new cache."""
    inputs = {name: make(values) for name, values in case.call.inputs.items()}
    if case.operation == "Transformer":
        return _model_step(layer, inputs)
    memory: dict[str, Any] = {
        name: inputs[name] for name in ("memory", "memory_lengths", "memory_mask") if name in inputs
    }

    def step(chunk: Any, lengths: Any, cache: Any) -> tuple[Any, Any]:
        given: dict[str, Any] = {**memory}
        if cache is not None:  # the cache contains the memory and its lengths
            given = {name: array for name, array in given.items() if name == "memory_mask"}
        return layer(chunk, key_lengths=lengths, cache=cache, return_cache=True, **given)

    return step


def _model_step(model: Any, inputs: dict[str, Any]) -> Step:
    for name in ("encode", "decode", "read"):
        if not hasattr(model, name):
            raise Unsupported(f"no method {name}")
    memory = {}
    if "target" in inputs:
        memory["memory"] = model.encode(inputs["source"], lengths=inputs.get("lengths"))
        memory["memory_lengths"] = inputs.get("lengths")

    def step(chunk: Any, lengths: Any, cache: Any) -> tuple[Any, Any]:
        given = memory if cache is None else {}
        array, cache = model.decode(chunk, lengths=lengths, cache=cache, return_cache=True, **given)
        return model.read(array), cache

    return step
