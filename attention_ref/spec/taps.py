"""Taps: how a caller sees every named intermediate of a layer or a model.

A tap is a function that is given `(name, array)`. The names are dotted, the same in every backend, and begin with the
name of the part: `decoder.blocks.0.self_attention.scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tap = Callable[[str, Any], None]


def scoped(tap: Tap | None, scope: str) -> Tap | None:
    """Give a tap for a part: what it is told goes to `tap` under `scope`."""
    if tap is None:
        return None
    return lambda name, array: tap(f"{scope}.{name}", array)


def report(tap: Tap | None, name: str, array: Any) -> Any:
    """Tell a tap, where there is one, of an intermediate, and give the intermediate back."""
    if tap is not None:
        tap(name, array)
    return array
