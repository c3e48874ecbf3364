"""The deviations that a diagnosis knows, as a table."""

from __future__ import annotations

from _generate.text import clause_link
from attention_ref.conformance.diagnosis import EVERY


def table() -> str:
    """List every deviation: its name, what is computed instead, and the clause that it breaks."""
    rows = sorted((each.slug, each.sentence(), clause_link(each.clause)) for each in EVERY)
    lines = [f"| `{slug}` | {sentence} | {clause} |" for slug, sentence, clause in rows]
    return "\n".join(["{.stacked}", "| Deviation | What is computed | Clause |", "|---|---|---|", *lines])
