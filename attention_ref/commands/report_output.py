"""Format the report of a check, and write it to the file that the command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention_ref.commands.command import save

if TYPE_CHECKING:
    from attention_ref.conformance import Report


def written(
    report: Report, format: str, output: str | None, *, colour: bool, verbose: bool = False, quiet: bool = False
) -> str:
    """Return the report in a format; with `output` write it to that file, and return it as text.

    `colour`, `verbose` and `quiet` are for the text, see `reports.text.write`.
    """
    from attention_ref.conformance import reports
    from attention_ref.conformance.reports import text

    if output:
        save(output, reports.write(report, format))
        format = "text"
    if format != "text":
        return reports.write(report, format)
    return text.write(report, colour=colour, verbose=verbose, quiet=quiet)
