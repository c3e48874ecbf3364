"""`attention-ref list`: list subjects, dialects, profiles, clauses and cases."""

from __future__ import annotations

import argparse
import json
from typing import Any

from attention_ref.commands import named_subjects
from attention_ref.commands.command import CONFORMS, command, show, takes_json

LISTS = ("subjects", "dialects", "profiles", "clauses", "cases")


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "list", run)
    takes_json(parser)
    parser.add_argument(
        "what", nargs="?", choices=LISTS, metavar="WHAT", help=f"{', '.join(LISTS)}; default: all of these but cases"
    )


def run(options: argparse.Namespace) -> int:
    """Print the requested lists."""
    from attention_ref.conformance import dialects, listings

    tables = {
        "subjects": named_subjects.names,
        "dialects": dialects.listed,
        "profiles": listings.listed_profiles,
        "clauses": listings.listed_clauses,
        "cases": listings.listed_cases,
    }
    chosen = [options.what] if options.what else [name for name in LISTS if name != "cases"]
    found = {name: dict(tables[name]()) for name in chosen}
    if options.json:
        show(json.dumps(found, indent=1))
    else:
        show("\n\n".join(_rows(name, rows, with_title=not options.what) for name, rows in found.items()))
    return CONFORMS


def _rows(title: str, rows: dict[str, str], *, with_title: bool) -> str:
    width = max(map(len, rows), default=0)
    lines = [f"{name:{width}}  {text}".rstrip() for name, text in rows.items()]
    return "\n".join([title.capitalize(), *(f"  {line}" for line in lines)] if with_title else lines)
