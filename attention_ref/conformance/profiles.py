"""Profiles, which select cases and which a subject claims to support, and the levels that they form.

A profile is a file of cases in the vectors; or `grad`, all gradient cases; or `model`, all cases that build a layer; or
the name of a dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attention_ref.conformance.case import Case, cases
from attention_ref.conformance.case_heads import GRADIENTS, profiles
from attention_ref.spec.dtypes import DTYPES
from attention_ref.spec.operations import ATTENTION, OPERATIONS

MODEL = "model"
"""The profile of all cases that build a layer."""


@dataclass(frozen=True)
class Level:
    """A level: reached by an attention that passes every case of its profiles and of the levels below."""

    name: str
    profiles: tuple[str, ...]


LEVELS = (
    Level("plain", ()),
    Level("formula", ("core",)),
    Level("masks", ("mask", "causal", "bias", "padding")),
    Level("training", (GRADIENTS,)),
    Level("decoding", ("gqa", "cache", "window")),
    Level("complete", ("softcap", "sinks", "dropout", "weights", "lse")),
)
"""The levels of attention, from query, key and value alone, with as many key/value heads as query heads and no axis of
size 0, over all that the formula covers, to every option. A level includes the gradients of its profiles; the last one
also the propagation of NaN and infinities.
"""

_LAST = "attention.non-finite"
_PLAIN = {"attention.formula", "attention.scale"}


@dataclass(frozen=True)
class Reached:
    """The level that an attention reaches.

    Arguments:
        number, name: number and name of the level; 0 and "none" below the first, where not even a plain call is right.
        lacks: the profiles that the next level still requires, as text.
    """

    number: int
    name: str
    lacks: tuple[str, ...]


def known_profiles(operations: Iterable[str], groups: Iterable[str]) -> list[str]:
    """Return every profile that a check of the operations can select."""
    has_layer = any(OPERATIONS[operation].is_layer for operation in operations)
    return sorted({*groups, *([MODEL] if has_layer else [])}) + list(DTYPES)


def belongs(case: Case, names: Iterable[str]) -> bool:
    """Return whether a case is in one of the profiles."""
    names = set(names)
    return case.profile in names or (MODEL in names and OPERATIONS[case.operation].is_layer)


def claimed(case: Case, dtype: str, claims: Sequence[str]) -> str:
    """Return the claimed profile that contains a case in a dtype, or an empty string."""
    return next((claim for claim in claims if claim == dtype or belongs(case, [claim])), "")


def reached(verdicts: dict[str, str], passed: str) -> Reached | None:
    """Return the level that an attention reaches, or None if not every case of the first level was run.

    Arguments:
        verdicts: the verdicts by case id.
        passed: the verdict that counts as passed.
    """
    level = Reached(0, "none", ())
    for number, (each, needed) in enumerate(zip(LEVELS, _needed(), strict=True), start=1):
        if any(case.id not in verdicts for case in needed):
            return None if number == 1 else level
        lacking = [case.profile for case in needed if verdicts[case.id] != passed]
        if lacking:
            names = dict.fromkeys(lacking)
            totals = {name: sum(case.profile == name for case in needed) for name in names}
            lacks = tuple(f"{name} ({lacking.count(name)} of {totals[name]} cases)" for name in names)
            return Reached(level.number, level.name, lacks)
        level = Reached(number, each.name, ())
    return level


def _needed() -> list[list[Case]]:
    """Return for each level the cases that it adds."""
    every = [case for profile in profiles("attention") for case in cases("attention", profile) if not case.is_optional]
    levels = [(case, _level(case)) for case in every]
    return [[case for case, level in levels if level == number] for number in range(len(LEVELS))]


def is_plain(case: Case) -> bool:
    """Return whether a case of attention gives query, key and value alone, with ordinary shapes and numbers."""
    is_formula = case.operation == "attention" and case.profile == "core" and set(case.clauses) <= _PLAIN
    return is_formula and not case.call.named


def _level(case: Case) -> int:
    """Return the index of a case's level: the highest of the levels of its profile and of its options."""
    names = {ATTENTION[name].profile for name in case.call.named}
    names |= set(case.id.split("/")[1:3]) if case.profile == GRADIENTS else {case.profile}
    if is_plain(case):
        return 0
    if case.call.inputs["query"].shape[-3] != case.call.inputs["key"].shape[-3]:
        names.add("gqa")
    levels = {profile: number for number, level in enumerate(LEVELS) for profile in level.profiles}
    if unknown := sorted(names - set(levels)):
        raise ValueError(f"{case.id} is in no level: LEVELS must name its profiles {', '.join(unknown)}")
    return len(LEVELS) - 1 if _LAST in case.clauses else max(levels[name] for name in names)
