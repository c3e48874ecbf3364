"""The conformance kit: check whether a function computes what the specification says and, if not, where it differs.

    report = conformance.check(my_attention)
    print(report)
    report.raise_for_failures()

The command `attention-ref check` does the same.
"""

from __future__ import annotations

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
from attention_ref.conformance.probes.run_probes import ask_everything as ask
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
