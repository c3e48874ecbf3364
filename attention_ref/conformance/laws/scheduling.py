"""The order of laws: laws about an option come first, and the option is left out of the others where they break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.search_loop import FAILS, LawResult, offers, run_law
from attention_ref.conformance.laws.strategies import EMPTY_ROWS, GROUPS
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.operations import ATTENTION


def _subjects() -> list[str]:
    """What laws are about, in the order in which they are tried: what modifies an option before the option itself."""
    names = [GROUPS]
    for option in ATTENTION.independent_options:
        names += [name for name in ATTENTION.options if option in ATTENTION[name].modifies and name not in names]
        names += [option, EMPTY_ROWS] if option == "mask" else [option]
    return names


def run_laws(
    subject: Subject, laws: Sequence[Law], operation: str, dtype: str, *, examples: int, seed: int
) -> Iterator[LawResult]:
    """Try laws on an operation of a subject, those about something first.

    What a law is about is drawn in the laws after it only if no law about it is broken: a function that mistakes its
    window breaks the laws of the window, and is tried without one in all others.

    Arguments:
        subject, operation, dtype, examples, seed: as in `run_law`.
        laws: those that are tried.
    """
    there = offers(subject, operation) | {GROUPS, EMPTY_ROWS}
    about = {name: [law for law in laws if law.about == name and there.issuperset(law.needs)] for name in _subjects()}
    drawn = {name for name in there if not about.get(name)}
    tried: set[str] = set()
    for name, own in about.items():
        verdicts = set()
        for law in own:
            result = run_law(subject, law, operation, dtype, examples=examples, seed=seed, drawn=drawn)
            verdicts.add(result.verdict)
            tried.add(law.id)
            yield result
        if own and FAILS not in verdicts:
            drawn.add(name)
    for law in laws:
        if law.id not in tried:
            yield run_law(subject, law, operation, dtype, examples=examples, seed=seed, drawn=drawn)
