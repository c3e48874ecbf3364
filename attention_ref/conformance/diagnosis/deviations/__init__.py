"""The deviations that a diagnosis tries, most frequent first."""

from __future__ import annotations

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.deviations.scores_deviations import SCORES
from attention_ref.conformance.diagnosis.deviations.visibility_deviations import VISIBILITY
from attention_ref.conformance.diagnosis.deviations.weights_deviations import WEIGHTS

DEVIATIONS: tuple[type[Deviation], ...] = (*VISIBILITY, *SCORES, *WEIGHTS)

__all__ = ["DEVIATIONS", "Deviation"]
