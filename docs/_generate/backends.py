"""The backends as tables: what each needs and can do, and the versions that the tests ran with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from _generate.pages import DOCS
from attention_ref import __version__
from attention_ref.backends import FACTS, Facts
from attention_ref.spec import VERSION

CONSTRAINTS = DOCS.parent / "constraints.txt"
PACKAGES = ("numpy", "torch", "keras", "tensorflow", "jax", "ml-dtypes", "safetensors", "matplotlib")


def table() -> str:
    """Write a column for each backend."""
    rows: dict[str, Callable[[Facts], str]] = {
        "Import": lambda facts: _code(facts.module),
        "Install": lambda facts: _code(f".[{facts.extra}]" if facts.extra else "."),
        "Needs": lambda facts: _codes(facts.needs),
        "Engines": lambda facts: _codes(facts.engines),
        "Arrays": lambda facts: _code(facts.arrays) if "." in facts.arrays else facts.arrays,
        "Dtypes": lambda facts: ", ".join(facts.dtypes) + (f" ({facts.dtypes_need})" if facts.dtypes_need else ""),
        "Devices": lambda facts: facts.devices,
        "Compiled by": lambda facts: _codes(facts.compilers),
        "A model is": lambda facts: _code(facts.training) if facts.training else "for inference; no gradients",
    }
    lines = [["", *(facts.title for facts in FACTS.values())]]
    lines += [[f"**{title}**", *map(cell, FACTS.values())] for title, cell in rows.items()]
    return _table(lines)


def verified() -> str:
    """Return the versions with which the tests ran, and the date."""
    pins = dict(line.split("==") for line in _lines() if "==" in line)
    rows = [["Package", "Version"], *([_code(name), pins[name]] for name in PACKAGES)]
    text = f"attention_ref {__version__}, specification {VERSION}, was verified on {date()} with these versions:"
    return f"{text}\n\n{_table(rows)}"


def date() -> str:
    """Return the day on which the tests ran with the versions of constraints.txt."""
    found = re.search(r"(?m)^# Verified on (\d{4}-\d\d-\d\d)\b", "\n".join(_lines()))
    if found is None:
        raise LookupError("constraints.txt does not say when it was verified")
    return found[1]


def _lines() -> list[str]:
    return CONSTRAINTS.read_text(encoding="utf-8").splitlines()


def _table(rows: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(["{.fitted}", head, "|" + "---|" * len(rows[0]), *body])


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names)) or "none"
