"""The conformance kit: check whether a function computes what the specification says and, if not, where it differs.

    report = conformance.check(my_attention)
    print(report)
    report.raise_for_failures()

The command `attention-ref check` does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.spec.lazy_names import import_when_used

if TYPE_CHECKING:
    from attention_ref.conformance.api import check, check_subject
    from attention_ref.conformance.case import Case, cases
    from attention_ref.conformance.clause_verdicts import ClauseVerdict
    from attention_ref.conformance.diagnosis import Diagnosis, Finding, diagnose
    from attention_ref.conformance.dialects.adapter import adapted
    from attention_ref.conformance.dialects.dialect import Dialect, Exclusion
    from attention_ref.conformance.divergence import Divergence, locate
    from attention_ref.conformance.errors import ConformanceError, Unsupported, UsageError
    from attention_ref.conformance.frameworks import KINDS
    from attention_ref.conformance.judge import Judgement, judge
    from attention_ref.conformance.laws import LAWS, Law, LawReport, LawResult, check_laws, replay_law
    from attention_ref.conformance.outcome import Mismatch, Result
    from attention_ref.conformance.preflight import PreflightError
    from attention_ref.conformance.probes.run_probes import ask
    from attention_ref.conformance.report import Report
    from attention_ref.conformance.subjects.room import room
    from attention_ref.conformance.subjects.subject import Subject
    from attention_ref.spec.operations import ATTENTIONS, OPERATIONS

__all__ = [
    "ATTENTIONS",
    "KINDS",
    "LAWS",
    "OPERATIONS",
    "Case",
    "ClauseVerdict",
    "ConformanceError",
    "Diagnosis",
    "Dialect",
    "Divergence",
    "Exclusion",
    "Finding",
    "Judgement",
    "Law",
    "LawReport",
    "LawResult",
    "Mismatch",
    "PreflightError",
    "Report",
    "Result",
    "Subject",
    "Unsupported",
    "UsageError",
    "adapted",
    "ask",
    "cases",
    "check",
    "check_laws",
    "check_subject",
    "diagnose",
    "judge",
    "locate",
    "replay_law",
    "room",
]

import_when_used(
    __name__,
    {
        "attention_ref.conformance.api": "check check_subject",
        "attention_ref.conformance.case": "Case cases",
        "attention_ref.conformance.clause_verdicts": "ClauseVerdict",
        "attention_ref.conformance.diagnosis": "Diagnosis Finding diagnose",
        "attention_ref.conformance.dialects.adapter": "adapted",
        "attention_ref.conformance.dialects.dialect": "Dialect Exclusion",
        "attention_ref.conformance.divergence": "Divergence locate",
        "attention_ref.conformance.errors": "ConformanceError Unsupported UsageError",
        "attention_ref.conformance.frameworks": "KINDS",
        "attention_ref.conformance.judge": "Judgement judge",
        "attention_ref.conformance.laws": "LAWS Law LawReport LawResult check_laws replay_law",
        "attention_ref.conformance.outcome": "Mismatch Result",
        "attention_ref.conformance.preflight": "PreflightError",
        "attention_ref.conformance.probes.run_probes": "ask",
        "attention_ref.conformance.report": "Report",
        "attention_ref.conformance.subjects.room": "room",
        "attention_ref.conformance.subjects.subject": "Subject",
        "attention_ref.spec.operations": "ATTENTIONS OPERATIONS",
    },
)
