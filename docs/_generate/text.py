"""From the library's plain text to Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attention_ref.spec.clauses import clauses

FORMULA = re.compile(
    r"https?://[^\s)>]*[^\s)>.,;:]"  # an address
    r"|(?<!\w)\(\w+,(?:\w+,)*\w*\)"  # a shape: (b,h,q,k)
    r"|\b[A-Za-z]\w*(?:[.-]\w+)*\.[A-Za-z][\w-]*(?:\(\))?"  # a name with dots: keras.layers.Attention
    r"|\b[A-Za-z]\w*_\w+(?:\(\))?"  # a name with underscores: key_lengths
)
THREAD = re.compile(r"^([\w.-]+/[\w.-]+)#(\d+)$")
ABBREVIATIONS = {"e.g", "i.e", "al.s"}


def prose(text: str) -> str:
    """Write plain text as Markdown: names and shapes as code, ids of clauses and addresses as links."""
    parts, end = [], 0
    for match in FORMULA.finditer(text):
        parts += [_escaped(text[end : match.start()]), _formula(match[0])]
        end = match.end()
    return "".join([*parts, _escaped(text[end:])])


def docstring(text: str) -> str:
    """Write a docstring's prose as Markdown: it is Markdown but for the ids of clauses, which become links."""
    return re.sub(r"`([a-z]+\.[a-z0-9-]+)`", lambda span: clause_link(span[1]) or span[0], text)


def clause_link(name: str) -> str:
    """Link to a clause; nothing when there is none of that name."""
    return f"[`{name}`](#{name})" if name in clauses() else ""


def thread(place: str) -> str:
    """Link to a thread such as `pytorch/pytorch#41508`; anything else stays text."""
    if found := THREAD.match(place):
        return f"[{place}](https://github.com/{found[1]}/issues/{found[2]})"
    return prose(place)


def capital(text: str) -> str:
    """Begin with a capital."""
    return text[:1].upper() + text[1:]


def fence(name: str, content: str, options: Sequence[str] = (), colons: int = 3) -> str:
    """Write a directive whose content is Markdown; an outer one takes more colons."""
    head = [f"{':' * colons}{{{name.partition(' ')[0]}}} {name.partition(' ')[2]}".rstrip(), *options]
    return "\n".join([*head, "", content.strip(), ":" * colons]) + "\n"


def _formula(text: str) -> str:
    if text.startswith("http"):
        return f"<{text}>"
    return clause_link(text) or (text if text in ABBREVIATIONS else f"`{text}`")


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_<\[\]`|])", r"\\\1", text)
