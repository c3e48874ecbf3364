"""Reports as one HTML file that needs nothing else: no network, no font, and no script to be read."""

from __future__ import annotations

from attention_ref.conformance.reports.html.page import write, write_matrix

__all__ = ["write", "write_matrix"]
