"""The order of laws: try prerequisite options first, and exclude broken ones from the examples of later laws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attention_ref.conformance.laws.law import Law
from attention_ref.conformance.laws.search_loop import FAILS, LawResult, offers, run_law
from attention_ref.conformance.laws.strategies import EMPTY_ROWS, GROUPS
from attention_ref.conformance.subjects.subject import Subject
from attention_ref.spec.operations import ATTENTION


def _subjects() -> list[str]:
    """Return the tested options in order: modifiers of an option before the option itself."""
    names = [GROUPS]
    for option in ATTENTION.independent_options:
        names += [name for name in ATTENTION.options if option in ATTENTION[name].modifies and name not in names]
        names += [option, EMPTY_ROWS] if option == "mask" else [option]
    return names


def run_laws(
    subject: Subject, laws: Sequence[Law], operation: str, dtype: str, *, examples: int, seed: int
) -> Iterator[LawResult]:
    """Test laws on an operation of a subject, those about an option first.

    An option is drawn in later laws only if no law about it is broken: a function with a wrong window breaks the laws
    about the window, and is tested without a window by all others.

    Arguments:
        subject, operation, dtype, examples, seed: as in `run_law`.
        laws: the laws to test.
    """
    available = offers(subject, operation) | {GROUPS, EMPTY_ROWS}
    about = {
        name: [law for law in laws if law.about == name and available.issuperset(law.needs)] for name in _subjects()
    }
    drawn = {name for name in available if not about.get(name)}
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
