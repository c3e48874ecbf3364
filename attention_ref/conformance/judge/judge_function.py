"""The judge as a function."""

from __future__ import annotations

import math
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from attention_ref.conformance.dialects import resolve
from attention_ref.conformance.dialects.dialect import Dialect
from attention_ref.conformance.errors import UsageError, reject
from attention_ref.conformance.frameworks import framework
from attention_ref.conformance.judge.judgement import Command, Judgement
from attention_ref.conformance.judge.process import Source
from attention_ref.conformance.judge.scenario import Scenario, parse
from attention_ref.conformance.judge.scenarios import Size, draw, substitutes
from attention_ref.conformance.judge.shrink import smallest
from attention_ref.conformance.judge.storage import Storage
from attention_ref.conformance.judge.trial import Outcome, Pattern, Trial
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED
from attention_ref.conformance.signatures import name_of
from attention_ref.conformance.timeouts import TIMEOUT
from attention_ref.spec.dtypes import DTYPES

MOST_FAILURES = 5
"""The default number of failing calls after which no more are run."""

_MEMORY = {"small": 1 << 26, "full": 1 << 28, "large": 1 << 30}
_SEEDS = 2**31


@dataclass(frozen=True)
class Limits:
    """When to stop, and the callback after every call.

    Arguments:
        end: the time, on the clock of `time.monotonic`.
        failures: how many calls may fail; a call that hangs is the last one.
        progress: as in `judge`.
    """

    end: float
    failures: int
    progress: Callable[[int, int, Outcome], None] | None

    def are_reached(self, outcomes: Iterable[Outcome]) -> bool:
        """Return whether it is time to stop."""
        failed = [outcome for outcome in outcomes if outcome.verdict == FAILED]
        return len(failed) >= self.failures or any(each.hangs for each in failed) or time.monotonic() > self.end

    def tell(self, done: int, total: int, outcome: Outcome) -> None:
        """Report a call."""
        if self.progress is not None:
            self.progress(done, total, outcome)


def judge(
    function: Callable[..., Any] | str,
    *,
    dtypes: Sequence[str] = ("float32",),
    arrays: str | None = None,
    dialect: Dialect | str | None = None,
    seed: int | None = None,
    small: bool = False,
    large: bool = False,
    case: str | None = None,
    budget_seconds: float | None = None,
    most_failures: int = MOST_FAILURES,
    timeout: float | None = TIMEOUT,
    name: str | None = None,
    progress: Callable[[int, int, Outcome], None] | None = None,
) -> Judgement:
    """Judge an attention kernel at the sizes that people run, and against the ways in which kernels cheat.

        judgement = conformance.judge(my_attention)
        print(judgement)

    The function runs in a process of its own. It is called as `function(query, key, value, **options)`, as in `check`,
    in a random order of shapes: lengths around the edges of tiles, decoding against a long cache, chunks of a prompt,
    every option of its signature alone and with those that it interacts with, and several distributions of numbers.
    Every call is asked twice, in fresh storage and in some that has just held other numbers. The truth and the size of
    the rounding errors come from `attention_ref.oracle`, after the answer. Inputs must be unchanged to the bit.

    Arguments:
        function: the kernel, or its name: `"module:callable"` or `"path/to/file.py:callable"`, which a new process
            imports. A function itself is judged in a forked copy of this process.
        dtypes: some of `"float64"`, `"float32"`, `"float16"`, `"bfloat16"`.
        arrays: what it takes and returns: `"numpy"`, `"torch"`, `"tensorflow"`, `"jax"` or `"keras"`; when None,
            what the dialect says, or NumPy's.
        dialect: as in `check`.
        seed: of the calls and their numbers; when None a fresh one, which the judgement tells.
        small: judge on lengths up to 449 only, in fewer seconds.
        large: judge on lengths up to 8192 too.
        case: the id of one call, as a judgement names it, instead of those that are drawn.
        budget_seconds: how long to ask; calls that are left are listed as not asked.
        most_failures: after how many failing calls the others are not asked.
        timeout: how many seconds a call may take; None: as long as it takes.
        name: what the judgement calls it.
        progress: called after every call with the number done, the number to do, and the outcome.

    Returns:
        A judgement: `passed`, `reasons`, `seed`, `smallest`, `worst_error_ratio`, `str(judgement)`, `to_json()`. A call
        that the function refuses, with `NotImplementedError`, `ValueError` or `conformance.Unsupported`, is unsupported
        and listed; a function for which nothing else ran has not passed.

    Raises:
        UsageError: for a dtype, kind of arrays, dialect, case or subject that does not exist.
    """
    size: Size = "large" if large else "small" if small else "full"
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    for dtype in dtypes:
        if dtype not in DTYPES:
            reject("dtype", dtype, DTYPES)
    if seed < 0:
        raise UsageError(f"a seed is 0 or more, not {seed}")
    if dialect is not None:
        resolve(dialect)
    elif not isinstance(function, str):
        framework(arrays or "numpy")
    called = name or (function if isinstance(function, str) else name_of(function))
    end = math.inf if budget_seconds is None else time.monotonic() + budget_seconds
    chosen = parse(case) if case is not None else None
    storage = Storage(_MEMORY[size])
    try:
        trial = Trial(Source(function, arrays, dialect), seed, timeout, storage)
        try:
            scenarios = [chosen] if chosen else draw(seed, trial.options, dtypes, size)
            outcomes = _asked(trial, scenarios, Limits(end, most_failures, progress))
            found = _smallest(trial, outcomes) if chosen is None else _first_failure(outcomes)
        finally:
            trial.close()
    finally:
        storage.close()
    asked = {outcome.scenario for outcome in outcomes}
    return Judgement(
        subject=called,
        seed=seed,
        dtypes=(chosen.dtype,) if chosen else tuple(dtypes),
        size=size,
        outcomes=tuple(outcomes),
        not_asked=tuple(scenario for scenario in scenarios if scenario not in asked),
        smallest=found,
        command=_command(function, arrays, dialect, seed, dtypes, size),
    )


def _asked(trial: Trial, scenarios: Sequence[Scenario], limits: Limits) -> list[Outcome]:
    """Ask for every call twice, in two orders, until the time is over or enough have failed."""
    found: dict[Scenario, Outcome] = {}
    generator = np.random.default_rng([trial.seed, 4])
    for scenario in generator.permutation(np.array(scenarios, object)):
        for tried in chain([scenario], substitutes(scenario)):
            if limits.are_reached(found.values()):
                return list(found.values())
            if tried in found:
                break
            found[tried] = trial.ask(tried, "used" if generator.integers(2) else "fresh")
            limits.tell(len(found), 2 * len(scenarios), found[tried])
            if found[tried].verdict != UNSUPPORTED:
                break
    again = [outcome for outcome in found.values() if outcome.verdict != FAILED]
    for place, index in enumerate(generator.permutation(len(again))):
        if limits.are_reached(found.values()):
            break
        first = again[index]
        pattern: Pattern = "used" if first.pattern == "fresh" or generator.integers(2) else "fresh"
        found[first.scenario] = _both(first, trial.ask(first.scenario, pattern, first))
        limits.tell(len(found) + place + 1, len(found) + len(again), found[first.scenario])
    return list(found.values())


def _both(first: Outcome, second: Outcome) -> Outcome:
    """Return the outcome of a call that was asked twice."""
    found = replace(
        second,
        subject_seconds=first.subject_seconds + second.subject_seconds,
        oracle_seconds=first.oracle_seconds + second.oracle_seconds,
    )
    if {first.verdict, second.verdict} == {PASSED, UNSUPPORTED}:
        return replace(found, verdict=FAILED, reason="it refuses a call the one time and answers it the other time")
    return found


def _smallest(trial: Trial, outcomes: Sequence[Outcome]) -> Outcome | None:
    """Search from the failure with the fewest scores, in a new process."""
    failures = sorted((each for each in outcomes if each.verdict == FAILED), key=lambda each: each.scenario.scores)
    for failed in failures[:2]:
        if failed.hangs:
            return failed
        trial.close()
        if (found := smallest(trial, failed)) is not None:
            return found
    return None


def _first_failure(outcomes: Sequence[Outcome]) -> Outcome | None:
    return next((outcome for outcome in outcomes if outcome.verdict == FAILED), None)


def _command(
    function: Callable[..., Any] | str,
    arrays: str | None,
    dialect: Dialect | str | None,
    seed: int,
    dtypes: Sequence[str],
    size: Size,
) -> Command:
    """Return what judges a subject, or one call of it, again: a command for a name, and Python for a function."""
    is_default = tuple(dtypes) == ("float32",)
    if not isinstance(function, str):
        given = {"arrays": arrays, "dialect": dialect, "dtypes": None if is_default else tuple(dtypes)}
        words = [f"{option}={value!r}" for option, value in given.items() if value]
        words += [f"{size}=True"] if size != "full" else []
        shown = ", ".join([name_of(function), *words, f"seed={seed}"])
        return lambda case: f"conformance.judge({shown}{f', case={case!r}' if case else ''})"
    words = ["attention-ref judge", shlex.quote(function)]
    words += [] if is_default else [f"--dtype {dtype}" for dtype in dtypes]
    words += [f"--arrays {arrays}"] if arrays else []
    words += [f"--dialect {shlex.quote(dialect)}"] if isinstance(dialect, str) else []
    words += [f"--{size}"] if size != "full" else []
    shown = " ".join([*words, f"--seed {seed}"])
    return lambda case: shown + (f" --case {case}" if case else "")
