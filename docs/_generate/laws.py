"""The laws as tables: what each says, and the clauses that it follows from."""

from __future__ import annotations

from _generate.text import clause_link
from attention_ref.conformance import LAWS
from attention_ref.conformance.laws.law import Law


def table(operation: str, *others: str) -> str:
    """Write a table of the laws that hold of an operation and of none of some others."""
    found = [law for law in LAWS if operation in law.operations and not set(others) & set(law.operations)]
    if not found:
        raise LookupError(f"there are no such laws of {operation}")
    return "\n".join(["| law | says | follows from |", "|:--|:--|:--|", *map(_row, found)])


def _row(law: Law) -> str:
    needs = f"<br>needs {', '.join(f'`{name}`' for name in law.needs)}" if law.needs else ""
    statement = law.statement.replace("|", "\\|")
    return f"| `{law.id}` | `{statement}`{needs} | {', '.join(map(clause_link, law.clauses))} |"
