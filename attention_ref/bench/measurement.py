"""Time the contestants of a workload beside each other: in rounds of changing order, compared by medians."""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import linear_regression, median, quantiles
from typing import Any

from attention_ref.bench.machine import Machine
from attention_ref.bench.memory import peak_beyond
from attention_ref.bench.workload import Call, Contestant, Workload

WARM_UP = 2
SHORTEST = 0.002
"""Seconds: calls that take less are repeated within a round, so that the clock's own steps do not count."""


@dataclass(frozen=True)
class Measurement:
    """What one contestant took.

    Arguments:
        operation, length, sizes: of the workload.
        contestant: its name.
        seconds: the median of the processor time of a call over all threads.
        wall_seconds: the median of the time that passed.
        lowest, highest: the quartiles of `seconds`.
        ratio: the median over the rounds of its processor time divided by that of the fused kernel it is compared with.
        peak_bytes: the memory that a call needs beyond what stood before, or None where it cannot be measured.
        share_of_limit: the smallest time that the machine's rate of products and bandwidth allow, divided by `seconds`.
        trouble: why it was not measured, if it was not.
    """

    operation: str
    length: int
    sizes: str
    contestant: str
    seconds: float = math.nan
    wall_seconds: float = math.nan
    lowest: float = math.nan
    highest: float = math.nan
    ratio: float = math.nan
    peak_bytes: int | None = None
    share_of_limit: float = math.nan
    trouble: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as data for JSON, without numbers that are not finite."""
        unknown = (name for name, value in asdict(self).items() if isinstance(value, float) and math.isnan(value))
        empty = {*unknown, *(name for name, value in asdict(self).items() if value in (None, ""))}
        return {name: value for name, value in asdict(self).items() if name not in empty}


@dataclass(frozen=True)
class _Times:
    """The processor time and the time that passed of each round, in seconds for one call."""

    processor: tuple[float, ...]
    wall: tuple[float, ...]


def run(
    workload: Workload, *, names: Sequence[str] = (), rounds: int = 15, machine: Machine | None = None
) -> list[Measurement]:
    """Measure the contestants of a workload.

    Arguments:
        workload: what is computed.
        names: the contestants to measure; all that are installed when empty.
        rounds: how often each is timed.
        machine: the limits of the machine, which `share_of_limit` needs.

    Returns:
        A measurement for each contestant in the workload's order; one that cannot run says why.
    """
    chosen = [each for each in workload.contestants if not names or each.name in names]
    calls, troubles = _prepared(chosen)
    peaks = {name: peak_beyond(call) for name, call in calls.items()}
    with _no_garbage_collection():
        times = _timed(calls, rounds)
    fused = next((times[each.name] for each in chosen if each.is_fused and each.name in times), None)
    shortest = machine.shortest(workload.operations, workload.bytes) if machine else math.nan
    known: dict[str, Any] = {"operation": workload.operation, "length": workload.length, "sizes": workload.sizes}
    return [
        Measurement(**known, contestant=each.name, trouble=troubles[each.name])
        if each.name in troubles
        else Measurement(
            **known, contestant=each.name, **_summary(times[each.name], fused, shortest), peak_bytes=peaks[each.name]
        )
        for each in chosen
    ]


def _prepared(contestants: Sequence[Contestant]) -> tuple[dict[str, Call], dict[str, str]]:
    """Return the calls of those that run, after a first call, and the trouble of the others."""
    calls, troubles = {}, {}
    for each in contestants:
        if missing := [package for package in each.requires if find_spec(package) is None]:
            troubles[each.name] = f"needs {' and '.join(missing)}"
            continue
        try:
            call = each.prepare()
            for _ in range(WARM_UP):
                call()
        except Exception as error:  # noqa: BLE001 - one that cannot run must not stop the others
            troubles[each.name] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            calls[each.name] = call
    return calls, troubles


def _timed(calls: dict[str, Call], rounds: int) -> dict[str, _Times]:
    """Time every call in every round, in an order that changes, so that what slows the machine slows all of them."""
    repeats = {name: max(1, round(SHORTEST / max(_once(call, 1)[1], 1e-7))) for name, call in calls.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    order = random.Random(0)  # noqa: S311 - no secret
    for _ in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            found[name].append(_once(calls[name], repeats[name]))
    return {name: _Times(*zip(*pairs, strict=True)) for name, pairs in found.items()}


def _once(call: Call, repeats: int) -> tuple[float, float]:
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.process_time() - processor) / repeats, (time.perf_counter() - wall) / repeats


def _summary(times: _Times, fused: _Times | None, shortest: float) -> dict[str, Any]:
    middle = median(times.processor)
    lower, _, upper = quantiles(times.processor, n=4) if len(times.processor) > 1 else [middle] * 3
    pairs = zip(times.processor, fused.processor, strict=True) if fused else ()
    ratios = [one / other for one, other in pairs if other]
    return {
        "seconds": middle,
        "wall_seconds": median(times.wall),
        "lowest": lower,
        "highest": upper,
        "ratio": median(ratios) if ratios else math.nan,
        "share_of_limit": shortest / middle if middle else math.nan,
    }


def scaling_exponents(measurements: Sequence[Measurement]) -> dict[tuple[str, str], float]:
    """Return how time grows with length, of every operation and contestant that has more than one length.

    seconds ~ length^exponent, by least squares over the logarithms
    """
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for each in measurements:
        if each.seconds > 0:
            point = math.log(each.length), math.log(each.seconds)
            points.setdefault((each.operation, each.contestant), []).append(point)
    return {
        key: linear_regression(*zip(*pairs, strict=True)).slope
        for key, pairs in points.items()
        if len({length for length, _ in pairs}) > 1
    }


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
