"""Laws: statements about results of several calls, which need no expected values.

`check_laws` draws calls by hypothesis and gives the smallest one that breaks a law; `replay_law` tries it again.
"""

from __future__ import annotations

from attention_ref.conformance.laws.catalogue import LAWS
from attention_ref.conformance.laws.checking import check_laws, replay_law
from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.report import LawReport
from attention_ref.conformance.laws.running import LawResult

__all__ = ["LAWS", "Law", "LawReport", "LawResult", "check_laws", "replay_law"]
