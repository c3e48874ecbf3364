"""Divergence: the first tensor in which a model differs from a reference, and why."""

from __future__ import annotations

from attention_ref.conformance.divergence.divergence_report import Divergence
from attention_ref.conformance.divergence.location import locate

__all__ = ["Divergence", "locate"]
