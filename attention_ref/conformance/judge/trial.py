"""One call asked of the subject's process, with its inputs in fresh or in used storage, and the verdict on it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attention_ref.conformance.errors import HangError, SubjectError, Unsupported
from attention_ref.conformance.judge.contents import Contents, altered, contents, encoded
from attention_ref.conformance.judge.process import Process
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.source import Source
from attention_ref.conformance.judge.storage import Place, Storage
from attention_ref.conformance.judge.truth import compared, expected
from attention_ref.conformance.outcome import FAILED, PASSED, UNSUPPORTED, Mismatch
from attention_ref.spec.dtypes import DTYPES

Pattern = Literal["fresh", "used"]
"""Whether a call's inputs lie in fresh storage, or in that of a call just before, with other contents."""


@dataclass(frozen=True)
class Outcome:
    """The verdict on one call.

    Arguments:
        scenario, pattern: what was asked.
        verdict: `"passed"`, `"failed"` or `"unsupported"`.
        reason: why not passed.
        where: the line of code that raised, or the last lines of stderr.
        error_ratio: the largest error over its budget, where numbers were compared.
        mismatch: the number with the largest ratio, if it exceeds its budget.
        digest: of the bits of the answer.
        is_deterministic: whether the second answer had the same bits.
        hangs: whether there was no answer in time.
        subject_seconds, oracle_seconds: how long the answer and its truth took.
    """

    scenario: Scenario
    pattern: Pattern
    verdict: str
    reason: str = ""
    where: str = ""
    error_ratio: float | None = None
    mismatch: Mismatch | None = None
    digest: str = ""
    is_deterministic: bool = True
    hangs: bool = False
    subject_seconds: float = 0.0
    oracle_seconds: float = 0.0


class Trial:
    """Asks a subject for calls.

    Arguments:
        source: the subject.
        seed: of the contents.
        timeout: seconds that a call may take.
        storage: where inputs are written.
        place: its number among several trials with the same seed.
    """

    def __init__(self, source: Source, seed: int, timeout: float | None, storage: Storage, place: int = 0) -> None:
        self.source, self.seed, self.timeout, self.storage = source, seed, timeout, storage
        self.process = Process(source, storage)
        self.options, self.gradient_options = self.process.options, self.process.gradient_options
        self.limits = self.process.limits
        self._uses = 0
        self._generator = np.random.default_rng([seed, 1, place])

    def close(self) -> None:
        """End the subject."""
        self.process.close()

    def ask(self, scenario: Scenario, pattern: Pattern, before: Outcome | None = None) -> Outcome:
        """Run a call and judge the answer; an answer with the same bits as an earlier one has the same verdict."""
        if not self.process.is_running:
            self.process = Process(self.source, self.storage)
        given = contents(scenario, self.seed)
        start = time.monotonic()
        try:
            results, replayed = self._results(scenario, given, pattern)
        except Unsupported as unsupported:
            found = Outcome(scenario, pattern, UNSUPPORTED, str(unsupported))
            return replace(found, subject_seconds=time.monotonic() - start)
        except SubjectError as error:
            found = Outcome(scenario, pattern, FAILED, error.reason, error.where, hangs=isinstance(error, HangError))
            return replace(found, subject_seconds=time.monotonic() - start)
        seconds, start = time.monotonic() - start, time.monotonic()
        digest = _digest(results)
        if before is not None and before.digest == digest and replayed is None:
            return replace(before, pattern=pattern, subject_seconds=seconds, oracle_seconds=0.0)
        error_ratio, mismatch = compared(scenario, given, results, self._generator)
        reason = "" if mismatch is None else self._reason(scenario, given, results, replayed)
        return Outcome(
            scenario,
            pattern,
            FAILED if reason else PASSED,
            reason,
            error_ratio=error_ratio,
            mismatch=mismatch,
            digest=digest,
            is_deterministic=before is None or before.digest == digest,
            subject_seconds=seconds,
            oracle_seconds=time.monotonic() - start,
        )

    def _reason(
        self, scenario: Scenario, given: Contents, results: Mapping[str, np.ndarray], replayed: Contents | None
    ) -> str:
        """Return why numbers are wrong.

        They are replayed where they are right for what lay in the storage before. They may come from arithmetic in too
        narrow a dtype where they lie within the budget of that arithmetic.
        """
        if replayed is not None and compared(scenario, replayed, results, self._generator)[1] is None:
            return "it returns the results of an earlier call whose arguments lay in the same storage"
        narrow, wide = scenario.dtype, DTYPES[scenario.dtype].arithmetic
        if narrow == wide or compared(scenario, given, results, self._generator, arithmetic=narrow)[1] is not None:
            return "it returns wrong numbers"
        return f"it returns wrong numbers, as far off as scores or sums in {narrow} instead of {wide} make them"

    def _results(
        self, scenario: Scenario, given: Contents, pattern: Pattern
    ) -> tuple[dict[str, np.ndarray], Contents | None]:
        """Return the results, and the contents that lay in the storage before where their results have the same bits.

        Some of these contents are already those of the call: a kernel may keep results by its query or its keys alone.
        """
        if pattern == "fresh":
            return self._called(scenario, given, None, None)[0], None
        key, others = self._unused_key(), altered(given, scenario, self.seed)
        try:
            first, places = self._called(scenario, others, key, None)
        except Unsupported:  # of the smaller lengths and offsets, perhaps
            key, others = self._unused_key(), replace(others, integers=given.integers)
            first, places = self._called(scenario, others, key, None)
        results, _ = self._called(scenario, given, key, places)
        return results, others if _digest(first) == _digest(results) else None

    def _unused_key(self) -> str:
        self._uses += 1
        return f"used {self._uses}"

    def _called(
        self, scenario: Scenario, given: Contents, key: str | None, places: Mapping[str, Place] | None
    ) -> tuple[dict[str, np.ndarray], dict[str, Place]]:
        arrays = {name: encoded(values, scenario.dtype) for name, values in given.tensors.items()} | dict(
            given.integers
        )
        found = self.storage.write(arrays, places)
        located = {name: (place, name in given.tensors) for name, place in found.items()}
        answered = self.process.ask(located, given.options, expected(scenario), scenario.dtype, key, self.timeout)
        if changed := self.storage.changed(arrays, found):
            raise SubjectError(f"it changes its argument {', '.join(changed)}")
        return answered.results, found


def _digest(results: Mapping[str, np.ndarray]) -> str:
    found = hashlib.blake2b()
    for array in results.values():
        found.update(array.tobytes())
    return found.hexdigest()
