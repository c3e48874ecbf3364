"""Generate the parts of the site that show the library's data.

A page asks for it by a line that holds nothing but, say, `{{ clauses attention.* }}`. When Sphinx reads the page, the
line is replaced by Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _generate import (
    backends,
    clauses,
    deviations,
    diagnoses,
    docstrings,
    gallery,
    laws,
    mathml,
    mistakes,
    pages,
    rooms,
)

LINE = re.compile(r"^\{\{ ([\w-]+)((?: [^\s{}]+)*) \}\}$", re.MULTILINE)

WRITTEN_WITHOUT_SPACES = "\u3000-\u303f\u4e00-\u9fff\uff00-\uffef"  # Chinese, and its punctuation
BROKEN_LINE = re.compile(f"(?<=[{WRITTEN_WITHOUT_SPACES}])\n(?=[{WRITTEN_WITHOUT_SPACES}])")
LOADS = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//|<link\b[^>]*\bhref=\"(?:https?:)?//")

GENERATORS: dict[str, Callable[..., str]] = {
    "backends": backends.table,
    "verified": backends.verified,
    "clauses": clauses.full,
    "clause-links": clauses.links,
    "clause-count": clauses.count,
    "decisions": clauses.decisions,
    "deviations": deviations.table,
    "diagnoses": diagnoses.others,
    "kill-matrix": diagnoses.kill_matrix,
    "laws": laws.table,
    "legend": pages.legend,
    "import-law": pages.import_law,
    "gallery": gallery.entries,
    "gallery-count": gallery.count,
    "gallery-index": gallery.index,
    "mistake": mistakes.one,
    "mistakes": mistakes.table,
    "module": docstrings.module,
    "readme": pages.readme,
    "readme-cell": pages.readme_cell,
    "rooms": rooms.tabs,
    "toctree": pages.toctree,
    "versions": pages.versions,
}


def fill(text: str) -> str:
    """Replace every such line of a page, and join lines of Chinese, between which a browser would write a space."""
    return LINE.sub(lambda line: GENERATORS[line[1]](*line[2].split()), BROKEN_LINE.sub("", text))


def setup(app: Any) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    mathml.setup(app)
    app.connect("source-read", _on_source_read)
    app.connect("html-page-context", _on_page_context)
    app.connect("build-finished", _on_build_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _on_source_read(app: Any, page: str, source: list[str]) -> None:  # noqa: ARG001
    source[0] = fill(source[0])


def _on_page_context(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:  # noqa: ARG001
    """Set the language of a page from its front matter, such as `language: zh`."""
    context["language"] = (context.get("meta") or {}).get("language", "en")


def _on_build_finished(app: Any, exception: Exception | None) -> None:
    """See that no page loads anything from elsewhere: the site is read without a network too."""
    found = [] if exception else [page for page in Path(app.outdir).rglob("*.html") if LOADS.search(page.read_text())]
    if found:
        from sphinx.errors import ExtensionError

        raise ExtensionError(f"pages that load something from elsewhere: {', '.join(map(str, found))}")
