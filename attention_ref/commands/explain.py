"""`attention-ref explain`: a clause or a case in full."""

from __future__ import annotations

import argparse
import json
from typing import Any

from attention_ref.commands.command import CONFORMS, command, show, takes_json


def add(commands: Any) -> None:
    """Add the command to the parser of `attention-ref`."""
    parser = command(commands, "explain", run)
    takes_json(parser)
    parser.add_argument("id", metavar="ID", help="such as attention.causal, or the id of a case")


def run(options: argparse.Namespace) -> int:
    """Print an explanation of a clause or a case."""
    from attention_ref.conformance import listings

    show(json.dumps(listings.data(options.id), indent=1) if options.json else listings.explain(options.id))
    return CONFORMS
