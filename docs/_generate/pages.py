"""Generate parts of pages from the README, the rules and the versions of the project."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from attention_ref import __version__, spec, vectors
from attention_ref.spec.shapes import LEGEND

DOCS = Path(__file__).parent.parent


def toctree(*patterns: str) -> str:
    """List the pages that match, in alphabetical order, without the index of a folder.

    A folder may be empty, which Sphinx's own globs take for a mistake.
    """
    found = sorted(path.relative_to(DOCS) for pattern in patterns for path in DOCS.glob(f"{pattern}.md"))
    names = [f"/{path.with_suffix('').as_posix()}" for path in found if path.stem != "index"]
    return "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"]) if names else ""


def readme(*title: str) -> str:
    """Show what stands under a heading of the README, with its Python as cells, which print what it says they do."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    _, section = text.split(f"\n## {' '.join(title)}\n")
    section = section.partition("\n## ")[0].replace("](docs/", "](/")
    cells = re.sub("^```python$", "```{code-cell} python", section.strip(), flags=re.MULTILINE)
    return re.sub(r"^(print\(.*\))  # .*$", r"\1", cells, flags=re.MULTILINE)


def readme_cell() -> str:
    """Show the README's first block of Python as a cell, whose output stands under it in the README as text."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    block = text.partition("\n```python\n")[2].partition("\n```\n")[0]
    return f"```{{code-cell}} python\n{block}\n```"


def versions() -> str:
    """List what has a version, who depends on it, and what may change without a new one."""
    rows = [
        ("Version", "Today", "Who depends on it", "What may change without a new one"),
        ("---", "---", "---", "---"),
        (
            "of the package, `attention_ref.__version__`",
            f"`{__version__}`",
            "who imports a backend or runs the kit",
            "nothing that is documented; before 1.0 a minor version may rename, and `CHANGELOG.md` says so",
        ),
        (
            "of the specification, `attention_ref.spec.VERSION`",
            f"`{spec.VERSION}`",
            "who claims to conform",
            "wording; a clause never changes its meaning inside a version, and clauses may be added as optional ones",
        ),
        (
            "of the vectors' format, `attention_ref.vectors.FORMAT_VERSION`",
            f"`{vectors.FORMAT_VERSION}`",
            "who reads the JSON in another language",
            "fields may be added; none is removed or given another meaning",
        ),
    ]
    return "\n".join(["{.stacked}", *(f"| {' | '.join(row)} |" for row in rows)])


def legend() -> str:
    """List the letters of shapes."""
    return "\n".join(
        ["| Letter | Size |", "|---|---|", *(f"| `{letter}` | {size} |" for letter, size in LEGEND.items())]
    )


def import_law() -> str:
    """List what each part may import, as the test has it."""
    from tests.test_import_law import LAWS

    rows = ["{.fitted}", "| Part | At once | Later |", "|---|---|---|"]
    for part, law in LAWS.items():
        if part:
            rows.append(f"| `{part}` | {_names(law.at_once)} | {_names(law.later)} |")
    return "\n".join(rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
