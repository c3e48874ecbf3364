"""Search for the deviations of the formula that reproduce the observed results.

Greedily add the deviation with which the formula reproduces most observations; if no single one helps, try pairs.
Finally remove deviations that turn out not to be needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations
from weakref import WeakKeyDictionary

import numpy as np

from attention_ref.conformance.diagnosis.deviations import Deviation
from attention_ref.conformance.diagnosis.observation import Observation
from attention_ref.conformance.diagnosis.operation_formula import OperationFormula
from attention_ref.vectors.call import Call

Combination = tuple[type[Deviation], ...]
_SAMPLE, _SAMPLE_OF_LAYERS = 16, 5
"""The number of unexplained observations on which candidates are screened."""
_LEAST = 1 / 20
"""The fraction of the wrong results that the deviations found must reproduce."""
_CONSISTENT = 2 / 3
"""The fraction of the cases changed by a deviation that it must reproduce to be accepted."""


class Search:
    """The observations of a subject, and the predictions of combined deviations for them.

    Arguments:
        observations: right and wrong ones; a deviation must not change a right result.
        deviations: those to try, most frequent first.
    """

    def __init__(self, observations: Sequence[Observation], deviations: Sequence[type[Deviation]]) -> None:
        self.observations = observations
        self.deviations = deviations
        self.known: dict[tuple[Combination, int], bool] = {}

    def run(self) -> Combination:
        """Return the smallest combination that is found."""
        found: Combination = ()
        while better := self._better(found):
            found = better
        found = self._pruned(found)
        return found if self._is_enough(found) else ()

    def predicted(self, chosen: Combination, place: int) -> Mapping[str, np.ndarray] | None:
        """Return the results of an observed case with some deviations, or None if the shapes do not fit."""
        observation = self.observations[place]
        known = _PREDICTIONS.setdefault(observation.case.call, {})
        key = (chosen, observation.dtype)
        if key not in known:
            known[key] = _predicted(chosen, observation)
        return known[key]

    def reproduces(self, chosen: Combination, place: int) -> bool:
        """Return whether some deviations reproduce an observation."""
        key = (chosen, place)
        if key not in self.known:
            self.known[key] = self.observations[place].is_reproduced_by(self.predicted(chosen, place))
        return self.known[key]

    def explained(self, chosen: Combination) -> set[int]:
        """Return the indices of the observations that some deviations reproduce."""
        return {place for place in range(len(self.observations)) if self.reproduces(chosen, place)}

    @property
    def _is_layer(self) -> bool:
        return self.observations[0].case.call.table.is_layer

    def _better(self, found: Combination) -> Combination | None:
        """Return a larger combination that reproduces more observations, or None."""
        before = self.explained(found)
        left = [place for place in range(len(self.observations)) if place not in before]
        left.sort(key=lambda place: len(self.observations[place].case.call.named))
        others = [each for each in self.deviations if all(_combine(each, other) for other in found)]
        singles = [(*found, each) for each in others]
        sample = left[:: max(1, len(left) // (_SAMPLE_OF_LAYERS if self._is_layer else _SAMPLE))]
        chosen = self._best(singles, sample, found) or self._best(singles, left, found)
        with_numbers = [place for place in left if self.observations[place].results]
        if chosen is None and with_numbers:
            simplest = with_numbers[0]
            active = {each for each in others if self._differ((*found, each), found, simplest)}
            least = (
                2 if self._is_layer else 1
            )  # a mistake may show beside another one alone; layers have too many pairs
            pairs = (
                (*found, *pair)
                for pair in combinations(others, 2)
                if _combine(*pair) and len(active.intersection(pair)) >= least
            )
            chosen = self._best((each for each in pairs if self.reproduces(each, simplest)), [simplest], found)
        return chosen

    def _best(self, candidates: Iterable[Combination], left: Sequence[int], found: Combination) -> Combination | None:
        before = self.explained(found)
        best, most = None, len(before)
        for candidate in candidates:
            if not any(self.reproduces(candidate, place) for place in left):
                continue
            explained = self.explained(candidate)
            gained = [place for place in explained - before if self.observations[place].results]
            if len(explained) <= most or not any(self._differ(candidate, found, place) for place in gained):
                continue  # equal predictions that happen to be nearer by a rounding explain nothing
            if all(self._is_consistent(candidate, each) for each in candidate):
                best, most = candidate, len(explained)
        return best

    def _is_consistent(self, chosen: Combination, deviation: type[Deviation]) -> bool:
        """Return whether a deviation reproduces most of the cases that it changes, and not a few by chance."""
        without = tuple(each for each in chosen if each is not deviation)
        changed = [place for place in range(len(self.observations)) if self._differ(chosen, without, place)]
        if not changed:  # another one has made it redundant, and it is pruned in the end
            return True
        right = [place for place in changed if self.reproduces(chosen, place)]
        has_numbers = any(self.observations[place].results for place in right)
        return has_numbers and len(right) >= _CONSISTENT * len(changed)

    def _differ(self, one: Combination, other: Combination, place: int) -> bool:
        left, right = self.predicted(one, place), self.predicted(other, place)
        if left is None or right is None:
            return left is not right
        return not all(_same(left[name], right[name]) for name in self.observations[place].case.expected)

    def _is_enough(self, found: Combination) -> bool:
        """Return whether deviations reproduce more of the wrong results than a few, which another mistake may share."""
        wrong = {place for place, each in enumerate(self.observations) if not each.is_right and each.results}
        return len(wrong & self.explained(found)) >= _LEAST * len(wrong)

    def _pruned(self, found: Combination) -> Combination:
        for deviation in found:
            without = tuple(each for each in found if each is not deviation)
            if len(self.explained(without)) >= len(self.explained(found)):
                return self._pruned(without)
        return found


_Prediction = Mapping[str, np.ndarray] | None
_PREDICTIONS: WeakKeyDictionary[Call, dict[tuple[Combination, str], _Prediction]] = WeakKeyDictionary()
"""What deviations predict for a call; the same for every subject, so that a second diagnosis need not compute it."""


def _predicted(chosen: Combination, observation: Observation) -> _Prediction:
    try:
        results = _formula(chosen)().results(observation.case.call, observation.dtype)
    except (ArithmeticError, IndexError, KeyError, ValueError):
        return None
    return {name: results[name] for name in observation.case.expected}


@cache
def _formula(chosen: Combination) -> type[OperationFormula]:
    """Combine deviations into one formula."""
    return type("Combined", (*chosen, OperationFormula), {}) if chosen else OperationFormula


def _combine(one: type[Deviation], other: type[Deviation]) -> bool:
    """Return whether two deviations can hold together: those that share code replace the same step."""
    return not ({*one.__mro__} & {*other.__mro__}) - {*Deviation.__mro__}


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-6, atol=1e-12, equal_nan=True)
