"""Every backend obeys the laws: statements about its own results, tried on random calls and configurations."""

from __future__ import annotations

import os
import random
from types import ModuleType

import numpy as np
import pytest

from attention_ref.conformance import LAWS, Subject, check_laws
from attention_ref.conformance import room as subject_of
from attention_ref.conformance.frameworks.interface import Framework
from attention_ref.conformance.laws.evaluate import Tape
from attention_ref.conformance.laws.law import places
from attention_ref.conformance.laws.layers import layer_call
from attention_ref.conformance.laws.strategies import Draw
from attention_ref.spec.clauses import clauses

pytest.importorskip("hypothesis")
pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") == "jax",
    reason="JAX compiles every example anew; the other engines try the laws",
)
OPERATIONS = tuple(dict.fromkeys(name for law in LAWS for name in law.operations))
EXAMPLES = {"numpy": 12, "torch": 6, "keras": 4}


def subject(room: ModuleType) -> Subject:
    return subject_of(room, room.__name__.rpartition(".")[-1], "")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_backend_obeys_the_laws(room: ModuleType, operation: str) -> None:
    tried = subject(room)
    report = check_laws(tried, operation, dtypes=("float64",), examples=EXAMPLES[tried.name])
    report.raise_for_failures()
    assert {result.verdict for result in report.results} == {"holds"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_backend_obeys_the_laws_in_every_dtype(room: ModuleType, dtype: str) -> None:
    laws = ("key-permutation", "constant-shift", "linear-in-values", "weights-give-output")
    report = check_laws(subject(room), "attention", laws=laws, dtypes=(dtype,), examples=6)
    report.raise_for_failures()


@pytest.mark.parametrize("seed", range(6))
def test_a_model_that_generates_gives_what_it_gives_at_once(
    room: ModuleType, room_arrays: Framework, seed: int
) -> None:
    call = layer_call(Draw(random.Random(seed).choice, "Transformer", ()), batch=2)
    tokens = call.inputs["source"]
    parameters = {name: room_arrays.make(array, "float64") for name, array in call.parameters.items()}
    model = subject(room).operations["Transformer"](call.config, parameters)
    whole = room_arrays.read(model(room_arrays.make(tokens, "int64")))  # (b,l,n)
    budget = 2 * Tape(call).budget("output", places(call, "output"), "float64")  # two ways to compute it

    done, rows = np.array([2, 1]), np.arange(2)
    scores, cache = model.step(tokens[:, :2], None, lengths=done, cache=None)
    for _ in range(3):
        is_there = done <= tokens.shape[1]
        off = np.abs(scores - whole[rows, np.minimum(done, 3) - 1])
        assert (off <= budget[rows, np.minimum(done, 3) - 1])[is_there].all()
        scores, cache = model.step(tokens[rows, np.minimum(done, 2)][:, None], None, cache=cache)
        done = done + 1


def test_laws_are_told_in_full() -> None:
    for law in LAWS:
        assert law.statement
        assert set(law.clauses) <= set(clauses())
    assert len({(law.id, name) for law in LAWS for name in law.operations}) == sum(len(law.operations) for law in LAWS)
