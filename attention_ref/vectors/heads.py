"""The heads of cases: what the vectors say of each case besides its arrays, read without parsing the arrays."""

from __future__ import annotations

import json
import re
from typing import Any

_FIELD = re.compile(rb'\n   "(id|clauses|catches|references|dtypes|gradient)": (.*)')
"""A field of a case: fields that belong to a case itself are indented by three spaces, each on a line of its own."""


def heads_in(document: bytes) -> list[dict[str, Any]]:
    """Return the head of every case of a file of vectors, as `generate` writes it.

    Returns:
        The fields of a case that are no arrays, and `gradient`: whether the case has gradients.
    """
    heads: list[dict[str, Any]] = []
    for name, text in _FIELD.findall(document):
        if name == b"id":
            heads.append({"gradient": False})
        heads[-1][name.decode()] = True if name == b"gradient" else json.loads(text.rstrip(b","))
    return heads
