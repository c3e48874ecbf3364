"""Reports as one HTML file that needs nothing else: no network, no script, no font, light and dark."""

from __future__ import annotations

from attention_ref.conformance.reports.html.page import matrix, write

__all__ = ["matrix", "write"]
