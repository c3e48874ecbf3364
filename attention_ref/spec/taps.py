"""Taps: callbacks that receive every named intermediate of a layer or a model.

A tap is a function that is called with `(name, array)` for every intermediate. Names are dotted, the same in every
backend, and begin with the path of the layer: `decoder.blocks.0.self_attention.scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Tap = Callable[[str, Any], None]


def scoped(tap: Tap | None, scope: str) -> Tap | None:
    """Return a tap that passes intermediates on to `tap` with `scope` before their names; None without a tap."""
    if tap is None:
        return None
    return lambda name, array: tap(f"{scope}.{name}", array)


def report(tap: Tap | None, name: str, array: Any) -> Any:
    """Pass an intermediate to the tap, if any, and return it."""
    if tap is not None:
        tap(name, array)
    return array
