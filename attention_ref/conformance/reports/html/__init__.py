"""Reports as a self-contained HTML file: no network, scripts or fonts; light and dark."""

from __future__ import annotations

from attention_ref.conformance.reports.html.page import write, write_matrix

__all__ = ["write", "write_matrix"]
