"""The outcome of one case: the arrays returned by a subject, and the verdict on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from attention_ref.conformance.case import Case
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION

PASSED, FAILED, UNSUPPORTED = "passed", "failed", "unsupported"
"""The verdicts on a case."""

NOT_ASKED = "not run: earlier calls timed out"
"""The reason why a case is unsupported after too many calls that timed out."""

PRECISION = "attention.precision"
"""The clause that the dtype of a result of attention breaks, its values aside."""

_IN_ARITHMETIC = {result.name for result in ATTENTION.results if result.precision == "arithmetic"}


@dataclass(frozen=True)
class Answer:
    """The results and intermediates of a call by name, as float64, and the warnings that it raised.

    `wrong_dtypes` are the dtypes of those results that must have another, by name.
    """

    results: Mapping[str, np.ndarray]
    taps: Mapping[str, np.ndarray]
    warnings: tuple[str, ...]
    wrong_dtypes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mismatch:
    """The element of a result with the largest error / budget.

    Arguments:
        array: `output`, `weights` or `log_sum_exp`, or the name of an intermediate.
        index: the index of the element.
        expected, got, error, budget: both values, their distance, and the largest distance allowed.
        off: the number of elements whose error exceeds their budget, out of `size`.
        is_tap: whether the array is an intermediate reported to a tap; then it is the first one that differs.
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
        case, dtype: the case and the dtype of its inputs.
        verdict: `"passed"`, `"failed"` or `"unsupported"`.
        reason: why it is unsupported, or why it failed if no values could be compared.
        lacking: the arguments that the subject lacks.
        where: the line of code that raised.
        error_ratio: the largest error / budget, if values were compared.
        mismatch: in a failure, the element with the largest error / budget.
        warnings: the warnings that the subject raised.
        hangs: whether the call exceeded its time limit.
        known: why it is expected to fail, if it is.
        wrong_dtype: the dtype of a result that must have another; its values are judged all the same.
    """

    case: Case
    dtype: str
    verdict: str
    reason: str = ""
    lacking: tuple[str, ...] = ()
    where: str = ""
    error_ratio: float | None = None
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
"""Called after every case with the number of finished cases, the total, and the last result."""


def result_dtype(name: str, dtype: str) -> str:
    """Return the dtype of a result: that of the inputs, but for log-sum-exp that of the arithmetic."""
    return DTYPES[dtype].arithmetic if name in _IN_ARITHMETIC else dtype
