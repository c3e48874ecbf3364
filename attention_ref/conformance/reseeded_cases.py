"""Cases with other numbers: hashed inputs are hashed with another seed, and written inputs stay.

So a case tests the same thing with every seed. Its expected results are computed when needed, by the specification in
50 digits and without gradients, and cached in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

from attention_ref.conformance.case import Case, case_of
from attention_ref.conformance.errors import UsageError
from attention_ref.vectors.build import recipe
from attention_ref.vectors.build.recipe import Recipe


def with_seed(chosen: Sequence[Case], seed: int) -> list[Case]:
    """Return cases of the vectors with the numbers of a seed; 0 is the seed of the vectors.

    Cases without a recipe are left out, and those where rounding could change which experts are chosen.

    Raises:
        UsageError: if mpmath is not installed, or no case is left.
    """
    if seed == 0:
        return list(chosen)
    if find_spec("mpmath") is None:
        raise UsageError("cases of another seed need mpmath, which is not installed: pip install mpmath")
    solved = [
        _solved(case.operation, case.profile, case.id, seed) for case in chosen if case.id in _recipes_of(case, seed)
    ]
    found = [case for case in solved if case is not None]
    if not found:
        raise UsageError("gradients are checked with the seed of the vectors only")
    return found


def _recipes_of(case: Case, seed: int) -> Mapping[str, Recipe]:
    return _recipes(case.operation, case.profile, seed)


@cache
def _recipes(operation: str, profile: str, seed: int) -> Mapping[str, Recipe]:
    if (operation, profile) not in recipe.names():
        return {}
    return {each.id: each for each in recipe.cases(operation, profile, seed)}


@cache
def _solved(operation: str, profile: str, case_id: str, seed: int) -> Case | None:
    from attention_ref.vectors.build.generate import solved
    from attention_ref.vectors.build.layer_truth import UncertainChoiceError

    found = _recipes(operation, profile, seed)[case_id]
    try:
        return case_of(operation, profile, solved(replace(found, gradient=False)))
    except UncertainChoiceError:
        return None
