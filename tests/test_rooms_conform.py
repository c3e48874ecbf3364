"""Every room conforms: every operation, every case, every dtype that its framework has."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

import pytest

from attention_ref.conformance import OPERATIONS, check_subject
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.case_heads import profiles

DTYPES = ("float64", "float32", "float16", "bfloat16")


def _dtypes(room: ModuleType) -> tuple[str, ...]:
    """JAX compiles every operation anew for every shape and dtype; there float64, the sharpest, stands for all.

    NumPy has bfloat16 only with the package ml_dtypes, which the tests of `nox` install.
    """
    if room.__name__.endswith("keras") and keras_engine() == "jax":
        return ("float64",)
    if room.__name__.endswith("numpy") and find_spec("ml_dtypes") is None:
        return DTYPES[:-1]
    return DTYPES


def _profiles(operation: str, dtypes: tuple[str, ...]) -> list[str] | None:
    """Gradients on JAX take minutes; there test_gradients has fewer of them."""
    return [name for name in profiles(operation) if name != "grad"] if dtypes == ("float64",) else None


def keras_engine() -> str:
    return str(pytest.importorskip("keras").backend.backend())


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_room_conforms(operation: str, room: ModuleType) -> None:
    dtypes = _dtypes(room)
    if dtypes == ("float64",) and operation in ("MultiHeadAttention", "LatentAttention", "Transformer"):
        pytest.skip("JAX compiles every shape anew; test_one_file_in_every_room and test_latent run there")
    subject = subject_of(room, room.__name__.rpartition(".")[-1], "")
    report = check_subject(subject, operations=[operation], profiles=_profiles(operation, dtypes), dtypes=dtypes)
    report.raise_for_failures()
    assert {result.verdict for result in report.results if "float" in result.dtype} == {"passed"}
