"""An answer compared with the truth, which is computed now, in some heads and rows where all would take too long."""

from __future__ import annotations

from collections.abc import Mapping

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
_FEWEST_HEADS = 2


def expected(scenario: Scenario) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and the dtype of every result."""
    rows = (scenario.batch, scenario.heads, scenario.queries)
    shapes = {"output": (*rows, scenario.value_size), "weights": (*rows, scenario.keys), "log_sum_exp": rows}
    return {name: (shapes[name], result_dtype(name, scenario.dtype)) for name in ("output", *scenario.returns)}


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
    ends = np.unique([0, scenario.heads - 1])  # the first and the last group
    heads = _more(heads, ends, count, generator)
    return heads, _more(rows, edges, int(WORK / cost / len(heads)), generator)


def compared(
    scenario: Scenario,
    given: Contents,
    results: Mapping[str, np.ndarray],
    generator: np.random.Generator,
) -> tuple[float, Mismatch | None]:
    """Return the largest ratio of an error to its budget, and the number with that ratio if it exceeds 1."""
    heads, rows = chosen(scenario, generator)
    arguments = given.for_truth()
    asks = "weights" in scenario.returns
    truth = oracle.attention(**arguments, return_weights=asks, heads=heads.tolist(), rows=rows.tolist())
    worst, found = 0.0, None
    for name, answer in results.items():
        result: oracle.Result = getattr(truth, name)
        picked = answer[:, heads][:, :, rows]
        allowed = budget(Roundings(*result.rounding), scenario.dtype)
        largest = DTYPES[result_dtype(name, scenario.dtype)].largest
        true = np.where(np.abs(result.values) > largest, np.copysign(np.inf, result.values), result.values)
        comparison = compare(picked, true, np.broadcast_to(allowed, true.shape))
        error_ratio = np.where(np.isnan(comparison.error_ratio), np.inf, comparison.error_ratio)
        worst = max(worst, float(error_ratio.max(initial=0)))
        if found is None and np.any(error_ratio > 1):
            place = np.unravel_index(int(error_ratio.argmax()), error_ratio.shape)
            batch, head, row, *rest = (int(each) for each in place)
            found = Mismatch(
                array=name,
                index=(batch, int(heads[head]), int(rows[row]), *rest),
                expected=float(result.values[place]),
                got=float(picked[place]),
                error=float(comparison.error[place]),
                budget=float(np.broadcast_to(allowed, true.shape)[place]),
                off=int(np.count_nonzero(error_ratio > 1)),
                size=error_ratio.size,
            )
    return worst, found


def _more(places: np.ndarray, always: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    others = np.setdiff1d(places, always)
    extra = min(max(count - len(always), 0), len(others))
    return np.sort(np.r_[always, generator.choice(others, extra, replace=False)]).astype(int)
