"""Reports as text, JSON, JUnit XML, Markdown and HTML."""

from __future__ import annotations

from importlib import import_module, resources
from json import loads
from typing import Any

from attention_ref.conformance.check_results import CheckResults

FORMATS = ("text", "json", "junit", "markdown", "html")
"""The formats, each a module of this package with a function `write(report)`."""


def schema(name: str) -> dict[str, Any]:
    """Read a JSON Schema: `"report"`, or `"peers"` for a matrix, which refers to `report.json`."""
    path = resources.files(__name__).joinpath("schema", f"{name}.json")
    return dict(loads(path.read_text(encoding="utf-8")))


def write(report: CheckResults, format: str = "text") -> str:
    """Write a report in one of `FORMATS`."""
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} of reports; choose from: {', '.join(FORMATS)}")
    return str(import_module(f"{__name__}.{format}").write(report))
