"""Any two options of a layer that act on one step have a case of the vectors that has both; see `tests.layer_pairs`."""

from __future__ import annotations

import pytest

from attention_ref import vectors
from tests.layer_pairs import OPTIONS, STEPS, pairs, table

ROWS = list(table())


def test_every_pair_of_options_that_interact_has_a_case() -> None:
    assert [row for row in ROWS if not row[-1]] == []
    assert len(ROWS) == sum(len(pairs(operation)) for operation in OPTIONS) > 150


@pytest.mark.parametrize("operation", OPTIONS)
def test_an_option_is_found_in_some_cases_and_not_in_others(operation: str) -> None:
    cases = [case for profile in vectors.profiles(operation) for case in vectors.load(operation, profile)["cases"]]
    for name, option in OPTIONS[operation].items():
        assert {bool(option(case)) for case in cases} == {True, False}, name


@pytest.mark.parametrize("operation", OPTIONS)
def test_steps_name_options_that_exist_and_every_option_is_in_one(operation: str) -> None:
    named = {name for step in STEPS[operation] for name in (*step.options, *step.beside)}
    assert named == set(OPTIONS[operation])
