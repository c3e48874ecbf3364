"""Findings about exceptions: the shapes or the dtype for which an attention raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from typing import NamedTuple

from attention_ref.conformance.diagnosis.beside_numbers import precision_clause
from attention_ref.conformance.diagnosis.finding import Finding
from attention_ref.conformance.diagnosis.observation import Observation


class _Shapes(NamedTuple):
    query: tuple[int, ...]
    key: tuple[int, ...]
    value: tuple[int, ...]

    @classmethod
    def of(cls, observation: Observation) -> _Shapes:
        return cls(*(observation.case.call.inputs[name].shape for name in ("query", "key", "value")))


class _Refusal(NamedTuple):
    name: str
    words: str
    clause: str
    holds: Callable[[_Shapes], bool]
    is_rest: bool = False


_REFUSALS = (
    _Refusal(
        "lengths",
        "where the lengths of queries and keys differ",
        "attention.formula",
        lambda s: s.query[-2] != s.key[-2],
    ),
    _Refusal("no-keys", "for a key length of 0", "attention.empty-axis", lambda s: s.key[-2] == 0),
    _Refusal("no-queries", "for a query length of 0", "attention.empty-axis", lambda s: s.query[-2] == 0),
    _Refusal("no-rows", "for a batch size of 0", "attention.batch", lambda s: 0 in s.query[:-3]),
    _Refusal(
        "grouped-heads", "where query heads share a key head", "attention.heads", lambda s: s.query[-3] != s.key[-3]
    ),
    _Refusal(
        "value-size",
        "where the head sizes of values and keys differ",
        "attention.value-size",
        lambda s: s.value[-1] != s.key[-1],
    ),
    _Refusal("four-axes", "for arrays of four axes", "attention.batch", lambda s: len(s.query) == 4, is_rest=True),
    _Refusal(
        "batch-axes",
        "for arrays that do not have four axes",
        "attention.batch",
        lambda s: len(s.query) != 4,
        is_rest=True,
    ),
)
"""Classes of shapes; those of the number of axes, which all have, come last."""


def refusals(seen: Sequence[Observation], explained: Container[str]) -> Iterator[Finding]:
    """Find classes of shapes in which most cases raise, while most others do not; not the cases already explained."""
    left = list(seen)
    for refusal in _REFUSALS:
        asked = [each for each in left if refusal.holds(_Shapes.of(each))]
        others = [each for each in left if not refusal.holds(_Shapes.of(each))]
        raised = [each for each in asked if each.error and each.case.id not in explained]
        is_general = 2 * sum(bool(each.error) for each in others) > len(others)
        if 2 * len(raised) <= len(asked) or (is_general and not refusal.is_rest):
            continue
        error, _ = Counter(each.error for each in raised).most_common(1)[0]
        yield Finding(
            deviation=f"raises.{refusal.name}",
            sentence=f"it raises an error {refusal.words}",
            clause=refusal.clause,
            correction="support it, or raise NotImplementedError for unsupported calls",
            cases=tuple(each.case.id for each in raised),
            example=f"{raised[0].case.id}: {error}",
        )
        left = [each for each in left if each not in raised]


def refused_dtype(seen: Sequence[Observation], dtype: str) -> Finding:
    """Return the finding on a dtype for which every case raises."""
    return Finding(
        deviation=f"raises.{dtype}",
        sentence=f"it raises an error for arrays of {dtype}",
        clause=precision_clause(seen[0].case.operation),
        correction="compute in the dtype of the query, or raise NotImplementedError for unsupported calls",
        cases=tuple(each.case.id for each in seen),
        example=f"{seen[0].case.id}: {seen[0].error}",
    )
