"""The calls that a subject is judged by, drawn from a seed: one or two for each of the `situations`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attention_ref.conformance.dialects.dialect import Limits
from attention_ref.conformance.judge.scenario import Scenario
from attention_ref.conformance.judge.situations import HEADS, SITUATIONS, Choices, Fields, Situations, Size

_HEAD_SIZES: dict[str, tuple[int, ...]] = {
    "small": (8, 16, 32, 40, 48, 64, 72, 80),
    "full": (8, 16, 24, 32, 40, 48, 64, 72, 80, 96, 112, 128, 160, 192, 256),
}
_HEAD_SIZES["large"] = _HEAD_SIZES["full"]
"""The head sizes that kernels are written for."""
_UNEVEN = 0.25
"""The share of head sizes that are no multiple of 8."""
ANY = Limits()
_SCORES = {"small": 2**19, "full": 2**21, "large": 2**25}
_GRADIENT_SCORES = {"small": 2**18, "full": 2**19, "large": 2**22}
"""How many scores a call may have, and one that asks for gradients."""
_REPEATS = {"small": 1, "full": 2, "large": 2}
"""How many calls are drawn for each situation."""
_TRIES = 1000


@dataclass
class Draw(Choices):
    """Draws calls.

    Arguments:
        generator, size: as in `Choices`.
        dtype: of the calls.
        options: what the subject takes; None: everything.
        limits: the sizes that the subject takes.
        gradients: whether the calls ask for gradients.
    """

    dtype: str
    options: frozenset[str] | None
    limits: Limits
    gradients: bool = False

    @property
    def most_scores(self) -> int:
        """How many scores a call may have."""
        return (_GRADIENT_SCORES if self.gradients else _SCORES)[self.size]

    def all(self, situations: Situations) -> Iterator[Scenario]:
        """Return a call for each situation, again and again until it fits; none where the subject lacks an option."""
        left: set[int] | None = None
        for _ in range(_TRIES):
            drawn = {place: self._scenario(fields) for place, fields in enumerate(situations(self))}
            left = set(drawn) if left is None else left
            for place in sorted(left):
                if not self._offers(drawn[place]):
                    left.remove(place)
                elif self._fits(drawn[place]):
                    left.remove(place)
                    yield drawn[place]
            if not left:
                return
        if self.gradients and not self.limits.cross:
            return  # as many queries as the longest keys are too many to differentiate
        raise AssertionError(f"situations {left} of {situations.__name__} never fit")

    def _scenario(self, fields: Fields) -> Scenario:
        limits = self.limits
        drawn = {"batch": 1, **fields, **self._head_sizes(fields)}
        if self.gradients:
            drawn |= {"gradients": True, "returns": ()}
        drawn |= {} if limits.cross else {"queries": drawn["keys"], "offsets": ()}
        if "heads" not in drawn:
            each = drawn["batch"] * drawn["queries"] * drawn["keys"]
            drawn["heads"], drawn["groups"] = self.one(
                (1, 1), *(pair for pair in HEADS if pair[0] * each <= self.most_scores)
            )
        drawn |= {} if limits.grouped else {"groups": drawn["heads"]}
        return Scenario(self.dtype, **drawn)

    def _head_sizes(self, fields: Fields) -> Fields:
        """Return the head sizes of a situation, or drawn ones where it has none or the subject takes only some."""
        wanted = {} if self.limits.head_sizes else fields
        size = wanted.get("head_size") or self._head_size()
        value_size = wanted.get("value_size") or self.one(size, size, self._head_size())
        return {"head_size": size, "value_size": value_size if self.limits.value_size else size}

    def _head_size(self) -> int:
        if self.limits.head_sizes:
            return self.one(*self.limits.head_sizes)
        is_uneven = self.generator.random() < _UNEVEN
        return self.any_uneven() if is_uneven else self.one(*_HEAD_SIZES[self.size])

    def _offers(self, scenario: Scenario) -> bool:
        return self.options is None or scenario.options <= self.options

    def _fits(self, scenario: Scenario) -> bool:
        is_small = scenario.scores <= self.most_scores
        return scenario.is_valid and (is_small or (scenario.heads == 1 and not self.gradients))


def draw(
    seed: int,
    options: frozenset[str] | None,
    dtypes: Sequence[str],
    size: Size,
    limits: Limits = ANY,
    *,
    gradients: bool = False,
) -> list[Scenario]:
    """Draw the calls of a seed: only options that a subject has, and sizes that it takes.

    Of calls that ask for gradients every situation is drawn once.
    """
    stream, repeats = (5, 1) if gradients else (2, _REPEATS[size])
    found: dict[str, Scenario] = {}
    for place, dtype in enumerate(dtypes):
        drawing = Draw(np.random.default_rng([seed, stream, place]), size, dtype, options, limits, gradients)
        for situations in SITUATIONS * repeats:
            found |= {scenario.id: scenario for scenario in drawing.all(situations)}
    return list(found.values())
