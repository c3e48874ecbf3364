"""Compute the figures and write them, each for a light and for a dark ground."""

from __future__ import annotations

from pathlib import Path

from docs.figures import empty_row

STATIC = Path(__file__).parent.parent / "_static"
COLOURS = {"light": "#1f2328", "dark": "#e6edf3"}


def figures() -> dict[str, str]:
    """Return the text of every figure by the name of its file."""
    found = empty_row.answers()
    return {f"empty-row-{ground}.svg": empty_row.draw(found, colour) for ground, colour in COLOURS.items()}


if __name__ == "__main__":
    for name, text in figures().items():
        (STATIC / name).write_text(text + "\n", encoding="utf-8")
