"""The description of a wrong attention in the gallery."""

from __future__ import annotations

import functools
import inspect
import textwrap

from tests.wrong_attentions.right import RightAttention


class WrongAttention(RightAttention):
    """A right attention with a step replaced.

    title: the mistake.
    clause: the id of the clause that it breaks.
    references: who ships or shipped it, or which article teaches it (A to E).
    instead: what it computes.
    correction: what to do, in a phrase.
    operation: the operation that it stands for.
    dtypes: in which it shows.
    pervasive: whether it spoils cases of every kind, so that the cases that fail list other clauses too.
    """

    title: str
    clause: str
    references: str
    instead: str
    correction: str
    operation = "attention"
    dtypes: tuple[str, ...] = ("float64", "float32")
    pervasive = False

    @classmethod
    def function(cls):
        """Return the wrong function itself, with the signature of the operation."""
        wrong = getattr(cls(), cls.operation)
        right = getattr(RightAttention(), cls.operation)

        @functools.wraps(right)
        def function(*arrays, **options):
            return wrong(*arrays, **options)

        return function

    @classmethod
    def gradients(cls):
        """Return the function of the gradients by its operation, where the mistake is one of gradients."""
        return {cls.operation: cls().gradient} if hasattr(cls, "gradient") else {}

    @classmethod
    def source(cls):
        """Return the code that replaces the right steps."""
        steps = [step for step in vars(cls).values() if inspect.isfunction(step)]
        return "\n".join(textwrap.dedent(inspect.getsource(step)) for step in steps)
