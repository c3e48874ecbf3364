"""Format the report of a check, and write it to the file that the command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.commands.command import save

if TYPE_CHECKING:
    from attention_ref.conformance import Report


def written(report: Report, format: str, output: str | None, *, colour: bool) -> str:
    """Return the formatted report. With `output`, write it to that file and return a text report instead."""
    from attention_ref.conformance import reports
    from attention_ref.conformance.reports import text

    if output:
        save(output, reports.write(report, format))
        format = "text"
    return text.write(report, colour=colour) if format == "text" else reports.write(report, format)
