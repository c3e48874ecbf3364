"""The results of a check, and the verdicts derived from them: on clauses, on the level, on conformance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from attention_ref.conformance.case_heads import GRADIENTS
from attention_ref.conformance.clause_verdicts import (
    CONFORMS,
    FAILS,
    ClauseVerdict,
    clause_verdicts,
    is_optional,
    verdicts_of_cases,
)
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.outcome import FAILED, PASSED, PRECISION, Result
from attention_ref.conformance.profiles import Reached, reached
from attention_ref.conformance.subjects.base_subject import BaseSubject
from attention_ref.spec import VERSION


def base(case: str) -> str:
    """Return the id of the case whose gradients a case asks for, or its own."""
    return case.replace(f"/{GRADIENTS}/", "/", 1)


def _with_dtypes(verdicts: Sequence[ClauseVerdict], off: Sequence[Result]) -> Iterator[ClauseVerdict]:
    """Add to the verdict on `attention.precision` the cases that failed for nothing but a dtype."""
    failed = {each.case.id for each in off}
    if failed and all(verdict.id != PRECISION for verdict in verdicts):
        verdicts = [*verdicts, ClauseVerdict(PRECISION, CONFORMS, is_optional(PRECISION), 0, 0, 0, None, (), ())]
    for verdict in verdicts:
        if failed and verdict.id == PRECISION:
            others = len([each for each in failed if not _states_precision(each, off)])
            cases, ran, most = verdict.cases + others, verdict.ran + others, max(verdict.failed, len(failed))
            yield replace(verdict, verdict=FAILS, cases=cases, ran=ran, failed=most, only_with=())
        else:
            yield verdict


def _states_precision(case: str, results: Sequence[Result]) -> bool:
    return any(each.case.id == case and PRECISION in each.case.clauses for each in results)


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
        advice: what another dialect would make right, in a sentence; empty where none would.
        suggested_dialect: that dialect, as TOML.
        explain: finds the common mistakes that reproduce what a wrong attention computes; called on demand.
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
    explain: Callable[[], Sequence[Finding]] | None = None

    @property
    def passed(self) -> bool:
        """Whether at least one case ran, and every result on which conformance depends passed. A subject that supports
        nothing does not conform.
        """
        verdicts = {result.verdict for result in self.results if self.decides(result)}
        return PASSED in verdicts and FAILED not in verdicts

    @cached_property
    def clauses(self) -> list[ClauseVerdict]:
        """A verdict on every clause that a chosen case depends on: on `attention.precision` alone where nothing but the
        dtype of attention's results is wrong.
        """
        off = [each for each in self.results if each.fails_by_dtype and each.case.operation == "attention"]
        judged = [replace(each, verdict=PASSED) if each in off else each for each in self.results]
        return [*_with_dtypes(clause_verdicts(judged), off)]

    @property
    def right_on(self) -> tuple[int, int]:
        """On how many clauses it is right, and for how many a case ran."""
        ran = [clause for clause in self.clauses if clause.verdict in (CONFORMS, FAILS)]
        return sum(clause.verdict == CONFORMS for clause in ran), len(ran)

    @cached_property
    def level(self) -> Reached | None:
        """How far attention has come, by its values, on the way to every option; None where too little was run."""
        deciding = [each for each in self.results if self.decides(each) and each.case.operation == "attention"]
        by_values = [replace(each, verdict=PASSED) if each.has_right_values else each for each in deciding]
        return reached(verdicts_of_cases(by_values), PASSED)

    @cached_property
    def diagnosed(self) -> list[Finding]:
        """The common mistakes that reproduce numbers of cases that failed here."""
        failed = {base(result.case.id) for result in self.failures if not result.fails_by_dtype}
        off = {result.case.id for result in self.failures if result.wrong_dtype}
        found = self.explain() if self.explain else ()
        return [each for each in found if set(each.cases) & (off if each.deviation.startswith("dtype.") else failed)]

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
