"""`python -m attention_ref.conformance.onnx_nodes`: tabulate which of our clauses the tests of the standard cover.

Writes the tables of docs/kit/onnx.md: `--write FILE` inserts them into that page, between its two comments.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from attention_ref.conformance.case_heads import foundations
from attention_ref.conformance.onnx_nodes.run_nodes import cases_of
from attention_ref.conformance.onnx_nodes.standard import OPERATORS, NodeTest, node_tests
from attention_ref.spec.clauses import clauses

BEGIN, END = "<!-- tables: python -m attention_ref.conformance.onnx_nodes -->", "<!-- end of the tables -->"
ABOUT = {
    "attention": ("attention.",),
    "rotary positions": ("positions.rotary", "positions.angles"),
    "RMS normalisation": ("norms.rms", "norms.eps", "norms.precision", "norms.gain"),
}
"""The groups of clauses that the three operators could cover, by the prefix of their ids."""


def tables() -> str:
    """Return all tables as Markdown."""
    return "\n\n".join([_counts(), _supported(), _unsupported(), _groups()])


def supported(test: NodeTest) -> list[str]:
    """Return the clauses that a test covers, in order: those that decide its outcome, and the foundations."""
    cases = cases_of(test).values()
    named = {clause for case in cases for clause in case.clauses}
    named |= {clause.id for case in cases for clause in foundations(case.operation) if clause.id in _FOUNDATIONS}
    return [name for name in clauses() if name in named]


_FOUNDATIONS = ("attention.formula", "positions.rotary", "norms.rms")


def _counts() -> str:
    import onnx

    opsets = sorted({test.opset for test in node_tests()})
    lines = [f"The tests of onnx {onnx.__version__}, by the opset that they are written for:", ""]
    lines += _head("operator", *map(str, opsets), "all")
    for operator in OPERATORS:
        count = Counter(test.opset for test in node_tests() if test.operator == operator)
        lines.append(f"| {operator} | {' | '.join(str(count[opset]) for opset in opsets)} | {count.total()} |")
    return "\n".join(lines)


def _supported() -> str:
    lines = ["Clauses, how many tests support each, and one of them:", "", *_head("clause", "tests", "such as")]
    found = {name: [test.name for test in node_tests() if name in supported(test)] for name in clauses()}
    lines += [f"| `{name}` | {len(tests)} | `{tests[0]}` |" for name, tests in found.items() if tests]
    return "\n".join(lines)


def _unsupported() -> str:
    covered = {name for test in node_tests() for name in supported(test)}
    lines = ["What no test of the standard looks at:", ""]
    for title, beginnings in ABOUT.items():
        missing = [name for name in clauses() if name.startswith(beginnings) and name not in covered]
        lines.append(f"- {title}: {', '.join(f'`{name}`' for name in missing)}")
    return "\n".join(lines)


def _groups() -> str:
    groups: dict[tuple[str, ...], list[str]] = {}
    for test in node_tests():
        groups.setdefault(tuple(supported(test)), []).append(test.name)
    lines = ["The tests, grouped by the clauses that they support:", "", *_head("tests", "clauses")]
    lines += [f"| {_listed(tests)} | {_listed(names)} |" for names, tests in groups.items()]
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _head(*titles: str) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"


def page(text: str) -> str:
    """Insert the tables into the text of a page."""
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n\n{tables()}\n\n{END}", text, flags=re.DOTALL)


def main() -> None:
    """Print the tables, or insert them into a page."""
    parser = argparse.ArgumentParser(prog="python -m attention_ref.conformance.onnx_nodes", description=__doc__)
    parser.add_argument("--write", metavar="FILE", type=Path, help="insert the tables into a page")
    target: Path | None = parser.parse_args().write
    if target is None:
        print(tables())
    else:
        target.write_text(page(target.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
