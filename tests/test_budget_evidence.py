"""The error budget is sound and sharp: a small share of what `tests.budget_evidence` shows."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from attention_ref.conformance import room as subject_of
from tests.budget_evidence import random_cases, summary

COUNT = 50
ON_JAX = 12
"""On JAX, which compiles every operation anew for every shape, fewer calls."""


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_budget_is_sound_and_sharp(room: ModuleType, dtype: str) -> None:
    name = room.__name__.rpartition(".")[-1]
    count = ON_JAX if name == "keras" and os.environ.get("KERAS_BACKEND") == "jax" else COUNT
    seen = summary(subject_of(room, name, ""), dtype, random_cases(count, dtype))
    assert seen.calls == count
    assert seen.is_sound, seen
    assert seen.is_sharp, seen
