"""Find which tensor of the target is which of the reference: by name, order, layout and closeness of the values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np

from attention_ref.conformance.divergence.padding import Blank
from attention_ref.conformance.divergence.recording import Arrays
from attention_ref.conformance.divergence.tensor_forms import Form, forms
from attention_ref.conformance.errors import UsageError

_SAMPLE = 4096
"""How many numbers of two tensors are compared at most to see whether they are close."""

_CLOSE = 0.9
_FITS = 0.1  # the value of a pair whose layouts fit, in comparison to 1 for equal values
_SAME_NUMBER = 0.1  # of a pair whose names have the same number of the block
_SAME_PROJECTION = 1.0  # of a pair whose names both say query, key or value; what says another one is no pair

_PROJECTIONS = {
    "query": ("query", "query_projection", "q", "q_proj", "q_lin", "wq", "query_proj", "to_q"),
    "key": ("key", "key_projection", "k", "k_proj", "k_lin", "wk", "key_proj", "to_k"),
    "value": ("value", "value_projection", "v", "v_proj", "v_lin", "wv", "value_proj", "to_v"),
}
"""The last part of the name of a projection in this library and in others. Queries and keys are told apart by names
alone, because a target that exchanges them computes the values of one in the place of the other.
"""


class Pair(NamedTuple):
    """A tensor of the reference, the one of the target that it is compared with, and the layout of the latter."""

    reference: str
    target: str
    form: Form


class _Candidate(NamedTuple):
    closeness: float
    worth: float
    form: Form


def align(
    reference: Arrays,
    target: Arrays,
    names: Mapping[str, str] | None = None,
    refused: Set[tuple[str, str]] = frozenset(),
    blank: Blank = lambda _, array: array,
) -> list[Pair]:
    """Pair the tensors of two recordings.

    Tensors with the same name, and those that `names` pairs, belong together. The others are paired in order, such
    that the sum of how close the pairs are is largest; then those that are left and close, in any order.

    Arguments:
        reference, target: the tensors in the order of their computation.
        names: names of the reference's tensors and those of the target's.
        refused: pairs of names that do not belong together.
        blank: sets padding to 0.

    Raises:
        UsageError: for a name that does not exist, or a pair whose shapes no layout makes equal.
    """
    named = _named(reference, target, names or {})
    ours = [name for name in reference if name not in named]
    taken = {pair.target for pair in named.values()}
    theirs = [name for name in target if name not in taken]
    candidates = {
        (i, j): found
        for i, our in enumerate(ours)
        for j, their in enumerate(theirs)
        if (our, their) not in refused
        and (found := _candidate(our, their, reference[our], target[their], blank)) is not None
    }
    chosen = _in_order(len(ours), len(theirs), candidates)
    chosen = chosen | _left(candidates, chosen)
    pairs = named | {ours[i]: Pair(ours[i], theirs[j], candidates[i, j].form) for i, j in chosen.items()}
    return [pairs[name] for name in reference if name in pairs]


def closeness(reference: np.ndarray, target: np.ndarray) -> float:
    """Return 1 for equal arrays, 0 for those whose difference is as large as themselves."""
    step = max(1, reference.size // _SAMPLE)
    one, other = reference.ravel()[::step], target.ravel()[::step]
    is_finite = np.isfinite(one) & np.isfinite(other)
    one, other = one[is_finite], other[is_finite]
    size = max(float(np.linalg.norm(one)), float(np.linalg.norm(other)))
    return 1.0 if size == 0 else max(0.0, 1.0 - float(np.linalg.norm(one - other)) / size)


def _named(reference: Arrays, target: Arrays, names: Mapping[str, str]) -> dict[str, Pair]:
    for our, their in names.items():
        for name, known, side in ((our, reference, "reference"), (their, target, "target")):
            if name not in known:
                raise UsageError(f"the {side} has no tensor {name}; it has {', '.join(known)}")
    pairs = {}
    same = {name: name for name in reference if name in target}
    for our, their in {**same, **names}.items():
        shapes = (reference[our].shape, target[their].shape)
        found = forms(*shapes)
        if found:
            form = max(found, key=lambda each: closeness(reference[our], each.to_reference(target[their])))
            pairs[our] = Pair(our, their, form)
        elif our in names:
            raise UsageError(f"{our} {shapes[0]} and {their} {shapes[1]} are not two layouts of one tensor")
    return pairs


def _candidate(our: str, their: str, reference: np.ndarray, target: np.ndarray, blank: Blank) -> _Candidate | None:
    found = forms(reference.shape, target.shape)
    if not found:
        return None
    reference = blank(our, reference)
    close, form = max(
        ((closeness(reference, blank(our, each.to_reference(target))), each) for each in found), key=lambda x: x[0]
    )
    projections = (_projection(our), _projection(their))
    if None not in projections and projections[0] != projections[1]:
        return None
    numbers = [re.findall(r"\d+", name.partition("@")[0]) for name in (our, their)]
    worth = close + _FITS + _SAME_NUMBER * (numbers[0][:1] == numbers[1][:1])
    return _Candidate(close, worth + _SAME_PROJECTION * (projections[0] is not None and None not in projections), form)


def _projection(name: str) -> str | None:
    last = name.partition("@")[0].rpartition(".")[-1]
    return next((projection for projection, words in _PROJECTIONS.items() if last in words), None)


def _in_order(rows: int, columns: int, candidates: Mapping[tuple[int, int], _Candidate]) -> dict[int, int]:
    """Return the pairs, in the same order on both sides, whose sum of worths is largest."""
    best = np.zeros((rows + 1, columns + 1))
    for i in range(rows):
        best[i + 1] = best[i]
        worths = [(j, found.worth) for j in range(columns) if (found := candidates.get((i, j))) is not None]
        for j, worth in worths:
            best[i + 1, j + 1] = max(best[i + 1, j + 1], best[i, j] + worth)
        best[i + 1] = np.maximum.accumulate(best[i + 1])
    chosen, i, j = {}, rows, columns
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            chosen[i] = j
    return chosen


def _left(candidates: Mapping[tuple[int, int], _Candidate], chosen: Mapping[int, int]) -> dict[int, int]:
    """Pair what is left and close, the closest first: two sides may compute independent tensors in another order."""
    rows, columns = set(chosen), set(chosen.values())
    found = {}
    for i, j in _by_closeness(candidates):
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
            found[i] = j
    return found


def _by_closeness(candidates: Mapping[tuple[int, int], _Candidate]) -> list[tuple[int, int]]:
    close = [place for place, each in candidates.items() if each.closeness > _CLOSE]
    return sorted(close, key=lambda place: -candidates[place].closeness)
