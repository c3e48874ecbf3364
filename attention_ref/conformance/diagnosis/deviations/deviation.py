"""What a deviation is: a step of the formula replaced, with the words that describe it."""

from __future__ import annotations

import inspect

from attention_ref.conformance.diagnosis.formula import Formula


class Deviation(Formula):
    """The formula with one step replaced. The docstring of a deviation says what is computed instead.

    slug: its name, `group.what`; of two deviations that give the same numbers the earlier in `DEVIATIONS` is named.
    clause: the id of the clause that it breaks.
    correction: what to write instead.
    """

    slug: str
    clause: str
    correction: str

    @classmethod
    def sentence(cls) -> str:
        """Return what is computed instead, as the part of a sentence."""
        text = inspect.cleandoc(cls.__doc__ or "").rstrip(".")
        return text[:1].lower() + text[1:]
