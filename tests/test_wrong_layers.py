"""The kit rejects every wrong layer of the gallery, for the clause that it breaks."""

from __future__ import annotations

from functools import cache

import pytest

import attention_ref.numpy
from attention_ref.conformance import ATTENTIONS, OPERATIONS, Subject, check_subject, room
from attention_ref.spec.clauses import clauses
from tests.wrong_layers import GALLERY

pytestmark = pytest.mark.bare
OF_ATTENTION = tuple(f"{OPERATIONS[name].group}." for name in ATTENTIONS)
LAYERS = tuple(name for name in OPERATIONS if name not in ATTENTIONS)


@cache
def right(operation):
    return check_subject(room(attention_ref.numpy, "numpy", ""), operations=[operation])


@pytest.mark.parametrize("operation", LAYERS)
def test_right_layers_conform(operation):
    right(operation).raise_for_failures()


@pytest.mark.parametrize("wrong", GALLERY, ids=lambda wrong: f"{wrong.operation}, {wrong.clause}: {wrong.title}")
def test_a_wrong_layer_is_rejected_for_its_clause(wrong):
    report = check_subject(Subject("wrong", "numpy", {wrong.operation: wrong.subject}), dtypes=wrong.dtypes)
    broken = {each.case.id for each in right(wrong.operation).failures}
    failures = [each for each in report.failures if each.case.id not in broken]
    verdicts = {verdict.id: verdict.verdict for verdict in report.clauses}

    assert failures
    assert verdicts[wrong.clause] == "fails"
    assert [each.reason for each in failures if each.reason] == []
    if not wrong.pervasive:
        assert [each.case.id for each in failures if wrong.clause not in each.case.clauses] == []


def test_every_clause_beyond_attention_has_a_wrong_layer():
    assert {wrong.clause for wrong in GALLERY} >= {name for name in clauses() if not name.startswith(OF_ATTENTION)}
