"""What a wrong attention computes: common mistakes as data, and the search for those that reproduce its numbers."""

from __future__ import annotations

from attention_ref.conformance.diagnosis.deviations import DEVIATIONS, Deviation
from attention_ref.conformance.diagnosis.diagnosis import Diagnosis, diagnose, diagnose_subject
from attention_ref.conformance.diagnosis.finding import Finding

__all__ = ["DEVIATIONS", "Deviation", "Diagnosis", "Finding", "diagnose", "diagnose_subject"]
