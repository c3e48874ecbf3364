"""Checks before any case runs: whether something can be called as attention and, if not, what to change."""

from __future__ import annotations

from attention_ref.conformance.preflight.examine_function import NO_REMARK, examine
from attention_ref.conformance.preflight.preflight_error import PreflightError
from attention_ref.conformance.preflight.unsuitable_objects import device_sentence, require_callable

__all__ = ["NO_REMARK", "PreflightError", "device_sentence", "examine", "require_callable"]
