"""All laws, in reading order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attention_ref.conformance.errors import reject
from attention_ref.conformance.laws import keys, layers, rows, scores, values, visibility
from attention_ref.conformance.laws.law import Law

_PARTS = (keys, rows, visibility, scores, values, layers)
LAWS: tuple[Law, ...] = tuple(law for part in _PARTS for law in part.LAWS)

OPERATIONS = tuple(dict.fromkeys(name for law in LAWS for name in law.operations))
"""The operations that have laws."""


def chosen(operations: Collection[str], names: Sequence[str] | None = None) -> list[tuple[Law, str]]:
    """Select laws, each with the operation to test it on.

    Arguments:
        operations: the operations of a subject.
        names: ids of laws; all when None.

    Raises:
        UsageError: for an unknown law, or one that applies to none of the operations.
    """
    pairs = [(law, name) for name in operations for law in LAWS if name in law.operations]
    if not pairs:
        reject("operation with laws", ", ".join(operations), OPERATIONS)
    for name in names or ():
        if name not in {law.id for law, _ in pairs}:
            reject("law", name, dict.fromkeys(law.id for law, _ in pairs))
    return [(law, operation) for law, operation in pairs if names is None or law.id in names]
