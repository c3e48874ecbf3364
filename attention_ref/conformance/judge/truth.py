"""An answer compared with the truth, which is computed now, in some heads and rows where all would take too long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from attention_ref import oracle
from attention_ref.conformance.budget import Roundings, budget, compare
from attention_ref.conformance.judge.contents import Contents
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.outcome import Mismatch, result_dtype
from attention_ref.spec.dtypes import DTYPES

WORK = 4e7
"""How many products `rows x keys x (d + v)` the truth of one call may take, where that suffices for every tile edge."""

_TILE, _SMALL_TILE, _SMALL = 64, 16, 128
_FEWEST_HEADS = _FEWEST_GROUPS = 2

Places = Mapping[int, np.ndarray]
"""Which places along an axis are compared, by the axis; all along the others."""


class Compared(NamedTuple):
    """A result, its truth, and where in the result the truth was computed."""

    name: str
    answer: np.ndarray
    truth: oracle.Result
    places: Places


def expected(scenario: Scenario) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and the dtype of every result."""
    return {name: (shape, result_dtype(name, scenario.dtype)) for name, shape in scenario.shapes.items()}


def chosen(scenario: Scenario, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose the heads and the rows whose truth is computed: all, or some with both sides of every tile edge."""
    heads, rows = np.arange(scenario.heads), np.arange(scenario.queries)
    cost = scenario.batch * scenario.keys * (scenario.head_size + scenario.value_size)
    if len(heads) * len(rows) * cost <= WORK:
        return heads, rows
    places = np.r_[np.arange(0, _SMALL, _SMALL_TILE), np.arange(0, scenario.queries, _TILE), scenario.queries]
    edges = np.unique(np.r_[places, places - 1])
    edges = edges[(edges >= 0) & (edges < scenario.queries)]
    count = min(len(heads), max(_FEWEST_HEADS, int(WORK / cost / len(edges))))
    heads = _more(heads, _ends(heads), count, generator)
    return heads, _more(rows, edges, int(WORK / cost / len(heads)), generator)


def chosen_groups(scenario: Scenario, generator: np.random.Generator) -> np.ndarray:
    """Choose the key/value heads whose gradients are computed, of all queries: all, or the first, the last and some.

    The gradient of a bias that heads share needs all of them.
    """
    groups, sizes = np.arange(scenario.groups), scenario.head_size + scenario.value_size
    count = max(_FEWEST_GROUPS, int(WORK * scenario.groups / (scenario.scores * sizes)))
    return groups if scenario.bias or count >= len(groups) else _more(groups, _ends(groups), count, generator)


def compared(
    scenario: Scenario,
    given: Contents,
    results: Mapping[str, np.ndarray],
    generator: np.random.Generator,
    arithmetic: str | None = None,
) -> tuple[float, Mismatch | None]:
    """Return the largest ratio of an error to its budget, and the number with that ratio if it exceeds 1.

    The budgets are those of arithmetic in a dtype: when None, in that of the specification, float32 or float64.
    """
    find = _gradients if scenario.gradients else _results
    worst, found = 0.0, None
    for each in find(scenario, given, results, generator):
        ratio, mismatch = _compared(each, scenario.dtype, arithmetic)
        worst, found = max(worst, ratio), found or mismatch
    return worst, found


def _results(
    scenario: Scenario, given: Contents, results: Mapping[str, np.ndarray], generator: np.random.Generator
) -> Iterator[Compared]:
    heads, rows = chosen(scenario, generator)
    asks = "weights" in scenario.returns
    truth = oracle.attention(**given.for_truth(), return_weights=asks, heads=heads.tolist(), rows=rows.tolist())
    for name, answer in results.items():
        yield Compared(name, answer, getattr(truth, name), {1: heads, 2: rows})


def _gradients(
    scenario: Scenario, given: Contents, results: Mapping[str, np.ndarray], generator: np.random.Generator
) -> Iterator[Compared]:
    groups = chosen_groups(scenario, generator)
    repeats = scenario.heads // scenario.groups
    heads = (groups[:, None] * repeats + np.arange(repeats)).ravel()
    truth = oracle.gradients(**given.for_truth(), groups=groups.tolist())
    places: dict[str, Places] = {"query": {1: heads}, "key": {1: groups}, "value": {1: groups}, "sinks": {0: heads}}
    for name, answer in results.items():
        yield Compared(name, answer, truth[name], places.get(name, {}))


def _compared(each: Compared, dtype: str, arithmetic: str | None) -> tuple[float, Mismatch | None]:
    """Return the largest ratio, and the number that has it if it exceeds 1."""
    answer = each.answer
    for axis, places in each.places.items():
        answer = answer.take(places, axis)
    values = each.truth.values
    allowed = np.broadcast_to(budget(Roundings(*each.truth.rounding), dtype, arithmetic), values.shape)
    largest = DTYPES[result_dtype(each.name, dtype)].largest
    comparison = compare(answer, np.where(np.abs(values) > largest, np.copysign(np.inf, values), values), allowed)
    ratio = np.where(np.isnan(comparison.error_ratio), np.inf, comparison.error_ratio)
    if not np.any(ratio > 1):
        return float(ratio.max(initial=0)), None
    place = tuple(map(int, np.unravel_index(int(ratio.argmax()), ratio.shape)))
    return float(ratio[place]), Mismatch(
        array=each.name,
        index=tuple(int(each.places[axis][n]) if axis in each.places else n for axis, n in enumerate(place)),
        expected=float(values[place]),
        got=float(answer[place]),
        error=float(comparison.error[place]),
        budget=float(allowed[place]),
        off=int(np.count_nonzero(ratio > 1)),
        size=ratio.size,
    )


def _ends(places: np.ndarray) -> np.ndarray:
    return np.unique(places[[0, -1]])


def _more(places: np.ndarray, always: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    others = np.setdiff1d(places, always)
    extra = min(max(count - len(always), 0), len(others))
    return np.sort(np.r_[always, generator.choice(others, extra, replace=False)]).astype(int)
