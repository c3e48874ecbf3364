"""The kit rejects every wrong attention of the gallery, for the clause that it breaks, and accepts the right one."""

from __future__ import annotations

from functools import cache

import pytest

from attention_ref.conformance import ATTENTIONS, OPERATIONS, Subject, check_subject
from attention_ref.spec.clauses import clauses
from tests.wrong_attentions import GALLERY, RightAttention

pytestmark = pytest.mark.bare
GROUPS = tuple(f"{OPERATIONS[name].group}." for name in ATTENTIONS)
OF_ATTENTION = {name: clause for name, clause in clauses().items() if name.startswith(GROUPS)}
DTYPES = ("float64", "float32", "float16", "bfloat16")


@cache
def report_on(wrong):
    subject = Subject(wrong.__name__, "numpy", {wrong.operation: wrong.function()}, wrong.gradients())
    return check_subject(subject, dtypes=wrong.dtypes, examines=False)


def failures_of(wrong):
    """Return the failures that count: those of optional clauses only where the mistake is against one."""
    report = report_on(wrong)
    return [each for each in report.failures if report.decides(each) or clauses()[wrong.clause].optional]


def test_right_attention_conforms():
    right = RightAttention()
    operations = {name: getattr(right, name) for name in ATTENTIONS}
    check_subject(Subject("right", "numpy", operations, is_room=True), dtypes=DTYPES).raise_for_failures()


@pytest.mark.parametrize("wrong", GALLERY, ids=lambda wrong: wrong.__name__)
def test_wrong_attention_is_rejected_for_its_clause(wrong):
    failures = failures_of(wrong)
    verdicts = {verdict.id: verdict.verdict for verdict in report_on(wrong).clauses}

    assert failures
    assert verdicts[wrong.clause] == "fails"
    if not wrong.pervasive:
        assert [f"{each.case.id} in {each.dtype}" for each in failures if wrong.clause not in each.case.clauses] == []


def test_every_clause_has_a_wrong_attention():
    assert {wrong.clause for wrong in GALLERY} == set(OF_ATTENTION)


def test_every_clause_but_the_foundations_has_a_wrong_attention_that_breaks_it_alone():
    told_apart = {wrong.clause for wrong in GALLERY if not wrong.pervasive}
    assert {clause.id for clause in OF_ATTENTION.values() if not clause.foundation} <= told_apart


@pytest.mark.parametrize("wrong", GALLERY, ids=lambda wrong: wrong.__name__)
def test_wrong_attention_is_told_in_full(wrong):
    assert all(getattr(wrong, field) for field in ("title", "clause", "references", "instead", "correction"))
    assert len(wrong.source().splitlines()) <= 12
