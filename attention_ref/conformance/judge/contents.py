"""The numbers of a call: drawn from its id and a seed, and exactly what its dtype has."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attention_ref.conformance.judge.scenario import RETURNS, Scenario

_OUTLIER, _LARGE, _TINY, _NEAR = 16.0, 100.0, 1e-4, 2.0**-9
"""The factors of outlier channels, large queries, tiny numbers, and of the differences of nearly equal keys."""
_DOMINANCE = 30.0
"""By how much the score of the dominant key exceeds the others."""
_LOW = 200.0
"""How far all scores are below 0, where they are."""
_VISIBLE = 0.5
"""The share of keys that a random mask shows."""


@dataclass(frozen=True)
class Contents:
    """The arguments of a call.

    Arguments:
        tensors: query, key, value and what else is in the dtype, as float64; `cotangent`, which multiplies the output,
            where gradients are asked for.
        integers: masks, lengths and offsets.
        options: what is no array.
    """

    tensors: Mapping[str, np.ndarray]
    integers: Mapping[str, np.ndarray]
    options: Mapping[str, Any]

    def for_truth(self) -> dict[str, Any]:
        """Return all arguments as the oracle takes them."""
        flags = RETURNS.values()
        options = {name: option for name, option in self.options.items() if name not in flags}
        return {**self.tensors, **self.integers, **options}


def contents(scenario: Scenario, seed: int, draw: int = 0) -> Contents:
    """Draw the contents of a call; another `draw` gives other numbers in tensors of the same shapes."""
    generator = np.random.default_rng([seed, zlib.crc32(scenario.id.encode()), draw])
    tensors, integers = _tensors(scenario, generator), _lengths_and_offsets(scenario)
    if scenario.mask:
        integers["mask"] = _mask(scenario, generator)
    if scenario.bias:
        tensors["bias"] = _bias(scenario, generator, integers.get("mask"))
    if scenario.sinks:
        tensors["sinks"] = generator.normal(1.0, 1.0, scenario.heads)
    if scenario.dropout:
        integers["dropout_mask"] = generator.random(_shape(scenario, "bhqk")) >= scenario.dropout
    if scenario.gradients:
        tensors["cotangent"] = generator.normal(size=_shape(scenario, "bhqv"))
    options: dict[str, Any] = {"causal": True} if scenario.causal else {}
    if len(scenario.offsets) == 1:
        options["query_offset"] = scenario.offsets[0]
    for name in ("window", "scale", "softcap"):
        if (option := getattr(scenario, name)) is not None:
            options[name] = option
    options |= {"dropout": scenario.dropout} if scenario.dropout else {}
    options |= {RETURNS[name]: True for name in scenario.returns}
    rounded = {name: decoded(encoded(array, scenario.dtype), scenario.dtype) for name, array in tensors.items()}
    return Contents(rounded, integers, options)


def altered(given: Contents, scenario: Scenario, seed: int) -> Contents:
    """Return the contents of a call with other numbers in some tensors, at least one, and smaller lengths and offsets.

    Where a window could hide all keys of a query then, lengths and offsets stay as they are.
    """
    others = contents(scenario, seed, draw=1)
    generator = np.random.default_rng([seed, zlib.crc32(scenario.id.encode()), 2])
    names = [*given.tensors]
    changed = {str(generator.choice(names)), *(name for name in names if generator.integers(2))}
    tensors = {name: (others if name in changed else given).tensors[name] for name in names}
    integers = dict(others.integers)
    if scenario.window is None:
        smaller = {"key_lengths": 1, "query_offset": 0}
        integers |= {n: np.maximum(integers[n] // 2, least) for n, least in smaller.items() if n in integers}
    return replace(others, tensors=tensors, integers=integers)


def encoded(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers rounded to a dtype, as NumPy stores them; bfloat16 as the upper half of a float32, cut off."""
    if dtype != "bfloat16":
        return values.astype(dtype)
    return (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def decoded(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Return the numbers of a stored array as float64."""
    if dtype != "bfloat16":
        return stored.astype(np.float64)
    return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def _tensors(scenario: Scenario, generator: np.random.Generator) -> dict[str, np.ndarray]:
    s = scenario
    query = generator.normal(size=(s.batch, s.heads, s.queries, s.head_size))
    key = generator.normal(size=(s.batch, s.groups, s.keys, s.head_size))
    value = generator.normal(size=(s.batch, s.groups, s.keys, s.value_size))
    kind = s.distribution
    if kind == "outliers":
        channels = generator.choice(s.head_size, max(1, s.head_size // 32), replace=False)
        key[..., channels] *= _OUTLIER
        value[..., generator.integers(s.value_size)] *= _OUTLIER
    elif kind == "ties":
        key = key[..., :1, :] + _NEAR * key
    elif kind == "large":
        query *= _LARGE
    elif kind == "tiny":
        query, key, value = _TINY * query, _TINY * key, _TINY * value
    elif kind == "constant":
        key = np.repeat(key[..., :1, :], s.keys, axis=-2)
    elif kind == "dominant":
        _make_one_key_dominant(scenario, generator, query, key)
    elif kind == "low":
        direction = _direction(s, generator, _LOW)
        query, key = query + direction, key - direction
    elif kind == "padding":
        for row, length in enumerate(s.lengths):
            key[row, :, length:] = np.nan
            value[row, :, length:] = np.resize([np.nan, np.inf], (s.keys - length, 1))
    return {"query": query, "key": key, "value": value}


def _direction(scenario: Scenario, generator: np.random.Generator, score: float) -> np.ndarray:
    """Return a vector whose score with itself is `score`, `(d,)`."""
    direction = generator.normal(size=scenario.head_size)
    return direction * math.sqrt(score * math.sqrt(scenario.head_size)) / np.linalg.norm(direction)


def _make_one_key_dominant(
    scenario: Scenario, generator: np.random.Generator, query: np.ndarray, key: np.ndarray
) -> None:
    """Change query and key so that one key of every head has a score about `_DOMINANCE` above the others."""
    direction = _direction(scenario, generator, _DOMINANCE)
    query += direction
    first, last = scenario.seen()
    for group in range(scenario.groups):
        among = [0, scenario.keys - 1, int(generator.integers(scenario.keys)), int(first.max()), int(last.min())]
        place = int(generator.choice(among))
        key[:, group, place] += direction


def _lengths_and_offsets(scenario: Scenario) -> dict[str, np.ndarray]:
    found = {"key_lengths": scenario.lengths, "query_offset": scenario.offsets if len(scenario.offsets) > 1 else ()}
    return {name: np.array(numbers, np.int64) for name, numbers in found.items() if numbers}


def _mask(scenario: Scenario, generator: np.random.Generator) -> np.ndarray:
    kind, axes = scenario.mask.split(".")
    shape = _shape(scenario, axes)
    mask = generator.random(shape) < _VISIBLE if kind == "random" else _runs_of_keys(generator, shape)
    return _with_a_visible_key(scenario, mask, None)


def _bias(scenario: Scenario, generator: np.random.Generator, mask: np.ndarray | None) -> np.ndarray:
    kind, axes = scenario.bias.split(".")
    shape = _shape(scenario, axes)
    bias = generator.normal(size=shape)
    if kind == "normal":
        return bias
    return np.where(_with_a_visible_key(scenario, _runs_of_keys(generator, shape), mask), bias, -np.inf)


def _runs_of_keys(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return runs of keys, one for each row, many of which begin long after the first key."""
    keys = shape[-1]
    first, length = (generator.integers(low, keys + 1, (*shape[:-1], 1)) for low in (0, 1))
    return (np.arange(keys) >= first) & (np.arange(keys) < first + length)


def _shape(scenario: Scenario, axes: str) -> tuple[int, ...]:
    return tuple(scenario.axes[axis] for axis in axes)


def _with_a_visible_key(scenario: Scenario, mask: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """Return the mask, in which a query that would see no key sees the last one that its position allows."""
    shape = _shape(scenario, "bhqk")
    first, last = (each[:, None, :, None] for each in scenario.seen())
    keys = np.arange(scenario.keys)
    rest = np.broadcast_to((keys >= first) & (keys <= last), shape)
    rest = rest if other is None else rest & np.broadcast_to(other, shape)
    is_empty = ~(rest & np.broadcast_to(mask, shape)).any(axis=-1)
    rows = np.nonzero(is_empty)  # places in b, h and q
    chosen = scenario.keys - 1 - rest[rows][:, ::-1].argmax(axis=-1)
    index = [*rows, chosen][-mask.ndim :]
    mask[tuple(place if size > 1 else 0 for place, size in zip(index, mask.shape, strict=True))] = True
    return mask
