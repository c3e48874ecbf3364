"""The same file of every room: two at a time with matching lines beside each other, and each alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from _generate.pages import DOCS
from _generate.text import fence

ROOMS = {"numpy": "NumPy", "torch": "PyTorch", "keras": "Keras", "spec": "Spec"}
PAIRS = [("numpy", "torch"), ("torch", "keras"), ("numpy", "keras"), ("spec", "numpy")]
FRAMEWORK = re.compile(r"\b(np|numpy|torch|ops|keras)\b")
"""Differences between lines that are translations of each other."""


def tabs(name: str) -> str:
    """Show a file of every room that has it: pairs on wide screens, one room at a time on narrow ones."""
    files = {room: path for room in ROOMS if (path := _path(room, name)).exists()}
    pairs = [_pair(one, other, files) for one, other in PAIRS if one in files and other in files]
    alone = [fence(f"tab-item {ROOMS[room]}", _listing(room, name), [f":sync: {room}"]) for room in files]
    classes = {"wide-only": pairs, "narrow-only": alone} if pairs else {"": alone}
    return "\n\n".join(
        fence("tab-set", "\n".join(items), [f":class: {screen}"] if screen else [], colons=4)
        for screen, items in classes.items()
    )


def _pair(one: str, other: str, files: dict[str, Path]) -> str:
    table = comparison(files[one], files[other])
    return fence(f"tab-item {ROOMS[one]} and {ROOMS[other]}", table, [f":sync: {one}-{other}"])


def comparison(one: Path, other: Path) -> str:
    """Write two files as a table of two columns whose rows are matching lines."""
    cells = (highlighted(path.read_text()) for path in (one, other))
    left, right = map(list, cells)
    rows = "".join(
        f"<tr><td>{_line(left, i)}</td><td>{_line(right, j)}</td></tr>"
        for i, j in matching_lines(one.read_text().splitlines(), other.read_text().splitlines())
    )
    return f'```{{raw}} html\n<table class="beside highlight"><tbody>{rows}</tbody></table>\n```'


def matching_lines(one: list[str], other: list[str]) -> Iterator[tuple[int | None, int | None]]:
    """Pair the numbers of the lines of two files; a line without its like stands beside nothing."""
    alike = [[FRAMEWORK.sub("framework", line) for line in lines] for lines in (one, other)]
    for _, i, i_end, j, j_end in SequenceMatcher(None, *alike, autojunk=False).get_opcodes():
        yield from zip_longest(range(i, i_end), range(j, j_end))


def highlighted(source: str) -> Iterator[str]:
    """Write each line of a file in HTML, coloured as the site's other code."""
    yield from highlight(source, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).splitlines()


def _line(lines: list[str], number: int | None) -> str:
    return "" if number is None else lines[number]


def _path(room: str, name: str) -> Path:
    return DOCS.parent / "attention_ref" / room / f"{name}.py"


def _listing(room: str, name: str) -> str:
    return f"```{{literalinclude}} /../attention_ref/{room}/{name}.py\n:language: python\n```"
