"""Random layers stay within the budget of the specification in every dtype: a small share of `tests.random_layers`."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from attention_ref.conformance.run import PASSED
from tests.random_layers import DTYPES, OPERATIONS, results

pytest.importorskip("mpmath")
SEEDS = range(5)


@pytest.mark.long
@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == "jax", reason="JAX compiles every shape anew")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_random_layers_keep_their_budget(operation: str, dtype: str, room: ModuleType) -> None:
    found = results(room.__name__.rpartition(".")[-1], SEEDS, operation, dtype)
    wrong = [(each.case.id, each.reason or each.mismatch) for each in found if each.verdict != PASSED]
    assert wrong == []
