"""The outcome of one case: the arrays that a subject returns, and the verdict on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION

PASSED, FAILED, UNSUPPORTED = "passed", "failed", "unsupported"
"""The verdicts on a case."""

PRECISION = "attention.precision"
"""The clause that the dtype of a result of attention breaks, its values aside."""

NOT_ASKED = "not asked, because it hung before"
"""Why a case is unsupported that comes after one that hung."""

_IN_ARITHMETIC = {result.name for result in ATTENTION.results if result.precision == "arithmetic"}


@dataclass(frozen=True)
class Answer:
    """The results of a call and its intermediates, by name, as float64, and the warnings that it gave.

    `wrong_dtypes` are those of the results that do not have the dtype that they must have, by name.
    """

    results: Mapping[str, np.ndarray]
    taps: Mapping[str, np.ndarray]
    warnings: tuple[str, ...]
    wrong_dtypes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mismatch:
    """The number of a result with the largest error relative to its budget.

    Arguments:
        array: `output`, `weights` or `log_sum_exp`, or the name of an intermediate.
        index: where.
        expected, got, error, budget: the truth, the number found, their distance, and the largest distance allowed.
        off: how many numbers of the array are off by more than their budget, out of `size`.
        is_tap: whether it is an intermediate that was reported to a tap: the first one that differs.
    """

    array: str
    index: tuple[int, ...]
    expected: float
    got: float
    error: float
    budget: float
    off: int
    size: int
    is_tap: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of one case in one dtype.

    Arguments:
        case, dtype: what was run.
        verdict: `"passed"`, `"failed"` or `"unsupported"`.
        reason: why it is unsupported, or why it failed where no numbers could be compared.
        lacking: the arguments that the subject does not have.
        where: the line of code that raised.
        share: the largest error divided by its budget, where numbers were compared.
        mismatch: the number with the largest error, in a failure.
        warnings: the warnings that the subject gave.
        hangs: whether there was no answer in time.
        known: why it is known to fail, where it is.
        wrong_dtype: the dtype of a result that must have another; its values are judged all the same.
    """

    case: Case
    dtype: str
    verdict: str
    reason: str = ""
    lacking: tuple[str, ...] = ()
    where: str = ""
    share: float | None = None
    mismatch: Mismatch | None = None
    warnings: tuple[str, ...] = ()
    hangs: bool = False
    known: str = ""
    wrong_dtype: str = ""

    @property
    def fails_by_dtype(self) -> bool:
        """Whether it failed for nothing but the dtype of a result."""
        return self.verdict == FAILED and bool(self.wrong_dtype) and self.mismatch is None

    @property
    def has_right_values(self) -> bool:
        """Whether it passed, or failed for nothing but the dtype of a result."""
        return self.verdict == PASSED or self.fails_by_dtype


Progress = Callable[[int, int, Result], None]
"""Called after every case with the number done, the number to do, and the last result."""


def result_dtype(name: str, dtype: str) -> str:
    """Return the dtype of a result: that of the inputs, or for log-sum-exp the dtype that was computed in."""
    return DTYPES[dtype].arithmetic if name in _IN_ARITHMETIC else dtype
