"""The gallery: attention as it should be, and the ways in which it has gone wrong.

`RightAttention` is the yardstick; every class in `GALLERY` replaces a step of it and says what that does. Tests run all
of them through the conformance kit, and the documentation shows them from here.
"""

from __future__ import annotations

import inspect

from tests.wrong_attentions import gradients, other_scores, scores, values, visibility, weights
from tests.wrong_attentions.record import WrongAttention
from tests.wrong_attentions.right import RightAttention

GALLERY: tuple[type[WrongAttention], ...] = tuple(
    entry
    for module in (scores, weights, values, visibility, other_scores, gradients)
    for entry in vars(module).values()
    if inspect.isclass(entry) and entry.__module__ == module.__name__
)

__all__ = ["GALLERY", "RightAttention", "WrongAttention"]
