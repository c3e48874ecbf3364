"""A deviation: the formula with one step replaced, and its description."""

from __future__ import annotations

import inspect
from typing import Any

from attention_ref.conformance.diagnosis.operation_formula import OperationFormula


class Deviation(OperationFormula):
    """The formula with one step replaced. The docstring of a deviation says what is computed instead.

    slug: its name, `group.what`; of two deviations that give the same numbers the earlier one is named. Variants of
        one mistake, such as other values of eps, share a slug.
    clause: the id of the violated clause.
    correction: how to correct it.
    """

    slug: str
    clause: str
    correction: str

    @classmethod
    def sentence(cls) -> str:
        """Return the description as a phrase: lower case, without a full stop."""
        text = inspect.cleandoc(cls.__doc__ or "").rstrip(".")
        first = text.partition(" ")[0]
        is_word = first.istitle() and first != "True"  # NaN and True keep their letters
        return text[:1].lower() + text[1:] if is_word else text


def variant(base: type[Deviation], sentence: str, /, **attributes: Any) -> type[Deviation]:
    """Return a deviation that differs from another one by attributes."""
    return type(base.__name__, (base,), {"__doc__": sentence, "__module__": base.__module__, **attributes})
