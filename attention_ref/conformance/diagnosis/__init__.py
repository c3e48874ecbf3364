"""Diagnosis: find the common mistakes (deviations of the formula) that reproduce the numbers of an attention."""

from __future__ import annotations

from attention_ref.conformance.diagnosis.deviations import DEVIATIONS, Deviation
from attention_ref.conformance.diagnosis.diagnosis import Diagnosis, diagnose, diagnose_subject
from attention_ref.conformance.diagnosis.finding import Finding

__all__ = ["DEVIATIONS", "Deviation", "Diagnosis", "Finding", "diagnose", "diagnose_subject"]
