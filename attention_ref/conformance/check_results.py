"""The results of a check, and what follows from them: verdicts on clauses, the level, whether the subject conforms."""

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
    """The results of a check and the verdicts that follow from them.

    Arguments:
        subject: what was checked.
        dtypes: in which it was to be run.
        results: one for each case and dtype.
        reproduce: gives the one line that runs a case in a dtype again.
        binds_optional: whether optional clauses decide conformance: for backends of this library, and where they were
            asked for.
        spec: the version of the specification.
        remarks: what is known of the subject, by clause; shown where that clause fails.
        advice: what another dialect would make right, in a sentence; empty where none would.
        suggested_dialect: that dialect, as TOML.
    """

    subject: BaseSubject
    dtypes: Sequence[str]
    results: Sequence[Result]
    reproduce: Callable[[str, str], str]
    binds_optional: bool = False
    spec: str = VERSION
    remarks: Mapping[str, str] = field(default_factory=dict)
    advice: str = ""
    suggested_dialect: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything that ran and decides is right, and something ran: a subject that supports nothing does
        not conform.
        """
        verdicts = {result.verdict for result in self.results if self.decides(result)}
        return PASSED in verdicts and FAILED not in verdicts

    @cached_property
    def clauses(self) -> list[ClauseVerdict]:
        """A verdict on every clause that a chosen case depends on."""
        return clause_verdicts(self.results)

    @cached_property
    def level(self) -> Reached | None:
        """How far attention has come on the way from the formula to every option; None where too little was run."""
        deciding = [each for each in self.results if self.decides(each) and each.case.operation == "attention"]
        return reached(verdicts_of_cases(deciding), PASSED)

    @property
    def failures(self) -> list[Result]:
        """The results that are wrong, those of optional clauses too."""
        return [result for result in self.results if result.verdict == FAILED]

    @property
    def surprises(self) -> list[Result]:
        """The failures that decide and are not known, and what passes although it is known to fail."""
        wrong = [result for result in self.failures if self.decides(result) and not result.known]
        return wrong + [result for result in self.results if result.verdict == PASSED and result.known]

    @property
    def is_as_known(self) -> bool:
        """Whether something passed, and exactly those cases fail that are known to; without any, whether all passed."""
        return any(each.verdict == PASSED and self.decides(each) for each in self.results) and not self.surprises

    def decides(self, result: Result) -> bool:
        """Say whether conformance depends on a result."""
        return self.binds_optional or not result.case.is_optional
