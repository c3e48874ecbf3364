"""Peers at real sizes: each judged in a process of its own, on outputs and gradients, and the table of the verdicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

TITLE = "Attention at real sizes: who is right"

_LONGEST = 160
_INTRODUCTION = (
    "Every subject is judged as by `attention-ref judge` on calls with lengths up to 449, drawn from a fresh seed. A",
    "cell says of outputs / of gradients how many calls are right, and the largest and the median share that an error",
    "has of its budget in them. Calls that a library refuses, and options that its dialect cannot express, count",
    "neither way; of NumPy's functions there are no gradients.",
)


@dataclass(frozen=True)
class Row:
    """The judgement of a subject as a row of the table.

    Arguments:
        name: of the subject.
        record: the JSON record of its judgement; empty where there is none.
        trouble: why there is none.
    """

    name: str
    record: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""

    def cell(self, dtype: str) -> str:
        """Return the verdicts in a dtype: on outputs, and on gradients."""
        return f"{self._verdict(dtype, gradients=False)} / {self._verdict(dtype, gradients=True)}"

    def _verdict(self, dtype: str, *, gradients: bool) -> str:
        calls = [call for call in self.record.get("calls", []) if _kind(call) == (dtype, gradients)]
        ran = [call for call in calls if call["verdict"] != "unsupported"]
        if not ran:
            return "\N{EN DASH}"
        wrong = [call for call in ran if call["verdict"] == "failed"]
        if wrong:
            return f"✗ {wrong[0]['reason'][:_LONGEST]} in `{wrong[0]['case']}`"
        ratios = [call["error_ratio"] for call in ran]
        return f"✓ {len(ran)}, {max(ratios):.2f}, {median(ratios):.2f}"


def judged(
    subjects: Sequence[tuple[str, list[str], dict[str, str]]],
    options: Sequence[str],
    jobs: int,
    time_limit: float,
    report: Callable[[Row], object],
) -> list[Row]:
    """Judge subjects, several at a time.

    Arguments:
        subjects: of each its name, the words of the command line that name it, and what is added to its environment.
        options: further words of the command line.
        jobs: how many run at a time.
        time_limit: in seconds, for each.
        report: called after each.
    """

    def run(subject: tuple[str, list[str], dict[str, str]]) -> Row:
        name, words, environment = subject
        command = [sys.executable, "-m", "attention_ref", "judge", *words, *options, "--small", "--json", "-"]
        command += ["--budget-seconds", f"{time_limit:g}"]
        ended = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
        )
        try:
            row = Row(name, json.loads(ended.stdout))
        except ValueError:
            lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            row = Row(name, trouble=lines[-1].removeprefix("attention-ref: ")[:_LONGEST])
        report(row)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, subjects))


def markdown(rows: Sequence[Row], dtypes: Sequence[str], command: str, facts: Mapping[str, str]) -> str:
    """Return the table, with the command that makes it."""
    lines = [f"# {TITLE}", "", *(f"- {name}: {text}" for name, text in facts.items()), "", *_INTRODUCTION, ""]
    lines += ["Made by", "", f"    {command}", ""]
    lines += _table(rows, dtypes)
    return "\n".join(lines) + "\n"


def text(rows: Sequence[Row], dtypes: Sequence[str]) -> str:
    """Return the table as text."""
    return "\n".join(_table(rows, dtypes))


def data(rows: Sequence[Row], facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the records as data for JSON."""
    peers = [{"name": row.name, "trouble": row.trouble, "judgement": dict(row.record)} for row in rows]
    return {"format_version": 1, "facts": dict(facts), "peers": peers}


def _table(rows: Sequence[Row], dtypes: Sequence[str]) -> Iterator[str]:
    yield f"| subject | {' | '.join(dtypes)} | not judged |"
    yield f"| :-- |{' :-- |' * len(dtypes)} :-- |"
    for row in rows:
        left = len(row.record.get("not_asked", ()))
        rest = row.trouble or (f"{left} calls, after a failure or for lack of time" if left else "")
        yield f"| `{row.name}` | {' | '.join(row.cell(dtype) for dtype in dtypes)} | {rest.replace('|', ' ')} |"


def _kind(call: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the dtype of a call, and whether it asks for gradients."""
    dtype, _, options, _ = call["case"].split("/")
    return dtype, "gradients" in options.split(",")
