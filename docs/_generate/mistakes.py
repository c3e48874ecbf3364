"""The mistakes of the articles: code, clause and case, from `attention_ref/articles/mistakes.toml`."""

from __future__ import annotations

from _generate.text import clause_link
from attention_ref.articles import MISTAKES, Mistake

BREAKS = {
    "en": "Breaks {clause}. Caught by `{case}`.",
    "zh": "违反条款 {clause}，由用例 `{case}` 发现。",
}
HEADS = {"en": ("Mistake", "Breaks", "Caught by"), "zh": ("错误", "违反的条款", "发现它的用例")}


def one(id: str, language: str = "en") -> str:
    """Write the heading of a mistake, its code, what it breaks and what catches it."""
    mistake = MISTAKES[id]
    return "\n\n".join(
        [
            f"({_label(mistake, language)})=\n### {_title(mistake, language)}",
            f'<span id="{id}"></span>{BREAKS[language].format(clause=clause_link(mistake.clause), case=mistake.case)}',
            f"```python\n{mistake.source}\n```",
        ]
    )


def table(article: str, language: str = "en") -> str:
    """List the mistakes of an article, with links to each."""
    rows = [HEADS[language], *(_row(each, language) for each in MISTAKES.values() if each.article == article)]
    lines = [f"{'* -' if i == 0 else '  -'} {cell}" for row in rows for i, cell in enumerate(row)]
    return "\n".join(["::::{list-table}", ":header-rows: 1", ":class: stacked", "", *lines, "::::"])


def _row(mistake: Mistake, language: str) -> tuple[str, ...]:
    link = f"[{_title(mistake, language)}](#{_label(mistake, language)})"
    return link, clause_link(mistake.clause), f"`{mistake.case}`"


def _label(mistake: Mistake, language: str) -> str:
    return mistake.id if language == "en" else f"{language}-{mistake.id}"


def _title(mistake: Mistake, language: str) -> str:
    return mistake.title if language == "en" else getattr(mistake, f"title_{language}")
