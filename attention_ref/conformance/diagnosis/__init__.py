"""Diagnosis: find the common mistakes (deviations of the formula) that reproduce the numbers of an operation."""

from __future__ import annotations

from attention_ref.conformance.diagnosis.deviations import DEVIATIONS, EVERY, Deviation
from attention_ref.conformance.diagnosis.diagnosis import Diagnosis, diagnose, diagnose_subject
from attention_ref.conformance.diagnosis.explain_call import Explanation, explain_call
from attention_ref.conformance.diagnosis.finding import Finding

__all__ = [
    "DEVIATIONS",
    "EVERY",
    "Deviation",
    "Diagnosis",
    "Explanation",
    "Finding",
    "diagnose",
    "diagnose_subject",
    "explain_call",
]
