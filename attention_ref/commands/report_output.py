"""The report of a check in the format and at the place that a command line asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.commands.command import save

if TYPE_CHECKING:
    from attention_ref.conformance import Report


def written(report: Report, format: str, output: str | None, *, colour: bool) -> str:
    """Return the report in a format; with `output` write it to that file, and return it as text."""
    from attention_ref.conformance import reports
    from attention_ref.conformance.reports import text

    if output:
        save(output, reports.write(report, format))
        format = "text"
    return text.write(report, colour=colour) if format == "text" else reports.write(report, format)
