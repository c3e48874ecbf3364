"""Laws: statements about results of several calls, which need no expected values.

`check_laws` draws calls by hypothesis and gives the smallest one that breaks a law; `replay_law` tries it again.
"""

from __future__ import annotations

from attention_ref.conformance.laws.all_laws import LAWS
from attention_ref.conformance.laws.check_laws import check_laws, replay_law
from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.law_report import LawReport
from attention_ref.conformance.laws.search_loop import LawResult

__all__ = ["LAWS", "Law", "LawReport", "LawResult", "check_laws", "replay_law"]
