"""Deviations of the window."""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_ref.conformance.diagnosis.deviations.deviation import Deviation
from attention_ref.conformance.diagnosis.formula import Array

_WINDOW = "let query i see key j where -left <= j - (i + query_offset) <= right, both ends included"


class WindowIgnored(Deviation):
    """The window is ignored."""

    slug = "window.ignored"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return np.ones(distance.shape, bool)


class WindowOneTooWide(Deviation):
    """The window reaches one key too far."""

    slug = "window.one-too-wide"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        wider = (None if side is None else side + 1 for side in (left, right))
        return super().by_window(distance, *wider)


class WindowLeftOneTooWide(Deviation):
    """The window reaches one key too far to the left."""

    slug = "window.left-one-too-wide"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, None if left is None else left + 1, right)


class WindowOneTooNarrow(Deviation):
    """The window leaves out the keys at its ends."""

    slug = "window.one-too-narrow"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        narrower = (None if side is None else side - 1 for side in (left, right))
        return super().by_window(distance, *narrower)


class WindowLeftOneTooNarrow(Deviation):
    """The window leaves out the key at its left end: it counts keys instead of distances."""

    slug = "window.left-one-too-narrow"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, None if left is None else left - 1, right)


class WindowOffsetIgnored(Deviation):
    """The window ignores query_offset."""

    slug = "window.offset-ignored"
    clause = "attention.query-offset"
    correction = _WINDOW

    def window_offset(self, query_offset: Any) -> Any:
        return self.first_offset()


class WindowRightIgnored(Deviation):
    """The window is open to the right."""

    slug = "window.right-ignored"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, left, None)


class WindowLeftIgnored(Deviation):
    """The window is open to the left."""

    slug = "window.left-ignored"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, None, right)


class WindowSidesExchanged(Deviation):
    """The left distance of the window is taken for the right one, and the right one for the left."""

    slug = "window.sides-exchanged"
    clause = "attention.window"
    correction = _WINDOW

    def by_window(self, distance: Array, left: int | None, right: int | None) -> Array:
        return super().by_window(distance, right, left)


class _WindowBehindCache(Deviation):
    """Another window for queries that do not begin at position 0."""

    clause = "multihead.visibility"
    correction = "apply the window behind a cache as well, counted from its length"

    def visible(
        self, shape: Any, mask: Any, bias: Any, causal: Any, query_offset: Any, window: Any, *rest: Any
    ) -> Array:
        usual = super().visible(shape, mask, bias, causal, query_offset, window, *rest)
        if window is None:
            return usual
        other = super().visible(shape, mask, bias, causal, query_offset, self.behind(*window), *rest)
        is_behind = self.is_behind_cache if self.chunk_starts is not None else np.any(np.asarray(query_offset) > 0)
        is_behind = np.asarray(is_behind)
        return np.where(is_behind[:, None, :, None] if is_behind.ndim else is_behind, other, usual)

    def behind(self, left: int | None, right: int | None) -> tuple[int | None, int | None] | None:
        raise NotImplementedError


class WindowIgnoredBehindCache(_WindowBehindCache):
    """The window is ignored behind a cache."""

    slug = "window.ignored-behind-cache"

    def behind(self, left: int | None, right: int | None) -> None:
        return None


class WindowWiderBehindCache(_WindowBehindCache):
    """The window is one key wider behind a cache."""

    slug = "window.wider-behind-cache"

    def behind(self, left: int | None, right: int | None) -> tuple[int | None, int | None]:
        return None if left is None else left + 1, right


WINDOW: tuple[type[Deviation], ...] = (
    WindowIgnored, WindowOffsetIgnored, WindowOneTooWide, WindowOneTooNarrow, WindowLeftOneTooWide,
    WindowLeftOneTooNarrow, WindowRightIgnored, WindowLeftIgnored,
    WindowSidesExchanged,
)  # fmt: skip
WINDOW_BEHIND_CACHE: tuple[type[Deviation], ...] = (WindowIgnoredBehindCache, WindowWiderBehindCache)
