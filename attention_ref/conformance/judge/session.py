"""All calls of a judgement: each asked twice, in random orders, by one process or by several at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np

from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.shrink import smallest
from attention_ref.conformance.judge.substitutes import substitutes
from attention_ref.conformance.judge.trial import Outcome, Pattern, Trial
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED

Progress = Callable[[int, int, Outcome], None]
"""Called after every call with the number done, the number to do, and the outcome."""


class Session:
    """Asks several copies of a subject, each for its share of the calls.

    Arguments:
        trials: the copies.
        end: when to ask no more, on the clock of `time.monotonic`.
        most_failures: how many calls may fail before no more are asked; a call that hangs is the last one.
        progress: called after every call.
    """

    def __init__(self, trials: Sequence[Trial], end: float, most_failures: int, progress: Progress | None) -> None:
        self.trials, self.end, self.most_failures, self.progress = trials, end, most_failures, progress
        self._lock = threading.Lock()
        self._done = self._total = self._failures = 0
        self._is_over = False

    def asked(self, scenarios: Sequence[Scenario]) -> list[Outcome]:
        """Ask for every call twice, until the time is over or enough have failed."""
        self._total = 2 * len(scenarios)
        count = len(self.trials)
        order = np.random.default_rng([self.trials[0].seed, 4]).permutation(len(scenarios))
        shares = [[scenarios[index] for index in order[place::count]] for place in range(count)]
        if count == 1:
            return self._share(0, shares[0])
        with ThreadPoolExecutor(count) as pool:
            try:
                return list(chain.from_iterable(pool.map(self._share, range(count), shares)))
            finally:
                self._is_over = True

    def smallest(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """Search for the smallest failure, from the one with the fewest scores, in a new process."""
        failures = sorted((each for each in outcomes if each.verdict == FAILED), key=lambda each: each.scenario.scores)
        for failed in failures[:2]:
            if failed.hangs:
                return failed
            self.trials[0].close()
            if (found := smallest(self.trials[0], failed)) is not None:
                return found
        return None

    def _share(self, place: int, scenarios: Sequence[Scenario]) -> list[Outcome]:
        trial, found = self.trials[place], dict[Scenario, Outcome]()
        generator = np.random.default_rng([trial.seed, 6, place])
        for scenario in scenarios:
            options = trial.gradient_options if scenario.gradients else trial.options
            for tried in chain([scenario], substitutes(scenario, options, trial.limits)):
                if self._is_reached():
                    return list(found.values())
                if tried in found:
                    break
                found[tried] = trial.ask(tried, "used" if generator.integers(2) else "fresh")
                self._note(found[tried])
                if found[tried].verdict != UNSUPPORTED:
                    break
        again = [outcome for outcome in found.values() if outcome.verdict != FAILED]
        for index in generator.permutation(len(again)):
            if self._is_reached():
                break
            first = again[index]
            pattern: Pattern = "used" if first.pattern == "fresh" or generator.integers(2) else "fresh"
            found[first.scenario] = _both(first, trial.ask(first.scenario, pattern, first))
            self._note(found[first.scenario])
        return list(found.values())

    def _is_reached(self) -> bool:
        """Return whether it is time to stop."""
        return self._is_over or self._failures >= self.most_failures or time.monotonic() > self.end

    def _note(self, outcome: Outcome) -> None:
        with self._lock:
            self._done += 1
            self._total = max(self._total, self._done)
            self._failures += outcome.verdict == FAILED
            self._is_over |= outcome.hangs
            if self.progress is not None:
                self.progress(self._done, self._total, outcome)


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
