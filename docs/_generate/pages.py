"""Tables of contents of what is there: a folder may be empty, which Sphinx's own globs take for a mistake."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent


def toctree(*patterns: str) -> str:
    """List the pages that match, in alphabetical order, without the index of a folder."""
    found = sorted(path.relative_to(DOCS) for pattern in patterns for path in DOCS.glob(f"{pattern}.md"))
    names = [f"/{path.with_suffix('').as_posix()}" for path in found if path.stem != "index"]
    return "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"]) if names else ""
