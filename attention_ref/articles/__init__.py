"""The mistakes of the articles, each beside what is right: the list is `mistakes.toml`, the code is in this folder."""

from __future__ import annotations

import ast
import importlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Arguments:
        id: its name, which is also the anchor on both pages of its article.
        in_text: whether the mistake is in the text of the article, not in its code.
        title, title_zh: what is wrong, in a few words.
        file: the module of this folder that has the code.
        wrong, right: functions of it that differ in nothing but the mistake.
        shown: the definition that a page shows; that of `wrong` if empty.
        adapter: the function of `adapters` that makes a subject of the kit of them; none for one that is called as the
            specification says.
        operation, arrays: how the kit calls it.
        clause, case: what it breaks, and what catches it.
    """

    id: str
    title: str
    title_zh: str
    file: str
    wrong: str
    right: str
    clause: str
    case: str
    shown: str = ""
    in_text: bool = False
    adapter: str = ""
    arrays: str = "torch"
    operation: str = "attention"

    @property
    def article(self) -> str:
        """The letter of its article."""
        return self.id[0]

    @property
    def source(self) -> str:
        """The code that a page shows."""
        text = (FOLDER / f"{self.file}.py").read_text()
        wanted = self.shown or self.wrong
        node = next(each for each in ast.parse(text).body if getattr(each, "name", "") == wanted)
        return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])

    def report(self, which: str = "wrong") -> Any:
        """Run the case that catches it on what is `wrong`, or on what is `right`."""
        from attention_ref import conformance

        module = importlib.import_module(f"{__name__}.{self.file}")
        function = getattr(module, getattr(self, which))
        if self.adapter:
            adapters = importlib.import_module(f"{__name__}.adapters")
            function = getattr(adapters, self.adapter)(function)
        name = getattr(self, which)
        return conformance.check(function, self.operation, arrays=self.arrays, cases=self.case, name=name)


def _read() -> dict[str, Mistake]:
    entries = tomllib.loads((FOLDER / "mistakes.toml").read_text())["mistake"]
    return {entry["id"]: Mistake(**entry) for entry in entries}


MISTAKES = _read()


def caught(*ids: str) -> None:
    """Print what the kit says of mistakes, and of what is right in their place."""
    for id in ids:
        mistake = MISTAKES[id]
        print(mistake.case)
        for which in ("wrong", "right"):
            report = mistake.report(which)
            print(f"  {getattr(mistake, which)}: {_verdict(report)}")


def _verdict(report: Any) -> str:
    if report.passed:
        return "passes"
    result = report.failures[0]
    if result.mismatch is None:
        return f"fails, {result.reason}"
    off = result.mismatch
    place = ", ".join(map(str, off.index))
    return (
        f"fails, {off.array}[{place}] is {off.got:.6g} instead of {off.expected:.6g}; "
        f"{off.off} of {off.size} numbers are off"
    )
