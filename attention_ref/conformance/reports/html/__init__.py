"""Reports as a self-contained HTML file: no network, no fonts, readable without scripts; light and dark."""

from __future__ import annotations

from attention_ref.conformance.reports.html.page import write, write_matrix

__all__ = ["write", "write_matrix"]
