"""Paragraphs in lines of one width."""

from __future__ import annotations

import textwrap

WIDTH = 100
"""The number of characters in a line."""


def filled(label: str, text: str) -> str:
    """Return a paragraph that begins with a label, in lines of `WIDTH` characters; words stay whole."""
    return textwrap.fill(label + text, WIDTH, break_long_words=False, break_on_hyphens=False)
