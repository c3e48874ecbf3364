"""Laws: properties that relate the results of several calls, so that no expected values are needed.

`check_laws` tests them on random calls from hypothesis, which shrinks a counterexample; `replay_law` runs one again.
"""

from __future__ import annotations

from attention_ref.conformance.laws.all_laws import LAWS
from attention_ref.conformance.laws.check_laws import check_laws, replay_law
from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.law_report import LawReport
from attention_ref.conformance.laws.search_loop import LawResult

__all__ = ["LAWS", "Law", "LawReport", "LawResult", "check_laws", "replay_law"]
