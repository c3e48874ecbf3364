"""The error budget is sound and sharp: a small share of what `tests.budget_evidence` shows."""

from __future__ import annotations

from types import ModuleType

import pytest

from attention_ref.conformance import room as subject_of
from tests.budget_evidence import random_cases, summary

COUNT = 50


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_budget_is_sound_and_sharp(room: ModuleType, dtype: str) -> None:
    name = room.__name__.rpartition(".")[-1]
    seen = summary(subject_of(room, name, ""), dtype, random_cases(COUNT, dtype))
    assert seen.calls == COUNT
    assert seen.is_sound, seen
    assert seen.is_sharp, seen
