"""The results of a check, and the verdicts derived from them: on clauses, on the level, on conformance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from attention_ref.conformance.clause_verdicts import ClauseVerdict, clause_verdicts, verdicts_of_cases
from attention_ref.conformance.outcome import FAILED, PASSED, Result
from attention_ref.conformance.profiles import Reached, reached
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.spec import VERSION


@dataclass(frozen=True, eq=False)
class CheckResults:
    """The results of a check and the verdicts derived from them.

    Arguments:
        subject: what was checked.
        dtypes: the requested dtypes.
        results: one for each case and dtype.
        reproduce: returns the command that runs one case in one dtype again.
        binds_optional: whether conformance requires optional clauses too: for backends of this library, and where they
            were selected.
        spec: the version of the specification.
        remarks: notes on the subject by clause, shown where that clause fails.
    """

    subject: BaseSubject
    dtypes: Sequence[str]
    results: Sequence[Result]
    reproduce: Callable[[str, str], str]
    binds_optional: bool = False
    spec: str = VERSION
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether at least one case ran, and every result on which conformance depends passed. A subject that supports
        nothing does not conform.
        """
        verdicts = {result.verdict for result in self.results if self.decides(result)}
        return PASSED in verdicts and FAILED not in verdicts

    @cached_property
    def clauses(self) -> list[ClauseVerdict]:
        """The verdict on every clause that a selected case depends on."""
        return clause_verdicts(self.results)

    @cached_property
    def level(self) -> Reached | None:
        """The level of attention that is reached; None if too few cases were run to say."""
        deciding = [each for each in self.results if self.decides(each) and each.case.operation == "attention"]
        return reached(verdicts_of_cases(deciding), PASSED)

    @property
    def failures(self) -> list[Result]:
        """The failed results, including those of optional clauses."""
        return [result for result in self.results if result.verdict == FAILED]

    @property
    def surprises(self) -> list[Result]:
        """Unexpected failures on which conformance depends, and known failures that passed (XPASS)."""
        wrong = [result for result in self.failures if self.decides(result) and not result.known]
        return wrong + [result for result in self.results if result.verdict == PASSED and result.known]

    @property
    def is_as_known(self) -> bool:
        """Whether at least one case passed, and exactly the known failures failed."""
        return any(each.verdict == PASSED and self.decides(each) for each in self.results) and not self.surprises

    def decides(self, result: Result) -> bool:
        """Return whether conformance depends on a result."""
        return self.binds_optional or not result.case.is_optional
